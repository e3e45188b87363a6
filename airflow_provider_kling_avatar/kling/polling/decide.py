"""
The only state machine: given what was just seen of a task, it says whether to wait or to stop.

Pure: no clock, no sleep, no network. The worker's loop, the sensor's poke and the trigger all call `decide`.
"""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING, Any, Self

import msgspec

from airflow_provider_kling_avatar.kling.errors import (
    KlingError,
    NoSuchTaskError,
    RateLimitedError,
    TaskFailedError,
    TaskLostError,
    TaskRejectedError,
    TaskTimeoutError,
)
from airflow_provider_kling_avatar.kling.models import TaskState, VideoTask
from airflow_provider_kling_avatar.kling.polling.backoff import SINGLE_SECONDS
from airflow_provider_kling_avatar.kling.responses.error_codes import (
    BAD_INPUT,
    MODERATED,
    NO_FREE_SLOT,
    TOO_MANY_REQUESTS,
)
from airflow_provider_kling_avatar.kling.responses.errors import is_no_such_task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_MAX_FAILED_POLLS = 10
JITTER = 0.1
"""Share of the interval by which waits differ, so that many tasks do not ask at the same moment."""
HEARTBEAT_SECONDS = 120.0
"""A log line at least so often, when nothing changes."""
HINT_SECONDS = 600.0
"""After so long of `hides_a_reason` in a row the log gives `HINT`."""
HINT = (
    "rate limited for ten minutes without a reason of Kling's: a gateway may say so whatever the vendor behind it "
    "refuses, an empty account too; look at the gateway's console and balance"
)
LOOKS_FOR_UNKNOWN = 3
"""So many times has the vendor to say that it has no such task, without ever having shown it."""
LOOK_AGAIN_SECONDS = 3.0
"""At most so long after the last of them comes the next, whatever the interval: three fit well into 15 s."""


class Verdict(StrEnum):
    """How waiting ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The vendor failed the task."""
    TIMEOUT = "timeout"
    """We stopped waiting at the deadline; the task may live."""
    LOST = "lost"
    """We could not ask any more; the task may live."""
    NOT_FOUND = "not_found"
    """The vendor has no such task, and nobody here has made or seen it."""


