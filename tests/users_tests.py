"""
What a user's own tests may do with the pytest plugin. Run by `test_testing_plugin.py`, in a pytest of its own.

Airflow is set to a PostgreSQL that nobody may ask, with options of its own, and to a secrets backend that knows a
vendor with a price.
"""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from airflow import settings
from airflow.models.taskinstance import TaskInstance
from airflow.providers.common.compat.sdk import DAG, BaseHook, task

from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarOperator
from airflow_provider_kling_avatar.testing import FACE, VOICE

EXAMPLES = Path(os.environ["EXAMPLES"])
THEIR_ENGINE = settings.engine
AIRFLOWS_OWN = TaskInstance.next_retry_datetime


def clip(**options):
    return KlingAvatarOperator(task_id="clip", image=FACE, audio=VOICE, **options)


@pytest.mark.parametrize("kling_api", ["kling", "relay"])
def test_a_clip_is_made_and_landed_on_each_api(
    kling_run_task, kling_connection, kling_simulator, kling_api, tmp_path
):
    run = kling_run_task(clip(output_path=f"{tmp_path}/"))

    assert run.state == "success"
    assert Path(run.xcom("clip")["file"]).read_bytes()[4:8] == b"ftyp"
    assert [entry["dialect"] for entry in kling_simulator.ledger()["entries"]] == [kling_api]


@pytest.mark.parametrize("kling_api", ["generations"])
def test_an_api_that_takes_links_only_needs_no_network(kling_run_task, kling_connection, tmp_path):
    media = {"image": "https://face.invalid/face.jpg", "audio": "https://voice.invalid/voice.mp3"}
    task = KlingAvatarOperator(task_id="clip", **media, audio_duration_seconds=6, output_path=f"{tmp_path}/")

    assert kling_run_task(task).state == "success"


@pytest.mark.parametrize("kling_api", ["kling-broadcast"])
def test_an_api_that_speaks_itself(kling_run_task, kling_connection):
    task = KlingAvatarOperator(
        task_id="clip", image=FACE, text="Good evening to all of you.", voice_id="oversea_male1"
    )

    assert kling_run_task(task).state == "success"


@pytest.mark.parametrize("options", [{}, {"deferrable": False}])
def test_no_interval_is_waited_for(kling_run_task, kling_connection, options):
    assert kling_run_task(clip(poll_interval=3600, **options)).state == "success"


def test_a_retry_waits_for_nothing(kling_run_dag):
    tries = []
    with DAG("retried", schedule=None) as dag:

        @task(retries=2, retry_delay=timedelta(hours=1))
        def stumble():
            tries.append(1)
            if len(tries) < 3:
                raise ValueError(f"stumbled {len(tries)} times")

        stumble()

    run = kling_run_dag(dag)

    assert run.state == "success"
    assert str(run.errors["stumble"]) == "stumbled 2 times"


def test_airflow_itself_waits_for_a_retry(kling_run_dag, monkeypatch):
    """Otherwise the test above could not fail; and `airflow dags test` stands still, as the docs say."""
    monkeypatch.setattr(TaskInstance, "next_retry_datetime", AIRFLOWS_OWN)
    times = []
    with DAG("retried_later", schedule=None) as dag:

        @task(retries=1, retry_delay=timedelta(seconds=2))
        def stumble():
            times.append(time.monotonic())
            if len(times) < 2:
                raise ValueError("stumbled")

        stumble()

    assert kling_run_dag(dag).state == "success"
    assert times[1] - times[0] >= 1.5


def test_a_full_account_fails_after_slot_timeout(kling_run_task, kling_connection, kling_simulator):
    kling_simulator.seed(count=5, outcome="stuck")

    run = kling_run_task(clip(slot_timeout=1))

    assert run.state == "failed"
    assert "no slot became free in" in str(run.errors["clip"])


@pytest.mark.parametrize("kling_settings", [{"slots": 1}])
def test_settings_are_those_of_the_simulator(kling_run_task, kling_connection, kling_simulator):
    kling_simulator.seed(count=1, outcome="stuck")

    assert kling_run_task(clip(slot_timeout=0)).state == "failed"


def test_a_dag_made_in_a_test_gets_conf_and_date(kling_run_dag):
    with DAG("made_here", schedule=None, params={"word": "none"}) as dag:

        @task
        def say(number, params, logical_date):
            return [number, params["word"], logical_date.isoformat()]

        say.expand(number=[1, 2])

    run = kling_run_dag(dag, conf={"word": "hello"}, logical_date=datetime(2026, 11, 1, tzinfo=UTC))

    assert run.states == {"say[0]": "success", "say[1]": "success"}
    assert run.xcom("say[1]") == [2, "hello", "2026-11-01T00:00:00+00:00"]
    assert run.xcom("say[1]", "nothing") is None
    assert run.errors == {}


@pytest.mark.parametrize("word", ["first", "second"])
def test_dags_of_two_tests_may_have_the_same_id(kling_run_dag, word):
    with DAG("same", schedule=None) as dag:

        @task
        def say():
            return word

        say()

    assert kling_run_dag(dag).xcom("say") == word


def test_a_dag_is_run_by_the_path_of_its_file(kling_run_dag, kling_connection):
    run = kling_run_dag(EXAMPLES / "example_kling_avatar_one_task.py")

    assert run.state == "success"
    assert "of video at http" in run.xcom("publish")


@pytest.mark.parametrize(
    ("text", "dag_id", "message"),
    [
        ("import nowhere_to_be_found", None, "No module named 'nowhere_to_be_found'"),
        ("# no dag, but it speaks of airflow", None, "there is no Dag in .*dag.py"),
        ("{make}; a = DAG('a'); b = DAG('b')", None, r"has 2 Dags \(a, b\): say which one by dag_id"),
        ("{make}; a = DAG('a')", "b", "has no Dag b, but a"),
        (None, None, "there is no Dag file .*dag.py"),
    ],
)
def test_a_file_without_the_dag_is_told(kling_run_dag, tmp_path, text, dag_id, message):
    file = tmp_path / "dag.py"
    if text is not None:
        file.write_text(text.format(make="from airflow.providers.common.compat.sdk import DAG"))

    with pytest.raises(ValueError, match=message):
        kling_run_dag(file, dag_id=dag_id)


def test_a_task_of_a_dag_is_not_run_alone(kling_run_task):
    with DAG("whole", schedule=None):
        task = clip()

    with pytest.raises(ValueError, match="task clip is in Dag whole: give that to kling_run_dag"):
        kling_run_task(task)


def test_a_secrets_backend_that_knows_the_real_key_is_not_asked(kling_connection, kling_simulator):
    assert KlingAvatarHook().get_conn().config.base_url.startswith(kling_simulator.url)


def test_without_the_connection_it_is_asked():
    """Otherwise the test above could not fail."""
    assert BaseHook.get_connection("kling_avatar_default").host == "https://real.invalid"


def test_airflow_gets_its_own_database_back():
    assert settings.engine is THEIR_ENGINE
    assert settings.engine.url.database == "theirs"


def test_where_airflow_keeps_to_its_own_database_nothing_is_run(request, monkeypatch):
    monkeypatch.setattr(settings, "configure_orm", lambda: None)

    with pytest.raises(RuntimeError, match="nothing is run"):
        request.getfixturevalue("kling_run_dag")
    assert settings.engine is THEIR_ENGINE
