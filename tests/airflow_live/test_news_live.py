"""
The daily news, as an editor would run it: twenty rows become twenty stored videos, within the budget.

The example Dag in a real Airflow with two Celery workers and two triggerers, the simulator as the vendor, moto as the
S3 server. Undisturbed first; then a triggerer is killed, and workers before and in the landing, while three rows cost
more than a clip may. Wants PostgreSQL and Redis.
"""

import json
import shutil
from decimal import Decimal
from pathlib import Path

import crash_points as at
import pytest
from crash_simulator import SimulatorProcess
from crash_site import OVER
from distributed_airflow import DistributedAirflow
from news_site import DAG_ID, LONG, SHORT, Folder, NewsSite, Run, assert_delivered, make_media
from object_store import ObjectStore
from processes import stop_all

from airflow_provider_kling_avatar.simulator.settings import DEFAULT_API_KEY

pytestmark = pytest.mark.news

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "example_dags"
WAITING_DAG = "kling_on_new_video"
ROWS, SLOTS = 20, 10
RENDER_SECONDS = 600
"""By the simulator's clock, which the tests move on."""
BUCKET = "newsroom"
WORKER_SLOTS, KILLED_WORKERS = 4, 3
CAP, CAP_OF_RUN = "0.50", "5"
"""US dollars: a clip of 12 s costs 0.67 by the list, twenty of 2.5 s cost 2.80."""
SECOND, SPEECH = Decimal("0.056"), Decimal("0.007")
"""US dollars for one second of a clip, and for one text that is spoken."""
LENGTHS = [SHORT if row % 2 else None for row in range(ROWS)]
TOO_LONG = (3, 8, 15)
ARM = "\n\nimport crash_points\n\nif crash_points.wanted():\n    crash_points.arm_landing()\n"
"""Behind the example Dag: what it loads is no part of a usual run."""


@pytest.fixture(scope="module")
def simulator(tmp_path_factory):
    running = SimulatorProcess(
        tmp_path_factory.mktemp("simulator"), render_seconds=RENDER_SECONDS, slots=SLOTS
    )
    try:
        running.start()
        yield running
    finally:
        stop_all([running.process])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with ObjectStore(tmp_path_factory.mktemp("store")) as running:
        running.create_bucket(BUCKET)
        yield running


