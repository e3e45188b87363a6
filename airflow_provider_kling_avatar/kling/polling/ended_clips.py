"""
Which clips of an account's list have ended and were not told of yet, whoever has made them.

`EndedClips` is pure: it is given the rows of the list and the time, and gives back a small record that outlives a
restart. By the vendor's clock alone it orders what has ended; ours only limits how far back a restart looks.

The list is read apart from the `watcher`'s, over the same session: the watcher reads every other second and only as far
as those need who wait for a task, and asks for each by itself where the list cannot be believed. What is looked for
here has no id yet: it needs the list, back to a moment in time, and is in no hurry.
"""

from __future__ import annotations

from math import inf, isfinite
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from airflow_provider_kling_avatar.kling.errors import KlingError, NotFoundError, RateLimitedError
from airflow_provider_kling_avatar.kling.models import TaskState, VideoTask
from airflow_provider_kling_avatar.kling.polling.backoff import LONGEST_QUIET_SECONDS, MOST_PAGES
from airflow_provider_kling_avatar.kling.polling.slot_queue import PAGE_SIZE
from airflow_provider_kling_avatar.kling.responses.page import is_thin

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_kling_avatar.kling.client import AsyncKlingClient
    from airflow_provider_kling_avatar.kling.models import EndpointName

LATE_IN_LIST_SECONDS = 3600.0
"""So late may a list show a clip for the first time, behind others that ended after it."""
CLOCK_SECONDS = 86400.0
"""Clocks may differ by so much. An end that lies farther ahead is a mistake, and says nothing of what ended before."""
LONGEST_RENDER_SECONDS = 86400.0
"""Pages are not searched for an unfinished clip that is older: it may never end. Nor is one news that was created so
long before the floor and never seen before: the vendor may have touched an old row."""

SKEW_SECONDS = 300.0
"""So far may the vendor's clock and ours be apart at a first start that sees no clip at all."""
MOST_TOUCHED = 1000
"""So many clips, the last to end, are known to be told though the vendor touches their rows."""
RARELY_SECONDS = 3600.0
"""At most so long after a question for a single clip comes the next one."""
MOST_TRIES = 5
"""After so many questions that failed a failed clip is told of without its reason."""


class EndedClips:
    """
    What was told of an account's clips, and what is news.

    A clip is news once, if it was seen unfinished and has ended now, or if it ended after the `floor` and was never
    seen before. Without times it is news only if it was seen unfinished.

    :param record: what `record` gave before a restart; ``None`` at the very first start.
    :param now: Unix seconds.
    :param lookback: seconds; what ended longer ago while nobody looked is not told.
    :param first_lookback: seconds; what has ended before the very first start is told if it is not older. With 0 all
        that has ended by the first look counts as told.
    :raises ValueError: this is no record: somebody has changed it by hand.
    """

    def __init__(
        self, record: Mapping[str, Any] | None, *, now: float, lookback: float, first_lookback: float
    ) -> None:
        self._began_at = self._now = now
        self.floor: float | None = None
        """Unix seconds by the vendor's clock: what ended earlier is old. ``None`` until the first look."""
        self._settled: dict[str, float] = {}  # when they ended
        self._open: dict[str, float] = {}  # when they were created
        self.too_old = 0
        """Clips seen by the first look that are not told, because they ended longer ago than ``lookback``."""
        self._floor_before: float | None = None
        if record is not None:
            self._floor_before, self._settled, self._open = _read(record)
            self.floor = max(self._floor_before, now - lookback)
        elif first_lookback > 0:
            self.floor = now - first_lookback

    def read_back_to(self, now: float) -> float:
        """Return the Unix seconds such that clips created earlier need not be read; infinite for one page alone."""
        if self.floor is None:
            return inf
        return min(
            [
                self.floor,
                *(begin for begin in self._open.values() if 0 < begin >= now - LONGEST_RENDER_SECONDS),
            ]
        )

    def news(self, tasks: Iterable[VideoTask], *, now: float) -> list[VideoTask]:
        """
        Return the clips that have ended and are not settled, the first to end first.

        :param tasks: all rows that were read. A row may be thin: it says that a clip has ended but not with what.
        :param now: Unix seconds.
        """
        self._now = now
        rows = {task.task_id: task for task in tasks}
        if self.floor is None:
            self._begin(rows.values())
        self._count_too_old(rows.values())
        self._open = {task_id: begin for task_id, begin in self._open.items() if task_id in rows}
        ended = []
        for task in rows.values():
            if task.task_id in self._settled:
                continue
            if not task.state.is_final:
                self._open[task.task_id] = task.created_at or 0.0
            elif task.task_id in self._open or self._is_new(task):
                self._open.setdefault(task.task_id, task.created_at or 0.0)
                ended.append(task)
        return sorted(ended, key=ended_at)

    def settle(self, task: VideoTask) -> None:
        """Note that a clip was told, or need not be."""
        self._open.pop(task.task_id, None)
        end, floor = ended_at(task), self.floor or 0.0
        self._settled[task.task_id] = end
        if end <= max(self._now, floor) + CLOCK_SECONDS:  # ours may be far behind
            self.floor = max(floor, end - LATE_IN_LIST_SECONDS)

    def record(self) -> dict[str, Any]:
        """Return what has to be known after a restart, as plain JSON: an hour of clips, of few a day."""
        floor = self.floor or 0.0
        ends = sorted(self._settled.items(), key=itemgetter(1))
        self._settled = {
            task_id: end
            for left, (task_id, end) in zip(range(len(ends), 0, -1), ends, strict=True)
            # What ended before the floor is known to be old by that alone, unless the vendor touches its row.
            if end >= floor or (left <= MOST_TOUCHED and end >= floor - LONGEST_RENDER_SECONDS)
        }
        return {"floor": floor, "settled": dict(self._settled), "open": dict(self._open)}

    def _is_new(self, task: VideoTask) -> bool:
        """Tell whether a clip that was never seen unfinished ended after the floor."""
        floor = self.floor or 0.0
        return ended_at(task) >= floor and (task.created_at or floor) >= floor - LONGEST_RENDER_SECONDS

    def _count_too_old(self, tasks: Iterable[VideoTask]) -> None:
        """Once, by what was told before: that the record is old does not tell that there were clips since."""
        since, self._floor_before = self._floor_before, None
        if since is not None:
            known = self._settled.keys() | self._open.keys()
            self.too_old = sum(
                task.state.is_final and since <= ended_at(task) < (self.floor or 0.0)
                for task in tasks
                if task.task_id not in known
            )

    def _begin(self, tasks: Iterable[VideoTask]) -> None:
        """Count all that has ended by now as told."""
        self._settled = {task.task_id: ended_at(task) for task in tasks if task.state.is_final}
        ends = [end for end in self._settled.values() if end > 0]
        likely = [end for end in ends if end <= self._now + CLOCK_SECONDS]
        # An empty list may be one that lags: all that is old would come later. Hence by our clock.
        self.floor = max(likely or ends, default=self._began_at - SKEW_SECONDS)