class PollLimits(msgspec.Struct, frozen=True, gc=False):
    """
    How long and how often to ask. Operator and sensor make it, the trigger carries it, `decide` obeys it.

    :param deadline: Unix seconds, absolute: it survives a restart of whoever waits.
    :param poll_interval: seconds between two questions; ``None`` for as often as costs little.
    :param max_failed_polls: so many failed questions in a row end the waiting.
    :param queue_deadline: Unix seconds, absolute: by then the vendor has to have begun.
    :param render_timeout: seconds that it may be rendered.
    :param since: Unix seconds when the waiting began, for the report.
    :param is_known: the vendor has had this task: we made it, or saw it. If it does not know another one, its id is
        wrong, and the waiting ends after `LOOKS_FOR_UNKNOWN` looks.
    """

    deadline: float
    poll_interval: float | None = None
    max_failed_polls: int = DEFAULT_MAX_FAILED_POLLS
    queue_deadline: float | None = None
    render_timeout: float | None = None
    since: float | None = None
    is_known: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON scalars by name."""
        return msgspec.structs.asdict(self)

    @classmethod
    def from_dict(cls, limits: Mapping[str, Any]) -> Self:
        """Read what `as_dict` gave, also of another version: what is not known here is left out."""
        return msgspec.convert(limits, cls)

    @property
    def interval(self) -> float:
        """Seconds between two questions of one who asks for nothing but this task."""
        return SINGLE_SECONDS if self.poll_interval is None else self.poll_interval

    def doubts(self, seen: VideoTask | KlingError) -> bool:
        """Tell whether the vendor says that it has no such task, and nobody here knows better."""
        return not self.is_known and is_no_such_task(seen)

    def deadline_of(self, seen: VideoTask | KlingError, began: float | None) -> float:
        """
        Return the moment, in Unix seconds, at which waiting for a task ends if it stays as it was just seen.

        :param began: Unix seconds when its rendering began, if it has.
        """
        if self.queue_deadline is not None and is_queued(seen):
            return min(self.deadline, self.queue_deadline)
        if self.render_timeout is not None and began is not None:
            return min(self.deadline, began + self.render_timeout)
        return self.deadline


ONE_LOOK = PollLimits(inf, 1.0, 1)
"""Of one who looks but once: only a task that has ended is over, also one that succeeded without a URL."""


def is_queued(seen: VideoTask | KlingError) -> bool:
    """Tell whether the vendor has the task but has not begun with it."""
    return isinstance(seen, VideoTask) and seen.state.is_queued


def hides_a_reason(seen: VideoTask | KlingError) -> bool:
    """
    Tell whether a gateway may have put "slow down" in the place of another refusal.

    The most common one (new-api) words every HTTP 429 anew; Kling has six codes under it, four of them permanent.
    """
    return isinstance(seen, RateLimitedError) and seen.code != TOO_MANY_REQUESTS


class Wait(msgspec.Struct, frozen=True, gc=False):
    """
    Ask again.

    :param seconds: until then.
    :param failed_polls: so many questions have failed in a row by now.
    :param deadline: Unix seconds when waiting ends if the task stays as it was just seen.
    :param not_found: so many times has the vendor said that it has no such task, and never that it has one.
    """

    seconds: float
    failed_polls: int
    deadline: float
    not_found: int = 0


class Finished(msgspec.Struct, frozen=True, gc=False):
    """
    Waiting is over.

    :param verdict: how it ended.
    :param reason: the vendor's, where there is one.
    :param code: the vendor's, where there is one.
    :param queued: seconds in the vendor's queue; ``None`` if it was over at the first look, so that nobody knows.
    :param rendering: seconds from then on, likewise.
    """

    verdict: Verdict
    reason: str | None = None
    code: int | str | None = None
    queued: float | None = None
    rendering: float | None = None


Decision = Wait | Finished


def decide(
    seen: VideoTask | KlingError,
    *,
    now: float,
    limits: PollLimits,
    failed_polls: int = 0,
    not_found: int = 0,
    began: float | None = None,
    jitter: float = 0.5,
) -> Decision:
    """
    Decide what to do after one look at a task.

    :param seen: the task, or the error that asking ended in.
    :param now: Unix seconds.
    :param failed_polls: failed questions in a row before this one.
    :param not_found: see `Wait`, before this look.
    :param began: Unix seconds when the rendering began, as far as it was seen.
    :param jitter: a random number from 0 to 1.
    """
    problem = seen if isinstance(seen, KlingError) else None
    if isinstance(seen, VideoTask) and seen.state.is_final:
        if seen.state is TaskState.FAILED:
            return Finished(Verdict.FAILED, seen.reason, seen.reason_code)
        if seen.video is not None:
            return Finished(Verdict.SUCCEEDED)
        # Never a reason to ask for ever, nor to pay for another: the clip exists, only its address is missing.
        problem = KlingError("the vendor says the task succeeded but gives no video URL")

    interval = limits.interval
    if problem is None or isinstance(problem, RateLimitedError):
        failed_polls = 0  # "slow down" proves that the vendor is there
    elif limits.doubts(problem):
        failed_polls, not_found = 0, not_found + 1
        interval = min(interval, LOOK_AGAIN_SECONDS / (1 + JITTER))  # never longer, after the jitter
    else:
        failed_polls += 1
    if problem is not None and not_found >= LOOKS_FOR_UNKNOWN:
        return Finished(Verdict.NOT_FOUND, str(problem), problem.code)
    if problem is not None and failed_polls >= limits.max_failed_polls:
        return Finished(Verdict.LOST, str(problem), problem.code)
    deadline = limits.deadline_of(seen, began)
    if now >= deadline:
        return Finished(Verdict.TIMEOUT, str(problem) if problem else None)

    seconds = interval * (1 + JITTER * (2 * jitter - 1))
    if problem is not None and problem.retry_after is not None:
        seconds = max(seconds, problem.retry_after)
    # The last look falls on the deadline itself, never after it.
    return Wait(min(seconds, deadline - now), failed_polls, deadline, not_found)


def error_for(task_id: str, finished: Finished) -> KlingError:
    """
    Return the error that a bad verdict is told with.

    :param task_id: the vendor's id, so that the clip can be found again.
    :param finished: any verdict but `Verdict.SUCCEEDED`.
    """
    reason = f": {finished.reason}" if finished.reason else ""
    alive = "it may still finish, and stays findable by this id (at Kling for 30 days, at some gateways for 24 hours)"
    if finished.verdict is Verdict.FAILED:
        return _failure(task_id, finished, reason)
    if finished.verdict is Verdict.TIMEOUT:
        return TaskTimeoutError(f"gave up waiting for task {task_id} at the deadline{reason}; {alive}")
    if finished.verdict is Verdict.NOT_FOUND:
        return NoSuchTaskError(
            f"the vendor does not know task {task_id}, asked {LOOKS_FOR_UNKNOWN} times{reason}. Check that this is the "
            "id of a Kling task, made with this connection's account and at this endpoint: avatar does not know the "
            "ids of image_to_video, nor the other way round",
            code=finished.code,
        )
    return TaskLostError(f"gave up asking for task {task_id}{reason}; {alive}", code=finished.code)


def _failure(task_id: str, finished: Finished, reason: str) -> TaskFailedError:
    """Return the error for a task that the vendor failed."""
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
    if finished.code == NO_FREE_SLOT:
        return TaskFailedError(
            f"Kling took task {task_id} and failed it for want of a free slot{reason}", code=finished.code
        )
    return TaskFailedError(
        f"Kling failed task {task_id}{reason or ' without a reason'}; making it anew is paid again",
        code=finished.code,
    )


def say_durations(queued: float, rendering: float) -> str:
    """Say how many seconds a task was in the vendor's queue, and how many it was rendered."""
    return f"{queued:.0f} s in the vendor's queue, {rendering:.0f} s rendering"


