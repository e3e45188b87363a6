"""
The whole Dag in a real Airflow: scheduler, triggerer, API server and workers against the simulator.

One Airflow and one simulator serve all tests that need no more than that. Every dialect runs submit >> sensor >> a task
that uses the URL; what the runs left in logs, database and XComs is then searched for secrets.
"""

import base64
import functools
import http.server
import json
import re
import shutil
import sqlite3
import textwrap
import threading
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from local_airflow import LocalAirflow, LocalAirflowError
from managed_airflow import PATIENCE

from airflow_provider_kling_avatar.kling.dialects import DIALECTS
from airflow_provider_kling_avatar.simulator.server import SimulatorServer
from airflow_provider_kling_avatar.simulator.settings import Account, SimulatorSettings

ASSETS = Path(__file__).parents[2] / "airflow_provider_kling_avatar" / "simulator" / "assets"
EXAMPLES = ASSETS.parents[2] / "example_dags"
RENDER_SECONDS = 600
"""By the simulator's clock, which the tests move on: nothing finishes before it was seen to wait."""
PERSON_SECONDS = 15
"""A person takes that long to answer, as does the shortest wait. Airflow fails a task that is resumed before its
scheduler has heard that it was parked, see `compat.SETTLE_SECONDS`."""
LINEAGE = "openlineage.jsonl"
"""In Airflow's home: what OpenLineage was told."""
AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:2])
KEY = "sk-live-0f3b9c2d7e5a4816"
ACCESS_KEY, SECRET_KEY = "live-access-key", "live-secret-key-0123456789abcdef0123456789"  # of a simulator

DAG = """
    import base64, json, os
    from datetime import timedelta
    from pathlib import Path

    from airflow.providers.common.compat.sdk import DAG, BaseOperator, task
    from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

    from airflow_provider_kling_avatar.operators.kling_avatar import (
        KlingAvatarOperator,
        KlingAvatarSubmitOperator,
        KlingImageToVideoSubmitOperator,
    )
    from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor

    FACE, VOICE = os.environ["LIVE_FACE"], os.environ["LIVE_VOICE"]
    FACE_URL, VOICE_URL = os.environ["LIVE_FACE_URL"], os.environ["LIVE_VOICE_URL"]
    PATIENCE = {"retries": 2, "retry_delay": timedelta(seconds=1)}
    URLS_ONLY = {"kling-broadcast", "generations"}

    for api in json.loads(os.environ["LIVE_APIS"]):
        with DAG(f"live_{api}", schedule=None, default_args=PATIENCE):
            submit = KlingAvatarSubmitOperator(
                task_id="submit",
                kling_conn_id=f"live_{api}",
                image=FACE_URL if api in URLS_ONLY else FACE,
                audio=VOICE_URL if api in URLS_ONLY else VOICE,
            )
            wait = KlingAvatarSensor(
                task_id="wait", kling_conn_id=f"live_{api}", kling_task_id=submit.output, poke_interval=1
            )

            @task
            def use(ti=None):
                import requests

                answer = requests.get(ti.xcom_pull(task_ids="wait", key="video_url"), timeout=60)
                answer.raise_for_status()
                return {"size": len(answer.content), "head": answer.content[4:8].decode()}

            wait >> use()

    with DAG("live_rows", schedule=None, default_args=PATIENCE):
        KlingAvatarOperator.partial(
            task_id="avatar", kling_conn_id="live_cometapi", audio=VOICE, poll_interval=1
        ).expand(image=[FACE, FACE + ".missing", FACE])

    def inline_face():
        return base64.b64encode(Path(FACE).read_bytes()).decode()

    with DAG("live_inline", schedule=None, user_defined_macros={"inline_face": inline_face}):
        KlingAvatarOperator(
            task_id="avatar",
            kling_conn_id="live_cometapi",
            image="{{ inline_face() }}",
            audio=VOICE,
            deferrable=False,
            poll_interval=0.5,
        )

    with DAG("live_flow", schedule=None, default_args=PATIENCE):

        @task.kling_avatar(kling_conn_id="live_cometapi", image=FACE, poll_interval=1)
        def film(topic):
            return {"audio": VOICE, "prompt": f"A calm presenter talks about {topic}.", "mode": "pro"}

        @task
        def count(manifests):
            return len([manifest["mode"] for manifest in manifests])

        count(film.expand(topic=["rain", "snow"]))

    with DAG("live_budget", schedule=None, default_args=PATIENCE):
        KlingImageToVideoSubmitOperator.partial(
            task_id="row", kling_conn_id="live_budget", image=FACE, duration=5, max_cost_per_run="2.5"
        ).expand(prompt=[f"wave {number} times" for number in range(8)])

    class Greet(BaseOperator):
        def __init__(self, *, word, **kwargs):
            super().__init__(**kwargs)
            self.word = word

        def execute(self, context):
            if self.word == "fail":
                raise RuntimeError("failed as told")
            print("defers now")
            seconds = context["params"]["seconds"]
            self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=seconds)), method_name="resume")

        def resume(self, context, event=None):
            print("resumed")
            return {"word": self.word, "variable": os.environ["LIVE_VOICE"], "numbers": [1, 2.5, None]}

    for dag_id, word in (("tool_good", "hello"), ("tool_bad", "fail")):
        with DAG(dag_id, schedule=None, default_args=PATIENCE, params={"seconds": 60}):
            Greet(task_id="greet", word=word)

    with DAG("live_rejected", schedule=None, default_args=PATIENCE):
        KlingAvatarOperator(
            task_id="avatar", kling_conn_id="live_cometapi", image=FACE, audio=VOICE, poll_interval=1
        )
"""