class Questions:
    """
    When the clips are asked for by themselves of which the list says that they have ended, but not with what.

    More and more rarely: some can never be completed. Times are seconds of any clock that only goes forward.
    """

    def __init__(self) -> None:
        self._tries: dict[str, int] = {}
        self._due_at: dict[str, float] = {}
        self._quiet_until = -inf

    def is_due(self, task: VideoTask, now: float) -> bool:
        """Tell whether it is time to ask for a clip."""
        return now >= max(self._quiet_until, self._due_at.get(task.task_id, -inf))

    def is_first(self, task: VideoTask) -> bool:
        """Tell whether it was asked for no more than once by now: trouble that lasts is told once."""
        return self._tries.get(task.task_id, 0) <= 1

    def answered(
        self, task: VideoTask, answer: VideoTask | KlingError, *, now: float, interval: float
    ) -> VideoTask | None:
        """
        Note what a question brought, and return the clip that is to be told of, or ``None`` to ask again.

        :param task: what the list says.
        :param interval: seconds until the second question.
        """
        if isinstance(answer, VideoTask) and answer.state.is_final and not is_without_result(answer):
            return answer
        if isinstance(answer, RateLimitedError):
            pause = min(answer.retry_after or 0.0, LONGEST_QUIET_SECONDS)
            self._quiet_until = now + max(interval, pause)
            return None
        tries = self._tries[task.task_id] = self._tries.get(task.task_id, 0) + 1
        self._due_at[task.task_id] = now + min(interval * 2.0 ** min(tries - 1, 20), RARELY_SECONDS)
        is_hopeless = isinstance(answer, NotFoundError) or tries >= MOST_TRIES
        is_told = task.state is TaskState.FAILED and isinstance(answer, KlingError) and is_hopeless
        return task if is_told else None

    def keep(self, task_ids: Iterable[str]) -> None:
        """Forget all other clips."""
        kept = set(task_ids)
        self._tries = {task_id: tries for task_id, tries in self._tries.items() if task_id in kept}
        self._due_at = {task_id: due for task_id, due in self._due_at.items() if task_id in kept}


def latest(records: Iterable[Any]) -> Mapping[str, Any] | None:
    """
    Return the record that has told most, of several that were saved in turn; ``None`` if there is none.

    :raises ValueError: none of them is a record.
    """
    problem, found = None, []
    for record in records:
        try:
            floor, settled, _ = _read(record)
        except ValueError as error:
            problem = error
        else:
            found.append((floor, len(settled), record))
    if problem and not found:
        raise problem
    return max(found, key=itemgetter(0, 1))[2] if found else None


def _read(record: Mapping[str, Any]) -> tuple[float, dict[str, float], dict[str, float]]:
    """Return the floor, what is settled and what is open."""
    try:
        floor = float(record["floor"])
        settled, still_open = (
            {str(task_id): float(at) for task_id, at in record[name].items()} for name in ("settled", "open")
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"this is not a record of what was told ({error!r})") from error
    if not all(map(isfinite, (floor, *settled.values(), *still_open.values()))):
        raise ValueError("this is not a record of what was told (a time is not a number)")
    return floor, settled, still_open


def ended_at(task: VideoTask) -> float:
    """Return when a clip ended by the vendor's clock, in Unix seconds: 0 if it does not say when it was changed."""
    return task.updated_at or task.created_at or 0.0


def is_without_result(task: VideoTask) -> bool:
    """Tell whether a clip is said to have succeeded, without its video: it exists, and will be shown."""
    return task.state is TaskState.SUCCEEDED and is_thin(task)


async def read_list(client: AsyncKlingClient, endpoint: EndpointName, back_to: float) -> list[VideoTask]:
    """
    Read an account's list, the newest first, back to a moment.

    :param back_to: Unix seconds; no page is read behind one that shows a clip which was created earlier.
    :returns: the newest 20,000 tasks at most.
    :raises KlingError: the list cannot be read; `UnsupportedError` where there is none.
    """
    rows: dict[str, VideoTask] = {}
    for number in range(1, MOST_PAGES + 1):
        page = await client.list_tasks(endpoint, page=number, page_size=PAGE_SIZE)
        is_repeated = all(task.task_id in rows for task in page)  # a gateway that has only one page
        for task in page:
            rows.setdefault(task.task_id, task)
        if is_repeated or min(task.created_at or 0.0 for task in page) < back_to:
            break
    return list(rows.values())
