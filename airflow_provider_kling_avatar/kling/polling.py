"""
The only state machine: given what was just seen of a task, it says whether to wait or to stop.

Pure: no clock, no sleep, no network. The worker's loop, the sensor's poke and the trigger all call `decide`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.kling.errors import (
    KlingError,
    RateLimitedError,
    TaskFailedError,
    TaskLostError,
    TaskRejectedError,
    TaskTimeoutError,
)
from airflow_provider_kling_avatar.kling.model import TaskState, VideoTask

if TYPE_CHECKING:
    from collections.abc import Iterator

JITTER = 0.1
"""Share of the interval by which waits differ, so that many tasks do not ask at the same moment."""
HEARTBEAT_POLLS = 10
"""A log line at least every so many polls, when nothing changes."""
MODERATED = frozenset({1300, 1301})
BAD_INPUT = frozenset({1200, 1201})


class Verdict(StrEnum):
    """How waiting ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The vendor failed the task."""
    TIMEOUT = "timeout"
    """We stopped waiting at the deadline; the task may live."""
    LOST = "lost"
    """We could not ask any more; the task may live."""


@dataclass(frozen=True, slots=True)
class Budget:
    """
    How long and how often to ask.

    :param deadline: Unix seconds, absolute: it survives a restart of whoever waits.
    :param poll_interval: seconds between two questions.
    :param max_failed_polls: so many failed questions in a row end the waiting.
    """

    deadline: float
    poll_interval: float
    max_failed_polls: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again in `seconds`; so many questions have failed in a row by now."""

    seconds: float
    failed_polls: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Waiting is over; `reason` and `code` are the vendor's, where there are any."""

    verdict: Verdict
    reason: str | None = None
    code: int | str | None = None


Decision = Wait | Finished


def decide(
    seen: VideoTask | KlingError, *, now: float, budget: Budget, failed_polls: int = 0, jitter: float = 0.5
) -> Decision:
    """
    Decide what to do after one look at a task.

    :param seen: the task, or the error that asking ended in.
    :param now: Unix seconds.
    :param failed_polls: failed questions in a row before this one.
    :param jitter: a random number from 0 to 1.
    """
    problem: KlingError | None
    if isinstance(seen, KlingError):
        problem = seen
    elif seen.state is TaskState.SUCCEEDED and seen.video is None:
        # Never a reason to ask for ever, nor to pay for another: the clip exists, only its address is missing.
        problem = KlingError("the vendor says the task succeeded but gives no video URL")
    else:
        problem = None
        if seen.state is TaskState.SUCCEEDED:
            return Finished(Verdict.SUCCEEDED)
        if seen.state is TaskState.FAILED:
            return Finished(Verdict.FAILED, seen.reason, seen.reason_code)

    if problem is None or isinstance(
        problem, RateLimitedError
    ):  # "slow down" proves that the vendor is there
        failed_polls = 0
    else:
        failed_polls += 1
        if failed_polls >= budget.max_failed_polls:
            return Finished(Verdict.LOST, str(problem), problem.code)
    if now >= budget.deadline:
        return Finished(Verdict.TIMEOUT, str(problem) if problem else None)

    seconds = budget.poll_interval * (1 + JITTER * (2 * jitter - 1))
    if problem is not None and problem.retry_after is not None:
        seconds = max(seconds, problem.retry_after)
    # The last look falls on the deadline itself, never after it.
    return Wait(min(seconds, budget.deadline - now), failed_polls)


def error_of(task_id: str, finished: Finished) -> KlingError:
    """
    Return the error that a bad verdict is told with.

    :param task_id: the vendor's id, so that the clip can be found again.
    :param finished: any verdict but `Verdict.SUCCEEDED`.
    """
    reason = f": {finished.reason}" if finished.reason else ""
    alive = "it may still finish, and stays findable by this id"
    if finished.verdict is Verdict.FAILED:
        if finished.code in MODERATED:
            return TaskRejectedError(
                f"Kling's moderation rejected task {task_id}{reason}; change image, audio or prompt",
                code=finished.code,
            )
        if finished.code in BAD_INPUT:
            return TaskRejectedError(
                f"Kling found the input of task {task_id} wrong{reason}; change what the reason names",
                code=finished.code,
            )
        return TaskFailedError(
            f"Kling failed task {task_id}{reason or ' without a reason'}; making it anew is paid again",
            code=finished.code,
        )
    if finished.verdict is Verdict.TIMEOUT:
        return TaskTimeoutError(f"gave up waiting for task {task_id} at the deadline{reason}; {alive}")
    return TaskLostError(
        f"too many failed polls for task {task_id}, the last one{reason}; {alive}", code=finished.code
    )


class Watch:
    """
    One task being waited for: counts the failed questions and tells the story in few lines.

    :param budget: how long and how often to ask.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.failed_polls = 0
        self._status: str | None = None
        self._quiet_polls = 0
        self._unknown_words: set[str] = set()

    def look(self, seen: VideoTask | KlingError, *, now: float, jitter: float = 0.5) -> Decision:
        """Decide after one look, keeping count of the failed ones."""
        decision = decide(seen, now=now, budget=self.budget, failed_polls=self.failed_polls, jitter=jitter)
        if isinstance(decision, Wait):
            self.failed_polls = decision.failed_polls
        elif decision.verdict is Verdict.LOST:
            self.failed_polls += 1
        return decision

    def story(self, seen: VideoTask | KlingError, *, now: float) -> Iterator[str]:
        """Yield the log lines this look is worth: a change, a failed question, or a sign of life now and then."""
        self._quiet_polls += 1
        if isinstance(seen, KlingError):
            yield f"poll failed ({self.failed_polls}/{self.budget.max_failed_polls} in a row): {seen}"
            self._quiet_polls = 0
            return
        if seen.state is TaskState.UNKNOWN and seen.status and seen.status not in self._unknown_words:
            self._unknown_words.add(seen.status)
            yield f"task {seen.task_id} has a status this package does not know, {seen.status!r}: waiting on"
        if seen.status != self._status or self._quiet_polls >= HEARTBEAT_POLLS:
            self._status = seen.status
            self._quiet_polls = 0
            left = max(self.budget.deadline - now, 0)
            patience = "" if seen.state.is_final else f", waiting for up to {left:.0f} s more"
            yield f"task {seen.task_id}: {seen.status or 'no status yet'}{patience}"
