"""
Everything that the crash matrix runs on, and what it does again and again: start a clip, wait, kill, check.

Waits on what can be seen, never for a span of time.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests
from distributed_airflow import TRIGGERERS
from managed_airflow import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from crash_points import Orders
    from crash_simulator import SimulatorProcess
    from distributed_airflow import DistributedAirflow
    from processes import ManagedProcess

OVER = frozenset({"success", "failed"})


@dataclass(frozen=True)
class Clip:
    """
    One clip that is asked for, by a run of a Dag.

    It has an account of its own at the vendor, so that the ledger tells whose each row is, whatever its name.

    :param dag_id: of crash_dag.py.
    :param run_id: also the name of the account.
    """

    dag_id: str
    run_id: str

    @property
    def connection(self) -> str:
        """The Airflow connection to its account."""
        return f"kling_{self.run_id.replace('-', '_')}"

    @property
    def key(self) -> str:
        """The API key of its account."""
        return f"sk-{self.run_id}"

    @property
    def waiting_task(self) -> str:
        """The task that waits and returns the result."""
        return "wait" if self.dag_id == "crash_pair" else "clip"


@dataclass(frozen=True)
class Crash:
    """
    One way for a task to die.

    :param title: where it dies, in words.
    :param point: where it dies, of crash_points.py.
    :param dag_id: of crash_dag.py.
    :param task_id: of the task that dies.
    :param whole_worker: whether the worker dies with it, or only the task's own process.
    """

    title: str
    point: str
    dag_id: str = "crash_clip"
    task_id: str = "clip"
    whole_worker: bool = True

    @property
    def clip(self) -> Clip:
        """The clip that is made meanwhile."""
        victim = "worker" if self.whole_worker else "process"
        return Clip(self.dag_id, f"{self.dag_id}-{self.task_id}-{self.point}-{victim}".replace("_", "-"))


class Site:
    """
    A distributed Airflow, a simulator and what lies between.

    :param airflow: both are running.
    :param orders: shared with the tasks.
    """

    def __init__(self, airflow: DistributedAirflow, simulator: SimulatorProcess, orders: Orders) -> None:
        self.airflow = airflow
        self.simulator = simulator
        self.orders = orders
        self.asked_for: list[Clip] = []
        """Every clip that was started here."""

    # ------------------------------------------------------------- starting

    def ask_for(self, clip: Clip) -> None:
        """Start the run of a clip."""
        self.asked_for.append(clip)
        self.airflow.trigger(clip.dag_id, {"connection": clip.connection}, run_id=clip.run_id)

    def start_and_stop_at(self, crash: Crash) -> None:
        """Start the run of a clip with the order to stand still at the point of its crash."""
        self.orders.place(crash.clip.run_id, crash.task_id, crash.point)
        self.ask_for(crash.clip)

    # -------------------------------------------------------------- waiting

    def eventually(self, what: str, look: Callable[..., Any], *args: Any, timeout: float = PATIENCE) -> Any:
        """
        Return what is seen as soon as it is true.

        :param what: the expectation, for the message that it did not come true.
        :param args: of ``look``.
        :param timeout: seconds; generous, since the machine may be busy.
        """
        deadline = time.monotonic() + timeout
        while not (result := look(*args)):
            self.airflow.check_alive()
            assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}\n{self._story()}"
            time.sleep(0.3)
        return result

    def _story(self) -> str:
        states = {clip.run_id: self.states(clip) for clip in self.asked_for}
        return f"{states}\n{self.airflow.log_tails('scheduler', lines=15)}"

    def states(self, clip: Clip) -> dict[str, str]:
        """Return the states of the clip's tasks."""
        return self.airflow.task_states(clip.dag_id, clip.run_id)

    def is_deferred(self, clip: Clip) -> bool:
        """Tell whether the clip's task waits in the triggerer."""
        return self.states(clip).get(clip.waiting_task) == "deferred"

    def is_over(self, clip: Clip) -> bool:
        """Tell whether the clip's run has ended, well or not."""
        return self.airflow.api.run_state(clip.dag_id, clip.run_id) in OVER

    def is_settled(self, clip: Clip) -> bool:
        """Tell whether the clip's task waits in the triggerer, or the run has ended."""
        return self.is_deferred(clip) or self.is_over(clip)

    def wait_until_deferred(self, clips: Iterable[Clip]) -> None:
        """Wait until each of the clips is waited for in the triggerer, or has met its end already."""
        for clip in clips:
            self.eventually(f"{clip.run_id} waits in the triggerer", self.is_settled, clip)

    def triggerer_of(self, clip: Clip) -> str | None:
        """Return which triggerer waits for the clip."""
        return self.airflow.triggerer_of(clip.dag_id, clip.run_id, clip.waiting_task)

    def wait_for_triggerer(self, clip: Clip, but_not: str | None = None) -> str:
        """Wait until a triggerer waits for the clip, and return its name."""
        others = set(TRIGGERERS) - {but_not}
        holder: str = self.eventually(
            f"one of {sorted(others)} waits for {clip.run_id}",
            lambda: name if (name := self.triggerer_of(clip)) in others else None,
        )
        return holder

    def tries(self, clip: Clip, task_id: str) -> int:
        """Return how many tries of a task there have been."""
        tasks = self.airflow.api.task_instances(clip.dag_id, clip.run_id)
        return next(int(task["try_number"]) for task in tasks if task["task_id"] == task_id)

    def log(self, clip: Clip, try_number: int = 1) -> str:
        """Return the log of one try of the task that waits."""
        return self.airflow.task_log(clip.dag_id, clip.run_id, clip.waiting_task, try_number)

    # -------------------------------------------------------------- killing

    def kill_at_their_points(self, crashes: Iterable[Crash]) -> None:
        """
        Wait until every task stands still at its point, then kill them: first the processes, then whole workers.

        Workers that were killed are started again.
        """
        pids = {crash: self._pid_at_its_point(crash) for crash in crashes}
        alone = [crash for crash in pids if not crash.whole_worker]
        for crash in alone:
            os.kill(pids[crash], signal.SIGKILL)
        self.wait_until_deferred(crash.clip for crash in alone)  # the next try must not die with a worker
        workers = {self.airflow.component_of(pid) for crash, pid in pids.items() if crash.whole_worker}
        for name in workers:
            self.airflow.components[name].kill()
        for name in workers:
            self.airflow.components[name].start()

    def _pid_at_its_point(self, crash: Crash) -> int:
        return self.pid_at(crash.clip.run_id, crash.task_id, crash.point)

    def pid_at(self, run_id: str, task_id: str, point: str) -> int:
        """Wait until a task stands still at a point, and return its process."""
        pid: int = self.eventually(
            f"{task_id} of {run_id} stands still at {point}", self.orders.pid, run_id, task_id, point
        )
        return pid

    def holder(self, clip: Clip) -> tuple[str, ManagedProcess]:
        """Return the triggerer that waits for the clip: its name and its process."""
        name = self.wait_for_triggerer(clip)
        return name, self.airflow.components[name]

    # ------------------------------------------------------------- checking

    def assert_paid_once_and_delivered(self, clip: Clip) -> None:
        """Check that the run succeeded, the vendor billed one clip for it, and its video is there."""
        state = self.airflow.wait_for_run(clip.dag_id, clip.run_id)
        assert state == "success", self.log(clip, self.tries(clip, clip.waiting_task))
        assert set(self.states(clip).values()) == {"success"}
        result = self.airflow.xcom(clip.dag_id, clip.run_id, clip.waiting_task)
        billed = [row["task_id"] for row in self.simulator.billed() if row["account"] == clip.run_id]
        assert billed == [result["task_id"]]
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(result["video_url"], timeout=60)
        assert answer.status_code == 200
        assert answer.content[4:8] == b"ftyp"
