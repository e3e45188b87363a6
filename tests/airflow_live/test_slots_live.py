"""
Fifty clips on an account with five slots, in a real Airflow: nothing fails, nothing is paid twice, no slot idles.

One run of about seven minutes serves all tests of this file: the vendor's clock is the real one, since what is
measured is how long a slot stays empty between two clips.
"""

import json
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from local_airflow import LocalAirflow

from airflow_provider_kling_avatar.simulator.server import SimulatorServer
from airflow_provider_kling_avatar.simulator.settings import DEFAULT_API_KEY, SimulatorSettings

pytestmark = pytest.mark.slow

REPORT = Path(__file__).parents[2] / "build" / "reports" / "slots.txt"
ASSETS = Path(__file__).parents[2] / "airflow_provider_kling_avatar" / "simulator" / "assets"
CLIPS, SLOTS = 50, 5
QUEUE_SECONDS, RENDER_SECONDS = 2.0, 34.0
CLIP_SECONDS = QUEUE_SECONDS + RENDER_SECONDS
"""Far less than a real clip takes: of each, some five seconds go by until Airflow has brought a clip to a free slot."""
IDEAL_SECONDS = CLIPS / SLOTS * CLIP_SECONDS
LEAST_BUSY = 0.6
"""Share of the slot-seconds from the first submission until the last batch begins; 0.9 on an idle machine."""

DAG = f"""
    import os

    from airflow.providers.common.compat.sdk import DAG

    from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarOperator

    with DAG("night", schedule=None):
        KlingAvatarOperator.partial(
            task_id="clip", image=os.environ["LIVE_FACE"], audio=os.environ["LIVE_VOICE"], poll_interval=1, retries=0
        ).expand(prompt=[f"greeting {{number}}" for number in range({CLIPS})])
"""


@dataclass(frozen=True)
class Night:
    """
    What a run of all clips left behind.

    :param state: of the run.
    :param tasks: the task instances, as Airflow's API describes them.
    :param spans: begin and end of each clip at the vendor in Unix seconds, in the order of submission.
    :param logs: the log of each clip's only try.
    """

    state: str
    tasks: list[dict[str, Any]]
    spans: list[tuple[float, float]]
    logs: list[str]

    def in_flight(self) -> int:
        """Return the largest number of clips that ran at the same moment."""
        moments = sorted([(begin, 1) for begin, _ in self.spans] + [(end, -1) for _, end in self.spans])
        running, most = 0, 0
        for _, change in moments:
            running += change
            most = max(most, running)
        return most

    def makespan(self) -> float:
        """Return the seconds from the first submission to the end of the last clip."""
        return max(end for _, end in self.spans) - self.spans[0][0]

    def busy_share(self) -> float:
        """Return the share of the slots' time that was used, until the last batch of clips begins."""
        first, last = self.spans[0][0], self.spans[-SLOTS][0]
        used = sum(max(min(end, last) - begin, 0) for begin, end in self.spans)
        return used / (SLOTS * (last - first))

    def gaps(self) -> list[float]:
        """Return the seconds from each end of a clip to the beginning of the one that took its slot."""
        ends = sorted(end for _, end in self.spans)
        return sorted(begin - end for (begin, _), end in zip(self.spans[SLOTS:], ends, strict=False))


@pytest.fixture(scope="module")
def report():
    """Write figures where `make test-slots` shows them: what a worker of pytest-xdist prints is lost."""
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.unlink(missing_ok=True)

    def write(text: str) -> None:
        with REPORT.open("a") as file:
            file.write(textwrap.dedent(text).strip() + "\n")

    return write


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    dags = tmp_path_factory.mktemp("dags")
    (dags / "night.py").write_text(textwrap.dedent(DAG))
    settings = SimulatorSettings(
        port=0, queue_seconds=QUEUE_SECONDS, render_seconds=RENDER_SECONDS, slots=SLOTS
    )
    with SimulatorServer(settings) as simulator:
        connection = {"conn_type": "kling_avatar", "host": simulator.url, "password": DEFAULT_API_KEY}
        env = {
            "AIRFLOW_CONN_KLING_AVATAR_DEFAULT": json.dumps(connection),
            # A worker notices the end of every second task only when it next sends a heartbeat, and is held till then.
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "LIVE_FACE": str(ASSETS / "presenter.jpg"),
            "LIVE_VOICE": str(ASSETS / "greeting.mp3"),
        }
        with LocalAirflow(dags, home=tmp_path_factory.mktemp("home"), env=env, parallelism=4) as airflow:
            if airflow.major == 2:
                pytest.skip("Airflow 2.11 on SQLite runs one task at a time: it cannot keep five slots busy")
            run_id = airflow.trigger("night")
            yield Night(
                state=airflow.wait_for_run("night", run_id, timeout=2.5 * IDEAL_SECONDS),
                tasks=airflow.api.task_instances("night", run_id),
                spans=[
                    (entry["created_at"], entry["created_at"] + CLIP_SECONDS)
                    for entry in simulator.ledger()["entries"]
                ],
                logs=[airflow.task_log("night", run_id, "clip", map_index=number) for number in range(CLIPS)],
            )


def test_every_clip_succeeds_in_its_first_try_without_any_retry(night):
    assert night.state == "success"
    assert [task["state"] for task in night.tasks] == ["success"] * CLIPS
    assert [task["try_number"] for task in night.tasks] == [1] * CLIPS


def test_every_clip_is_paid_once(night):
    assert len(night.spans) == CLIPS


def test_never_more_than_the_account_allows_run_at_once(night):
    assert night.in_flight() == SLOTS


def test_the_slots_are_busy_until_the_last_batch(night, report):
    gaps = night.gaps()
    report(f"""
        {CLIPS} clips of {CLIP_SECONDS:.0f} s on {SLOTS} slots: {night.makespan():.0f} s, ideal {IDEAL_SECONDS:.0f} s;
        slots busy {night.busy_share():.1%} until the last batch;
        a slot empty for {gaps[len(gaps) // 2]:.1f} s (median), {gaps[-1]:.1f} s at most;
        load of the machine {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores
    """)

    assert night.busy_share() >= LEAST_BUSY


def test_who_waits_is_sent_again_once_and_not_in_a_herd(night, report):
    refusals = [log.count("code 1303") for log in night.logs]
    waited = sum(map(bool, refusals))
    report(f"{waited} clips had to wait; {sum(refusals) - waited} times one was refused again")

    # On a busy machine tasks begin late, so that fewer have to wait, and are admitted on what was seen long before. In
    # a herd each free slot would have everybody who waits refused: hundreds.
    assert waited >= CLIPS / 4, "the test is about waiting"
    assert sum(refusals) - waited <= 0.5 * CLIPS
