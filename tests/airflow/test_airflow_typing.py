"""What editors, type checkers and Airflow see of the parameters: whole, typed, and a wrong one is said at once."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator

from airflow_provider_kling_avatar.decorators.kling_avatar import (
    KlingAvatarDecoratedOperator,
    kling_avatar_task,
)
from airflow_provider_kling_avatar.operators.kling_avatar import (
    KlingAvatarOperator,
    KlingAvatarSubmitOperator,
    KlingImageToVideoSubmitOperator,
    KlingTextToSpeechOperator,
)
from airflow_provider_kling_avatar.operators.kling_video_download import KlingVideoDownloadOperator
from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor

ROOT = Path(__file__).parents[2]
AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:2])
CLASSES = (
    KlingAvatarOperator,
    KlingAvatarSubmitOperator,
    KlingImageToVideoSubmitOperator,
    KlingTextToSpeechOperator,
    KlingVideoDownloadOperator,
    KlingAvatarSensor,
)


def parameters(task_class):
    return inspect.signature(task_class.__init__).parameters


# ---------------------------------------------------------------------------------------------- signatures


@pytest.mark.parametrize("task_class", [*CLASSES, KlingAvatarDecoratedOperator])
def test_the_signature_names_every_parameter_with_its_type(task_class):
    named = parameters(task_class)
    ours = {name for base in task_class.__mro__ if "kling" in base.__module__ for name in parameters(base)}

    assert set(named) >= ours - {"args"}
    assert [name for name, one in named.items() if name != "self" and one.annotation is one.empty] == []


@pytest.mark.parametrize("task_class", CLASSES)
def test_each_parameter_is_described_once_among_the_classes_that_share_it(task_class):
    documents = [base.__doc__ or "" for base in task_class.__mro__ if "kling" in base.__module__]
    described = [name for text in documents for name in re.findall(r":param (\w+):", text)]

    assert sorted(described) == sorted(set(parameters(task_class)) - {"self", "kwargs"})


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="types are checked against the newest Airflow")
def test_every_parameter_of_airflows_own_operator_is_known_to_type_checkers():
    source = (ROOT / "airflow_provider_kling_avatar" / "parameters.py").read_text("utf-8")
    airflows = set(inspect.signature(BaseOperator.__init__).parameters) - {"self", "kwargs"}

    assert [name for name in airflows if f"    {name}: " not in source] == []


def test_default_args_reach_every_parameter_of_ours():
    defaults = {
        "kling_conn_id": "other",
        "max_cost": "2",
        "output_path": "/clips/",
        "voice_id": "anchor",
        "validate": False,
        "timeout": 60,
        "poke_interval": 33,
        "retries": 7,
        "of_another_operator": 1,
    }
    with DAG("flow", schedule=None, default_args=defaults):

        @kling_avatar_task
        def script() -> str:
            return "Good evening."

        whole, decorated = KlingAvatarOperator(task_id="whole"), script().operator
        sensor = KlingAvatarSensor(task_id="wait", kling_task_id="1")

    for task in (whole, decorated):
        assert (task.kling_conn_id, task.max_cost, task.output_path) == ("other", "2", "/clips/")
        assert (task.voice_id, task.validate, task.timeout, task.retries) == ("anchor", False, 60, 7)
    assert (sensor.kling_conn_id, sensor.output_path, sensor.timeout) == ("other", "/clips/", 60)
    assert (sensor.poke_interval, sensor.poll_interval) == (33, 33)


def test_a_class_of_the_users_own_may_hand_on_what_it_wants():
    class Presenter(KlingAvatarOperator):
        def __init__(self, *, who, **kwargs):
            super().__init__(image=f"/faces/{who}.png", max_cost="1", **kwargs)

    with DAG("flow", schedule=None, default_args={"max_cost": "2", "image": "x", "voice_id": "anchor"}):
        task = Presenter(task_id="clip", who="anna")

    assert (task.image, task.max_cost, task.voice_id) == ("/faces/anna.png", "1", "anchor")


# ---------------------------------------------------------------------------------------------- typing errors


def decorate(**arguments):
    return kling_avatar_task(**arguments)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (KlingAvatarOperator, r"KlingAvatarOperator \(task_id: clip\) got an unknown parameter"),
        (KlingImageToVideoSubmitOperator, r"KlingImageToVideoSubmitOperator .* got an unknown parameter"),
        (KlingAvatarOperator.partial, r"KlingAvatarOperator.partial\(\) got an unknown parameter"),
        (decorate, "@task.kling_avatar got an unknown parameter"),
    ],
)
def test_a_misspelled_parameter_is_an_error_where_the_dag_is_read_and_names_the_nearest(make, said):
    with pytest.raises(TypeError, match=f"{said} 'sate_path': did you mean state_path?"):
        make(task_id="clip", sate_path="/shared/state")


def test_a_misspelled_parameter_of_airflows_names_the_nearest_too():
    with pytest.raises(TypeError, match=r"'retires': did you mean retries\?"):
        KlingAvatarSensor(task_id="wait", kling_task_id="1", retires=3)


def test_a_parameter_that_resembles_none_is_refused_without_a_guess():
    with pytest.raises(TypeError, match=r"got an unknown parameter 'xyzzy'$"):
        KlingAvatarOperator(task_id="clip", xyzzy=1)


def test_a_misspelled_parameter_to_map_over_is_an_error_where_the_dag_is_read():
    with DAG("flow", schedule=None):
        partial = KlingAvatarOperator.partial(task_id="clip")
        with pytest.raises(TypeError, match="imgae"):
            partial.expand(imgae=["a.png"])
        partial.expand(image=["a.png"])


def test_a_task_itself_cannot_be_mapped():
    with pytest.raises(TypeError, match="only be called on Operator classes"):
        KlingAvatarOperator(task_id="clip").partial(task_id="other")


# ---------------------------------------------------------------------------------------------- mypy

HEAD = """
from datetime import timedelta
from decimal import Decimal