README = EXAMPLES.parent / "README.md"
WAYS_IN = ("without-a-date", "as-the-ui", "by-cli", "asset_triggered", "backfill")
README_DAGS = ("talking_head", "talking_head_one_task")
WAYS = """
from datetime import datetime, timezone

from airflow.sdk import Asset
from airflow.timetables.assets import AssetOrTimeSchedule
from airflow.timetables.trigger import CronTriggerTimetable

START = datetime(2025, 1, 1, tzinfo=timezone.utc)
WHEN = AssetOrTimeSchedule(
    timetable=CronTriggerTimetable("0 0 1 1 *", timezone="UTC"), assets=[Asset("kling-avatar://ways")]
)
"""
"""Before a Dag of the README, so that an asset and a backfill can start it."""


def readme_dag(number, media):
    """Return the source of a Dag as the README prints it, with a schedule, and with files that are there."""
    block = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)[number]
    for printed, ours in (
        ("schedule=None", "schedule=WHEN, start_date=START"),
        ("max_active_runs=1", "max_active_runs=5"),
        ('"/data/', f'"{media}/'),
    ):
        assert printed in block
        block = block.replace(printed, ours)
    return WAYS + block


@pytest.fixture(scope="module")
def media_server():
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(ASSETS))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def simulator():
    account = Account(name="live", api_key=KEY, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
    settings = SimulatorSettings(
        render_seconds=RENDER_SECONDS, slots=50, accounts=(account,), url_ttl_seconds=1e6
    )
    with SimulatorServer(settings) as running:
        yield running


@pytest.fixture(scope="module")
def airflow(simulator, media_server, tmp_path_factory):
    dags = tmp_path_factory.mktemp("dags")
    (dags / "live.py").write_text(textwrap.dedent(DAG))
    for example in ("example_kling_news.py", "example_kling_news.csv", "example_kling_on_new_video.py"):
        shutil.copy(EXAMPLES / example, dags)
    if AIRFLOW >= (3,):
        media = tmp_path_factory.mktemp("data")
        shutil.copy(ASSETS / "presenter.jpg", media / "face.jpg")
        shutil.copy(ASSETS / "greeting.mp3", media / "voice.mp3")
        for number, dag_id in enumerate(README_DAGS):
            (dags / f"{dag_id}.py").write_text(readme_dag(number, media))
    env = {
        "LIVE_APIS": json.dumps(list(DIALECTS)),
        "LIVE_FACE": str(ASSETS / "presenter.jpg"),
        "LIVE_VOICE": str(ASSETS / "greeting.mp3"),
        "LIVE_FACE_URL": f"{media_server}/presenter.jpg",
        "LIVE_VOICE_URL": f"{media_server}/greeting.mp3",
    }
    for api in DIALECTS:
        account = {"login": ACCESS_KEY, "password": SECRET_KEY} if api == "kling" else {"password": KEY}
        extra = {"api": api} | ({"path_prefix": "/relay/kling"} if api == "relay" else {})
        if api == "generations":  # a worker measures the voice, which lies on this machine
            extra["allow_private_addresses"] = True
        connection = {"conn_type": "kling_avatar", "host": simulator.url, "extra": extra, **account}
        env[f"AIRFLOW_CONN_LIVE_{api.upper()}"] = json.dumps(connection)
    default = {"conn_type": "kling_avatar", "host": simulator.url, "password": KEY}
    env["AIRFLOW_CONN_KLING_AVATAR_DEFAULT"] = json.dumps(default)
    prices = {"prices": {"image_to_video.std": "0.1", "currency": "USD"}}
    env["AIRFLOW_CONN_LIVE_BUDGET"] = json.dumps(default | {"extra": prices})
    home = tmp_path_factory.mktemp("home")
    transport = {"type": "file", "log_file_path": str(home / LINEAGE), "append": True}
    env["AIRFLOW__OPENLINEAGE__TRANSPORT"] = json.dumps(transport)
    with LocalAirflow(dags, home=home, env=env, parallelism=4) as running:
        running.api.create_pool("kling", 5)
        yield running
        begin = time.monotonic()
        running.stop()
        assert running.survivors() == []
        assert time.monotonic() - begin < 120


def finish(airflow, simulator, dag_id, run_id):
    """Wait for a run, moving the simulator's clock on as it goes; return its state."""
    state = ""
    for state, _ in airflow.watch(dag_id, run_id):  # noqa: B007  # the last one counts
        simulator.advance(RENDER_SECONDS / 4)
    return state


def last_log(airflow, dag_id, run_id, map_index=-1, task_id="avatar"):
    """
    Return the log of a task's last try.

    That a permanent error burns no retry is tested elsewhere. Here Airflow may add a try of its own: when its
    executor reports the end of the deferring run so late that the task has been resumed meanwhile, the scheduler
    takes it for lost ("finished with state success, but the task instance's state attribute is running").
    """
    logs = [airflow.task_log(dag_id, run_id, task_id, number, map_index) for number in (3, 2, 1)]
    return next(log for log in logs if log)


@pytest.fixture(scope="module")
def tool_runs(airflow):
    """Of what the tool that starts an Airflow is relied on for; they are over while others wait."""
    return {
        "tool_good": airflow.trigger("tool_good", {"seconds": PERSON_SECONDS}, run_id="run:1+1"),
        "tool_bad": airflow.trigger("tool_bad"),
        "live_budget": airflow.trigger("live_budget"),
    }


@pytest.fixture(scope="module")
def runs(airflow, simulator, tool_runs):
    """One run on every dialect, all at once, each seen waiting in the triggerer before any clip was ready."""
    started = {f"live_{api}": airflow.trigger(f"live_{api}") for api in DIALECTS}
    for dag_id, run_id in started.items():
        for state, tasks in airflow.watch(dag_id, run_id):
            assert state in ("queued", "running"), airflow.task_log(dag_id, run_id, "submit")
            if tasks.get("wait") == "deferred":
                break
    simulator.advance(RENDER_SECONDS + 60)
    for dag_id, run_id in started.items():
        assert airflow.wait_for_run(dag_id, run_id) == "success", airflow.task_log(dag_id, run_id, "wait")
    return started


@pytest.fixture(scope="module")
def more_runs(airflow, simulator, runs):
    """Mapped rows with a bad one among them, and a picture that a template renders to base64."""
    started = {dag_id: airflow.trigger(dag_id) for dag_id in ("live_rows", "live_inline", "live_flow")}
    return {
        dag_id: (run_id, finish(airflow, simulator, dag_id, run_id)) for dag_id, run_id in started.items()
    }


@pytest.fixture(scope="module")
def ways(airflow, simulator, more_runs):
    """
    Start both Dags of the README by the API with a date (as the UI does) and without, by the CLI, an asset, a backfill.

    :returns: the state of each run, by Dag and by what its id begins with.
    """
    for dag_id in README_DAGS:
        airflow.trigger(dag_id, run_id="without-a-date")
        body = {"dag_run_id": "as-the-ui", "logical_date": "2026-11-28T10:00:00Z", "conf": {}}
        airflow.api.create(f"/dags/{dag_id}/dagRuns", body)
        airflow.cli("dags", "trigger", dag_id, "--run-id", "by-cli")
        airflow.api.create_backfill(dag_id, "2025-01-01T00:00:00Z", "2025-01-01T00:00:00Z")
    [asset] = airflow.api.request("GET", "/assets?uri_pattern=kling-avatar%3A%2F%2Fways")["assets"]
    airflow.api.create("/assets/events", {"asset_id": asset["id"], "extra": {}})
    states = {}
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        states = {dag_id: airflow.api.run_ids(dag_id) for dag_id in README_DAGS}
        if all(len(of) >= 6 and set(of.values()) <= {"success", "failed"} for of in states.values()):
            break
        simulator.advance(RENDER_SECONDS / 4)
        time.sleep(0.5)
    return states


@pytest.fixture(scope="module")
def news(airflow, simulator, more_runs, tmp_path_factory):
    """The example Dag of the daily news as it is, approved where this Airflow can ask a person."""
    folder = tmp_path_factory.mktemp("news")
    run_id, state = airflow.trigger("kling_news", {"output": str(folder)}), ""
    asked_at = time.monotonic()
    for state, tasks in airflow.watch("kling_news", run_id):  # noqa: B007  # the last one counts
        simulator.advance(RENDER_SECONDS / 4)
        if tasks.get("approve") not in ("awaiting_input", "deferred"):
            asked_at = time.monotonic()
        elif time.monotonic() - asked_at > PERSON_SECONDS:
            airflow.api.answer_person("kling_news", run_id, "approve", "Approve")
    return run_id, state, folder


@pytest.mark.parametrize("api", DIALECTS)
def test_the_same_dag_makes_a_video_on_every_dialect(api, airflow, runs, simulator):
    dag_id, run_id = f"live_{api}", runs[f"live_{api}"]

    task_id = airflow.xcom(dag_id, run_id, "submit", "task_id")
    assert airflow.xcom(dag_id, run_id, "submit") == task_id
    result = airflow.xcom(dag_id, run_id, "wait")
    assert result["task_id"] == task_id
    assert result["api"] == api
    assert result["video_url"].startswith(simulator.url)
    assert airflow.xcom(dag_id, run_id, "wait", "video_url") == result["video_url"]
    assert airflow.xcom(dag_id, run_id, "use")["head"] == "ftyp"
    billed = [row for row in simulator.ledger()["entries"] if row["task_id"] == task_id]
    assert len(billed) == 1
    assert billed[0]["dialect"] == api
    assert "in the triggerer, no worker is held" in airflow.task_log(dag_id, run_id, "wait")


def test_a_bad_row_of_a_mapped_task_fails_alone(airflow, more_runs):
    run_id, state = more_runs["live_rows"]

    assert state == "failed"
    assert airflow.task_states("live_rows", run_id) == {
        "avatar[0]": "success",
        "avatar[1]": "failed",
        "avatar[2]": "success",
    }
    log = last_log(airflow, "live_rows", run_id, map_index=1)
    assert "image" in log
    assert "presenter.jpg.missing does not exist" in log
    assert airflow.xcom("live_rows", run_id, "avatar", map_index=2)["duration"] == pytest.approx(
        6.05, abs=0.1
    )


def test_a_picture_rendered_to_base64_is_sent_while_a_worker_waits(airflow, more_runs):
    run_id, state = more_runs["live_inline"]

    assert state == "success", airflow.task_log("live_inline", run_id, "avatar")
    assert airflow.xcom("live_inline", run_id, "avatar")["video_url"]


def test_functions_say_what_is_filmed(airflow, more_runs):
    run_id, state = more_runs["live_flow"]

    assert state == "success", airflow.task_log("live_flow", run_id, "film", map_index=0)
    assert airflow.xcom("live_flow", run_id, "count") == 2
    assert airflow.xcom("live_flow", run_id, "film", map_index=1)["mode"] == "pro"


@pytest.mark.skipif(AIRFLOW < (3,), reason="before Airflow 3 each run has a logical date")
@pytest.mark.parametrize("dag_id", README_DAGS)
def test_a_dag_of_the_readme_makes_a_video_however_it_is_triggered(dag_id, airflow, ways):
    kinds = {run_id.partition("__")[0]: state for run_id, state in ways[dag_id].items()}

    assert kinds == dict.fromkeys((*WAYS_IN, "scheduled"), "success")
    for run_id in ways[dag_id]:
        assert "to be published: " in airflow.task_log(dag_id, run_id, "publish")


def test_openlineage_is_told_of_inputs_file_and_cost_after_a_deferral(airflow, news):
    _, _, folder = news
    file = str(next(folder.rglob("weather.mp4")))
    deadline = time.monotonic() + PATIENCE  # the event is sent when the task is over, by a process of its own
    while not (told := _lineage(airflow, file)) and time.monotonic() < deadline:
        time.sleep(1)

    event = told[-1]
    assert (event["eventType"], event["job"]["name"].partition(".")[0]) == ("COMPLETE", "kling_news")
    assert event["outputs"][0]["namespace"] == "file"
    assert any("presenter.jpg" in dataset["name"] for dataset in event["inputs"])
    facet = event["run"]["facets"]["kling_avatar"]
    assert float(facet["actual_cost"]) > 0
    assert facet["currency"] == "USD"


def _lineage(airflow, file):
    """Return the events of a run's end that name a file as made."""
    path = airflow.home / LINEAGE
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    ends = [event for event in map(json.loads, lines) if event["eventType"] == "COMPLETE"]
    return [event for event in ends if file in json.dumps(event["outputs"])]


def test_the_daily_news_of_the_examples_become_stored_videos(airflow, news):
    run_id, state, folder = news
    tasks = airflow.task_states("kling_news", run_id)

    assert state == "success", {name: airflow.task_log("kling_news", run_id, name) for name in tasks}
    assert sorted(path.name for path in folder.rglob("*")) == sorted(
        [run_id, "weather.mp4", "market.mp4", "greeting.mp4"]
    )
    assert airflow.xcom("kling_news", run_id, "publish") == 3
    assert ("approve" in tasks) is (tuple(map(int, airflow.version.split(".")[:2])) >= (3, 1))


def test_new_videos_set_off_the_dag_that_waits_for_them(airflow, news):
    """
    As many as Airflow tells of: 3.1.8 was seen to drop an event that came while it was making a run of those before.
    """
    _, _, folder = news
    deadline = time.monotonic() + PATIENCE
    while not (run_ids := airflow.api.run_ids("kling_on_new_video")) and time.monotonic() < deadline:
        time.sleep(1)

    assert run_ids
    for run_id in run_ids:
        assert airflow.wait_for_run("kling_on_new_video", run_id) == "success"
        announced = {Path(file).name for file in airflow.xcom("kling_on_new_video", run_id, "announce")}
        assert announced
        assert announced <= {path.name for path in folder.rglob("*.mp4")}


def test_exactly_the_rows_that_fit_into_the_budget_are_paid(airflow, tool_runs, simulator):
    run_id = tool_runs["live_budget"]
    airflow.wait_for_run("live_budget", run_id)

    assert sorted(airflow.task_states("live_budget", run_id).values()) == ["failed"] * 3 + ["success"] * 5
    assert len([row for row in simulator.ledger()["entries"] if row["endpoint"] == "image_to_video"]) == 5


def test_a_deferred_task_succeeds_and_its_xcom_comes_back_as_it_was(airflow, tool_runs):
    run_id = tool_runs["tool_good"]

    assert airflow.wait_for_run("tool_good", run_id) == "success"
    assert airflow.task_states("tool_good", run_id) == {"greet": "success"}
    assert airflow.xcom("tool_good", run_id, "greet") == {
        "word": "hello",
        "variable": str(ASSETS / "greeting.mp3"),
        "numbers": [1, 2.5, None],
    }
    log = last_log(airflow, "tool_good", run_id, task_id="greet")
    assert "defers now" in log
    assert "resumed" in log


def test_a_failing_task_is_told_apart_and_its_log_says_why(airflow, tool_runs):
    run_id = tool_runs["tool_bad"]

    assert airflow.wait_for_run("tool_bad", run_id) == "failed"
    assert airflow.task_states("tool_bad", run_id) == {"greet": "failed"}
    assert "failed as told" in last_log(airflow, "tool_bad", run_id, task_id="greet")


def test_an_unknown_dag_is_reported_with_the_log_of_the_parser(airflow):
    with pytest.raises(
        LocalAirflowError, match=r"'nowhere' did not appear\n--- (dag-processor|scheduler)\.log"
    ):
        airflow.trigger("nowhere", timeout=0)


def test_a_clip_that_moderation_rejects_is_paid_once_and_fails_with_the_vendors_reason(
    airflow, more_runs, simulator
):
    simulator.fault(kind="fail_task", method="POST")

    run_id = airflow.trigger("live_rejected")

    assert finish(airflow, simulator, "live_rejected", run_id) == "failed"
    assert "Failure to pass the risk control system" in last_log(airflow, "live_rejected", run_id)
    names = [row["external_task_id"] or "" for row in simulator.ledger()["entries"]]
    assert len([name for name in names if name.startswith("live-rejected-")]) == 1


def test_no_key_no_signed_url_and_no_payload_is_left_anywhere_but_in_the_result(airflow, news):
    payload = base64.b64encode((ASSETS / "presenter.jpg").read_bytes()).decode()
    forbidden = [KEY, SECRET_KEY, payload[:80], payload[4000:4080], "Bearer ey", "&sig="]
    allowed = re.compile(r"xcom\.value\b.*key=(return_value|video_url)$")

    found = []
    for place, text in [*_log_texts(airflow.home), *_database_texts(airflow.home)]:
        found += [(place, word[:12]) for word in forbidden if word in text and not allowed.search(place)]

    assert found == []


def test_the_search_for_secrets_sees_what_airflow_stored(airflow, runs, more_runs):
    """Otherwise the test above could pass by looking in the wrong place."""
    run_id = runs["live_kling"]
    task_id = airflow.xcom("live_kling", run_id, "submit")
    result = airflow.xcom("live_kling", run_id, "wait")

    assert any(task_id in text for _, text in _log_texts(airflow.home))
    places = [place for place, text in _database_texts(airflow.home) if result["video_url"][-20:] in text]
    assert places
    assert all(place.startswith("xcom.") for place in places)
    rendered = [text for place, text in _database_texts(airflow.home) if "rendered" in place]
    assert any("presenter.jpg" in text for text in rendered)
    assert any("not shown" in text for text in rendered)


PRINTED_BY_AIRFLOW_3_0 = re.compile(
    r"Received message from task runner .*msg=SetXCom\(key='(return_value|video_url)'.*"
)
"""Its scheduler writes every XCom of its local workers to its own log, the declared result among them."""


def _log_texts(home):
    for path in home.rglob("*"):
        if path.is_file() and not path.name.startswith("airflow.db"):
            text = path.read_text("utf-8", errors="replace")
            yield str(path.relative_to(home)), PRINTED_BY_AIRFLOW_3_0.sub("", text)


def _database_texts(home):
    """Yield every cell of every table as text; an XCom is named with its key."""
    database = next(home.rglob("*.db"))
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        tables = [name for (name,) in connection.execute("select name from sqlite_master where type='table'")]
        for table in tables:
            cursor = connection.execute(f'select * from "{table}"')
            columns = [column[0] for column in cursor.description]
            for row in cursor:
                named = dict(zip(columns, row, strict=True))
                key = f" key={named['key']}" if table == "xcom" else ""
                for column, value in named.items():
                    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
                    yield f"{table}.{column}{key}", text
    connection.close()