def tenths(seconds: float | None) -> float | None:
    """Return a duration as it is handed on: to a tenth of a second."""
    return None if seconds is None else max(round(seconds * 10), 0) / 10


class PollTracker:
    """
    One task being waited for: counts the failed questions and words what happens in few log lines.

    :param limits: how long and how often to ask.
    :param logged_at: Unix seconds when a worker last logged it, which will also log its success: then the lines
        are only of what happens in between. Thousands may be waited for, and their lines cost more than the waiting.
    :param heartbeat: seconds until a sign of life.
    """

    __slots__ = (
        "_began",
        "_has_waited",
        "_heartbeat",
        "_hint_at",
        "_is_between",
        "_logged_at",
        "_status",
        "_unknown_words",
        "deadline",
        "failed_polls",
        "limits",
        "not_found",
        "typical",
    )

    def __init__(
        self, limits: PollLimits, *, logged_at: float | None = None, heartbeat: float = HEARTBEAT_SECONDS
    ) -> None:
        self.limits = limits
        self._heartbeat = heartbeat
        self.failed_polls = self.not_found = 0
        self.deadline = limits.deadline
        """Unix seconds: when waiting ends if the task stays as it was last seen."""
        self._has_waited = False
        self._status: str | None = None
        self._is_between = logged_at is not None
        self._logged_at = logged_at or 0.0
        self._unknown_words: tuple[str, ...] = ()
        self._hint_at: float | None = None  # infinite once it was given
        self._began: float | None = None  # when the vendor began, as far as we saw it
        self.typical: Callable[[], float | None] = lambda: None
        """Tells how many seconds the account's last clips took; set by whoever knows."""

    def look(self, seen: VideoTask | KlingError, *, now: float, jitter: float = 0.5) -> Decision:
        """Decide after one look, keeping count of the failed ones and of the time."""
        if self._began is None and isinstance(seen, VideoTask) and not is_queued(seen):
            self._began = self._beginning(seen, now)
        if not hides_a_reason(seen):
            self._hint_at = None
        elif self._hint_at is None:
            self._hint_at = now + HINT_SECONDS
        decision = decide(
            seen,
            now=now,
            limits=self.limits,
            failed_polls=self.failed_polls,
            not_found=self.not_found,
            began=self._began,
            jitter=jitter,
        )
        if isinstance(decision, Wait):
            self.failed_polls, self.deadline = decision.failed_polls, decision.deadline
            self.not_found = decision.not_found
            if isinstance(seen, VideoTask):
                self._has_waited = True
                if not self.limits.is_known:
                    self.limits = msgspec.structs.replace(self.limits, is_known=True)
            return decision
        reason = decision.reason
        if decision.verdict is Verdict.LOST:
            self.failed_polls += 1
        elif decision.verdict is Verdict.NOT_FOUND:
            self.not_found += 1
        elif decision.verdict is Verdict.TIMEOUT and self.limits.since is not None:
            reason = f"{self.times(now)}{f', {reason}' if reason else ''}"
        queued, rendering = self.durations(now) if self._has_waited else (None, None)
        return Finished(decision.verdict, reason, decision.code, queued, rendering)

    def durations(self, now: float) -> tuple[float, float]:
        """Return the seconds that the task was in the vendor's queue and that it was rendered, as far as we saw."""
        since = now if self.limits.since is None else self.limits.since
        began = now if self._began is None else self._began
        return began - since, now - began

    def times(self, now: float) -> str:
        """Say how long the task was in the vendor's queue and how long it has been rendered, as far as we saw."""
        return say_durations(*self.durations(now))

    def _beginning(self, seen: VideoTask, now: float) -> float:
        """Return when the vendor began with a task that is no longer queued, as far as we can know."""
        if self._status is None and self.limits.since is not None and seen.created_at and seen.updated_at:
            # Waiting was taken up in the middle, by another triggerer perhaps: the vendor's own times know more.
            queued = max(seen.updated_at - seen.created_at, 0.0)
            return min(self.limits.since + queued, now)
        return now

    def wake_at(self, now: float) -> float:
        """Return when there is something to do though nothing is heard of the task; both in Unix seconds."""
        return min(self.deadline, (self._logged_at or now) + self._heartbeat)

    def log_lines(self, seen: VideoTask | KlingError | None, *, now: float) -> list[str]:
        """
        Return the log lines this look is worth: a change, a failed question, or a sign of life now and then.

        :param seen: ``None`` if nothing has been heard.
        """
        if seen is None:
            self._logged_at = now
            return []
        if isinstance(seen, KlingError):
            self._logged_at = now
            return self._trouble(seen, now)
        lines = []
        if seen.state is TaskState.UNKNOWN and seen.status and seen.status not in self._unknown_words:
            self._unknown_words += (seen.status,)
            lines.append(
                f"task {seen.task_id} has a status this package does not know, {seen.status!r}: waiting on"
            )
        is_news = seen.status != self._status and not (self._is_between and self._is_logged_by_worker(seen))
        if is_news or now - self._logged_at >= self._heartbeat:
            outlook = self._outlook(seen, now)
            lines.append(f"task {seen.task_id}: {seen.status or 'no status yet'}{outlook}")
            self._logged_at = now
        self._status = seen.status
        return lines

    def _trouble(self, seen: KlingError, now: float) -> list[str]:
        """Return the lines that a failed question is worth."""
        if self.limits.doubts(seen):
            return [f"the vendor has no such task (look {self.not_found} of {LOOKS_FOR_UNKNOWN}): {seen}"]
        lines = [f"poll failed ({self.failed_polls}/{self.limits.max_failed_polls} in a row): {seen}"]
        if self._hint_at is not None and now >= self._hint_at:
            self._hint_at = inf
            lines.append(HINT)
        return lines

    def _is_logged_by_worker(self, seen: VideoTask) -> bool:
        return self._status is None or seen.state is TaskState.SUCCEEDED

    def _outlook(self, seen: VideoTask, now: float) -> str:
        """Say how long it has taken and may still take, or how long it took."""
        if not seen.state.is_final:
            begin = self.limits.since if self.limits.since is not None else seen.created_at
            elapsed = f" after {now - begin:.0f} s" if begin is not None and now - begin >= 1 else ""
            usual = self.typical()
            expected = "" if usual is None else f", about {usual:.0f} s expected"
            left = max(self.limits.deadline_of(seen, self._began) - now, 0)
            return f"{elapsed}{expected}, waiting for up to {left:.0f} s more"
        return f", {self.times(now)}" if self._status is not None and self.limits.since is not None else ""