@pytest.fixture(scope="module")
def temporary(tmp_path_factory):
    """Where the workers put what is not finished."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def site(services, simulator, store, temporary, tmp_path_factory):
    dags, orders, media = (tmp_path_factory.mktemp(name) for name in ("dags", "orders", "media"))
    for name in ("example_kling_news.csv", "example_kling_on_new_video.py"):
        shutil.copy(EXAMPLES / name, dags)
    shutil.copy(HERE / "crash_points.py", dags)
    news = (EXAMPLES / "example_kling_news.py").read_text()
    (dags / "example_kling_news.py").write_text(news + ARM)
    make_media(media)
    kling = {
        "conn_type": "kling_avatar",
        "host": simulator.url,
        "password": DEFAULT_API_KEY,
        "extra": {"api": "kling"},
    }
    env = {
        at.FOLDER_VARIABLE: str(orders),
        "AIRFLOW_CONN_KLING_AVATAR_DEFAULT": json.dumps(kling),
        "AIRFLOW_CONN_AWS_DEFAULT": store.connection,
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
        "TMPDIR": str(temporary),
    }
    home = tmp_path_factory.mktemp("home")
    with DistributedAirflow(
        dags, services=services, worker_slots=WORKER_SLOTS, home=home, env=env
    ) as airflow:
        airflow.api.create_pool("kling", SLOTS)
        yield NewsSite(airflow, simulator, at.Orders(orders), store=store, media=media)
        airflow.stop()
        assert airflow.survivors() == []


@pytest.fixture(scope="module")
def undisturbed(site, simulator):
    run = Run(site, "undisturbed", f"s3://aws_default@{BUCKET}/news", LENGTHS, max_cost_per_run=CAP_OF_RUN)
    assert run.finish() == "success"
    assert len(speeches(simulator)) == LENGTHS.count(None), "where nothing dies, each text is spoken once"
    return run


@pytest.fixture(scope="module")
def announced(site, undisturbed):
    """The files that the Dag scheduled on new videos was told of; it is paused afterwards, to save time."""

    def runs():
        found = site.airflow.api.run_ids(WAITING_DAG)
        return found if found and set(found.values()) <= OVER else None

    ended = site.eventually("the Dag that waits for new videos has run", runs)
    site.airflow.api.pause(WAITING_DAG)
    told = [run for run, state in ended.items() if state == "success"]
    return {file for run in told for file in site.airflow.xcom(WAITING_DAG, run, "announce")}


@pytest.fixture(scope="module")
def troubled(site, announced, tmp_path_factory):
    """
    A run to disk, then one to the bucket, while parts of Airflow die; of the second three rows cost too much.

    A triggerer dies while it waits for clips, then a worker before it lands one, one while it fetches one, and one
    while it puts one into the bucket.
    """
    site.orders.announce()
    disk = Run(site, "to-disk", str(tmp_path_factory.mktemp("disk")), LENGTHS, max_cost_per_run=CAP_OF_RUN)
    site.eventually("the pool is full of clips that are waited for", lambda: disk.count("deferred") == SLOTS)
    name = site.eventually("a triggerer waits for them", disk.triggerer)
    site.airflow.components[name].kill()
    site.eventually("the other one takes over", disk.triggerer, name)
    site.airflow.components[name].start()
    site.kill_worker_at(disk, at.BEFORE_LANDING)
    site.kill_worker_at(disk, at.IN_DOWNLOAD)
    assert disk.finish() == "success"
    lengths = [LONG if row in TOO_LONG else length for row, length in enumerate(LENGTHS)]
    bucket = Run(site, "to-bucket", f"s3://aws_default@{BUCKET}/news", lengths, max_cost=CAP)
    site.kill_worker_at(bucket, at.IN_UPLOAD)
    assert bucket.finish() == "success"
    return disk, bucket


def avatars(simulator):
    return [entry for entry in simulator.billed() if entry["endpoint"] == "avatar"]


def speeches(simulator):
    return [entry for entry in simulator.billed() if entry["endpoint"] == "speech"]


def in_bucket(store, run):
    return Folder.in_bucket(store, BUCKET, f"news/{run.run_id}")


def test_twenty_rows_become_twenty_playable_videos_in_the_bucket(undisturbed, store, simulator):
    assert_delivered(undisturbed, in_bucket(store, undisturbed), avatars(simulator), range(ROWS))


def test_the_price_is_known_before_and_after_and_stays_under_the_cap(undisturbed):
    manifests, estimates = undisturbed.manifests(), undisturbed.estimates()

    assert len(estimates) == ROWS
    for row, manifest in manifests.items():
        estimate, actual = Decimal(manifest["estimated_cost"]), Decimal(manifest["actual_cost"])
        assert 0 <= estimate - actual <= SECOND + SPEECH, (
            "whole seconds are billed; a speech is billed by itself"
        )
        log = undisturbed.log(row)
        assert "cost: about" in log
        assert f"{manifest['units']} units deducted" in log
    assert sum(Decimal(manifest["actual_cost"]) for manifest in manifests.values()) <= Decimal(CAP_OF_RUN)


def test_a_person_was_asked_and_told_the_price(undisturbed, site):
    summary = site.airflow.xcom(DAG_ID, undisturbed.run_id, "overview", "summary")

    assert f"{ROWS} of {ROWS} videos" in summary
    assert site.airflow.xcom(DAG_ID, undisturbed.run_id, "approve")["chosen_options"] == ["Approve"]
    assert site.airflow.xcom(DAG_ID, undisturbed.run_id, "publish") == ROWS


def test_new_videos_set_off_the_dag_that_waits_for_one(undisturbed, announced):
    """Most of them: Airflow drops events that come while it is making a run of those before, here 0 to 4 of 20."""
    assert announced <= {manifest["file"] for manifest in undisturbed.manifests().values()}
    assert len(announced) >= ROWS / 2


def test_whatever_dies_twenty_rows_become_twenty_videos_on_disk(troubled, simulator):
    disk, _ = troubled

    assert_delivered(disk, Folder.on_disk(Path(disk.output)), avatars(simulator), range(ROWS))


def test_rows_above_the_cap_are_refused_and_the_others_delivered_whatever_dies(troubled, store, simulator):
    _, bucket = troubled
    delivered = [row for row in range(ROWS) if row not in TOO_LONG]

    assert_delivered(bucket, in_bucket(store, bucket), avatars(simulator), delivered)
    for row in TOO_LONG:
        assert bucket.clip_states()[f"video[{row}]"] == "failed"
        log = bucket.log(row)
        assert "max_cost" in log
        assert "to the newsroom" in log, "the notifier spoke up"
        assert "Paid: no clip" in log


def test_nothing_is_paid_twice_and_nothing_is_left_behind(
    site, store, simulator, temporary, undisturbed, troubled
):
    """Runs last: counts over everything that was asked for above."""
    delivered = [m["task_id"] for run in site.runs for m in run.manifests().values()]

    assert sorted(entry["task_id"] for entry in avatars(simulator)) == sorted(delivered)
    assert len(delivered) == 3 * ROWS - len(TOO_LONG)
    texts = len(site.runs) * LENGTHS.count(None) - sum(LENGTHS[row] is None for row in TOO_LONG)
    # Text-to-speech has no name: what a worker had just had spoken when it died is spoken again.
    assert texts <= len(speeches(simulator)) <= texts + KILLED_WORKERS * WORKER_SLOTS
    assert store.unfinished_uploads(BUCKET) == []
    assert [str(path) for path in temporary.rglob("*") if "kling" in path.name or path.suffix == ".mp4"] == []
    site.eventually("no trigger is left", lambda: site.airflow.query("select id from trigger") == [])
