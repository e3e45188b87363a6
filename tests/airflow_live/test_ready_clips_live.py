"""
Clips that another program makes start a Dag, in a real Airflow, though its triggerer is killed on the way.

The other program is the plain client. The Dag is the example, told only where to land and to look more often.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from contextlib import closing
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import pytest
from local_airflow import LocalAirflow
from managed_airflow import PATIENCE

from airflow_provider_kling_avatar.kling import AvatarRequest, KlingClient, KlingConfig, prepare
from airflow_provider_kling_avatar.simulator.server import SimulatorServer
from airflow_provider_kling_avatar.simulator.settings import DEFAULT_API_KEY, SimulatorSettings

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "airflow_provider_kling_avatar" / "simulator" / "assets"
EXAMPLE = ROOT / "example_dags" / "example_kling_on_ready_clip.py"
DAG_ID = "kling_on_ready_clip"
AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:2])
POLL_SECONDS = 4
CLIPS = 20
KILLS = 1

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(AIRFLOW < (3,), reason="Airflow 2 has no event-driven scheduling"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def simulator():
    settings = SimulatorSettings(port=0, queue_seconds=0.5, render_seconds=1.5, slots=2 * CLIPS)
    with SimulatorServer(settings) as running:
        running.seed(count=700, age_seconds=3600, spacing_seconds=60)  # what others made before
        yield running


@pytest.fixture(scope="module")
def airflow(simulator, folder, tmp_path_factory):
    dags = tmp_path_factory.mktemp("dags")
    text = EXAMPLE.read_text()
    for printed, ours in (
        ("~/kling-clips", str(folder)),
        ('state="succeeded"', f'state="succeeded", poll_interval={POLL_SECONDS}'),
    ):
        assert printed in text
        text = text.replace(printed, ours)
    (dags / EXAMPLE.name).write_text(text)
    connection = {"conn_type": "kling_avatar", "host": simulator.url, "password": DEFAULT_API_KEY}
    env = {
        "AIRFLOW_CONN_KLING_AVATAR_DEFAULT": json.dumps(connection),
        # A triggerer that was killed counts as alive so long: until then nobody takes over what it did.
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        # Airflow starts a watcher when it reads the Dag for the second time.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
    }
    with LocalAirflow(dags, home=tmp_path_factory.mktemp("home"), env=env, parallelism=4) as running:
        yield running


def eventually(airflow, what, look):
    """Return what is seen as soon as it is true."""
    deadline = time.monotonic() + PATIENCE
    while not (seen := look()):
        airflow.check_alive()
        assert time.monotonic() < deadline, f"not in time: {what}\n{airflow.log_tails()}"
        time.sleep(0.5)
    return seen


def payloads(airflow):
    """
    Return what the events tell, in order.

    Out of the database: Airflow's API answers 500 to a question for events whose run has not begun (3.3.2).
    """
    database = sqlite3.connect(f"file:{airflow.home / 'airflow.db'}?mode=ro", uri=True)
    with closing(database) as connection:
        rows = connection.execute("select extra from asset_event order by id").fetchall()
    return [json.loads(extra)["payload"] for (extra,) in rows]


def told(airflow):
    """Return the ids of the clips that there were events for, in order."""
    return [payload["task_id"] for payload in payloads(airflow)]


def landed(folder):
    return {path.stem for path in folder.glob("*.mp4")}


@pytest.fixture(scope="module")
def story(airflow, simulator, folder):
    """Twenty clips by the plain client; the triggerer is killed after some, and clips end while there is none."""
    config = KlingConfig.build(host=simulator.url, login=None, password=DEFAULT_API_KEY, extra={})
    request = AvatarRequest(image=str(ASSETS / "presenter.jpg"), audio=str(ASSETS / "greeting.mp3"))
    body = prepare(request, config.dialect).body
    triggerer = airflow.components["triggerer"]
    ids = []
    with KlingClient(config) as client:
        eventually(airflow, "the watcher looks at the list", lambda: simulator.calls["list"] > 1)
        ids += [client.submit("avatar", body).task_id for _ in range(CLIPS // 2)]
        eventually(airflow, "some are told", lambda: len(told(airflow)) >= 3)
        triggerer.kill()
        ids += [client.submit("avatar", body).task_id for _ in range(CLIPS // 2)]
        time.sleep(3)  # they end while nobody looks
        triggerer.start()
    eventually(airflow, "each file has landed", lambda: landed(folder) >= set(ids))
    eventually(
        airflow,
        "all runs are over",
        lambda: set(airflow.api.run_ids(DAG_ID).values()) <= {"success", "failed"},
    )
    return ids


def test_each_clip_of_another_program_lands_though_the_triggerer_is_killed(story, airflow, simulator, folder):
    events = Counter(told(airflow))
    runs = airflow.api.run_ids(DAG_ID)
    asked = [request.at for request in simulator.requests if request.call == "list"]
    between = sorted(later - earlier for earlier, later in pairwise(asked) if later - earlier > 0.5)
    print(  # noqa: T201  # what a person wants to know
        f"\nAirflow {version('apache-airflow')}: {len(story)} clips, {events.total()} events, "
        f"{sum(count - 1 for count in events.values())} of them again, {len(runs)} runs, {len(landed(folder))} files; "
        f"the list was asked {len(asked)} times, every {between[len(between) // 2]:.1f} s (median)"
    )

    assert set(events) == set(story), "none is missing, and none that is older was told"
    assert events.total() <= CLIPS + KILLS
    assert landed(folder) == set(story)
    assert set(runs.values()) == {"success"}
    assert between[0] > 0.9 * POLL_SECONDS


def test_no_event_has_a_link_and_each_tells_what_the_clip_is(story, airflow):
    for payload in payloads(airflow):
        assert "://" not in json.dumps(payload)
        assert (payload["api"], payload["endpoint"], payload["state"]) == ("kling", "avatar", "succeeded")
        assert payload["duration"] > 0