from airflow.sdk import dag, task

from airflow_provider_kling_avatar.decorators.kling_avatar import kling_avatar_task
from airflow_provider_kling_avatar.notifications.kling_avatar import KlingFailureNotifier
from airflow_provider_kling_avatar.operators.kling_avatar import (
    KlingAvatarOperator,
    KlingAvatarSubmitOperator,
    KlingImageToVideoSubmitOperator,
    KlingTextToSpeechOperator,
)
from airflow_provider_kling_avatar.operators.kling_video_download import KlingVideoDownloadOperator
from airflow_provider_kling_avatar.retry_policies import kling_retry_policy
from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor


@task
def words() -> str:
    return "Good evening."


@task
def use(file: str) -> None: ...


@task
def read(manifest: dict[str, object]) -> None: ...


"""

GOOD = {
    "what other tasks return": """
submit = KlingAvatarSubmitOperator(task_id="submit", image=words(), text=words(), voice_speed=words(), extra=words())
wait = KlingAvatarSensor(task_id="wait", kling_task_id=submit.output, output_path=words(), kling_conn_id=words())
KlingAvatarSensor(task_id="other", kling_task_id=words(), endpoint=words(), on_existing=words())
KlingVideoDownloadOperator(task_id="get", kling_task_id=wait.output, output_path=wait.output["file"])
speech = KlingTextToSpeechOperator(task_id="speech", text=words(), voice_id="a")
KlingAvatarOperator(task_id="whole", image=wait.output["file"], audio_id=speech.output["speech"], max_cost=words())
KlingImageToVideoSubmitOperator(task_id="video", image=words(), duration=words(), camera_control=words())
use(wait.output["file"])
read(wait.output)
""",
    "values and templates": """
KlingAvatarOperator(
    task_id="whole", image="{{ x }}", audio="a.mp3", voice_speed="{{ x }}", watermark=True, extra={"a": 1},
    max_cost=Decimal("1.5"), max_cost_per_run=2.5, timeout=timedelta(hours=1), poll_interval=5, on_existing="replace",
    retry_policy=kling_retry_policy(), retries=2, pool="kling", execution_timeout=timedelta(hours=2),
    on_failure_callback=KlingFailureNotifier(print), trigger_rule="all_done", outlets=[], default_args={"owner": "a"},
)
KlingAvatarSensor(task_id="wait", kling_task_id=1, soft_fail=True, mode="reschedule", poke_interval=timedelta(hours=1))
KlingAvatarOperator.partial(task_id="mapped", output_path="/clips/").expand_kwargs([{"image": "a.png"}])
""",
    "functions": """
@kling_avatar_task
def bare() -> str:
    return "Good evening."

@kling_avatar_task(image="a.png", voice_id="anchor", output_path="/clips/", retries=2)
def script(topic: str) -> dict[str, object]:
    return {"text": topic}

use(script("rain")["file"])
bare.override(task_id="again", max_cost="1")()
script.expand(topic=["rain", "snow"])
""",
}

BAD = {
    'KlingAvatarOperator(task_id="x", output_pth="/clips/")': 'Unexpected keyword argument "output_pth"',
    'KlingAvatarSubmitOperator(task_id="x", retires=2)': 'Unexpected keyword argument "retires"',
    'KlingTextToSpeechOperator(task_id="x", audio="a")': 'Unexpected keyword argument "audio"',
    'KlingAvatarSensor(task_id="x", kling_task_id="1", softfail=True)': 'Unexpected keyword argument "softfail"',
    'KlingAvatarSensor(task_id="x")': 'Missing named argument "kling_task_id"',
    'KlingAvatarOperator(image="a.png")': 'Missing named argument "task_id"',
    'kling_avatar_task(output_pth="/clips/")': 'Unexpected keyword argument "output_pth"',
    'KlingAvatarOperator(task_id="x", image=3)': 'Argument "image" to "KlingAvatarOperator"',
    'KlingAvatarOperator(task_id="x", retries="2")': 'Argument "retries" to "KlingAvatarOperator"',
    'KlingAvatarOperator(task_id="x", on_existing="overwrite")': 'Argument "on_existing"',
    'KlingAvatarOperator(task_id="x", on_rerun="again")': 'Argument "on_rerun"',
    'KlingAvatarSensor(task_id="x", kling_task_id=None)': 'Argument "kling_task_id"',
    'KlingAvatarSensor(task_id="x", kling_task_id="1", endpoint="video")': 'Argument "endpoint"',
    'KlingImageToVideoSubmitOperator(task_id="x", timeout=3)': 'Unexpected keyword argument "timeout"',
    'KlingVideoDownloadOperator(task_id="x", kling_task_id="1")': 'Missing named argument "output_path"',
}

FRAGMENT = """
from airflow.sdk import Asset
from airflow.providers.common.compat.sdk import BaseNotifier
from airflow_provider_kling_avatar.simulator.server import SimulatorServer

FACE, face, voice, voices = "face.png", "face.png", "voice.mp3", ["voice.mp3"]
before = KlingAvatarOperator(task_id="before")
clip: KlingAvatarOperator | KlingAvatarSensor = before


def send_to_the_newsroom(text: str) -> None: ...


def SlackWebhookNotifier(*, text: str) -> BaseNotifier:
    raise NotImplementedError


"""
"""What the fragments in the pages take for granted."""

PAGES = {
    f"{page.name} {number}": block
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    if page.name != "testing.md"  # several files that import each other, which are run as printed
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    )
}


def whole(block):
    """Return a code block of a page as a file; one that is no whole Dag or test gets what it takes for granted."""
    if re.search(r"^def test_", block, re.MULTILINE):
        return "# mypy: allow-untyped-defs, allow-untyped-calls\n" + block
    return block if re.search(r"^@dag", block, re.MULTILINE) else HEAD + FRAGMENT + block


@pytest.fixture(scope="module")
def complaints(tmp_path_factory):
    """Let mypy read all Dags at once, as strictly as it can; return what it says of each."""
    if AIRFLOW < (3, 3):
        pytest.skip("types are checked against the newest Airflow")
    folder = tmp_path_factory.mktemp("typed")
    sources = {name: HEAD + text for name, text in (GOOD | {line: line for line in BAD}).items()}
    sources |= {name: whole(block) for name, block in PAGES.items()}
    files = {name: folder / f"dag_{number}.py" for number, name in enumerate(sources)}
    for name, file in files.items():
        file.write_text(sources[name])
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *map(str, files.values())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=570, check=False)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line for line in lines if "dag_" not in line] == []
    return {name: [line for line in lines if f"{file.name}:" in line] for name, file in files.items()}


@pytest.mark.parametrize("dag", [*GOOD, *PAGES])
def test_a_type_checker_takes_what_airflow_takes(complaints, dag):
    assert complaints[dag] == []


@pytest.mark.parametrize(("line", "said"), BAD.items())
def test_a_type_checker_refuses_what_is_misspelled_or_of_a_wrong_type(complaints, line, said):
    assert said in "\n".join(complaints[line])
