"""
One page of a list of tasks, and one task asked for again, read only as far as those need who wait.

A page of 500 rows comes every other second while tasks wait, and most of its rows say what they said before or belong
to somebody else. Answers that look as Kling's own page says are decoded into the few fields that matter; whatever
looks otherwise goes through the tolerant reader, row by row, when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from airflow_provider_kling_avatar.kling.models import TaskState, Video, VideoTask
from airflow_provider_kling_avatar.kling.responses.errors import Answer, read_json, unreadable
from airflow_provider_kling_avatar.kling.responses.tasks import STATES, read_record, record_id, rows_of
from airflow_provider_kling_avatar.kling.responses.values import as_seconds, as_url

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.kling.responses.values import Json


class Page(Protocol):
    """The tasks of one page in the vendor's order: the newest first."""

    @property
    def statuses(self) -> dict[str, str]:
        """By task id, the vendor's word for where a task stands, as it was sent; empty if there is none."""
        ...

    def task(self, task_id: str) -> VideoTask | None:
        """Return where a task stands and whether its video is there; ``None`` if only the task itself can tell."""
        ...


def read_page(answer: Answer) -> Page:
    """
    Read a page.

    :raises KlingError: the answer is an error, or no list.
    """
    if answer.status == 200:
        try:
            return PlainPage(_PAGES.decode(answer.body))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass  # not as Kling's own page says
    return OddPage(answer)


def unfinished(page: Page) -> int:
    """Count the tasks that have not ended, or of which the page does not plainly say so."""
    return sum(not _has_ended(page, task_id, status) for task_id, status in page.statuses.items())


def _has_ended(page: Page, task_id: str, status: str) -> bool:
    state = STATES.get(status)
    if state is None:
        task = page.task(task_id)
        state = TaskState.UNKNOWN if task is None else task.state
    return state.is_final


# ------------------------------------------------------------------------ plain


class _Video(msgspec.Struct, gc=False):
    url: str = ""


class _Result(msgspec.Struct, gc=False):
    videos: list[_Video] = []


class _Row(msgspec.Struct, gc=False):
    """What https://klingai.com/document-api/api/video/avatar says of a task, as far as it matters here."""

    task_id: str
    task_status: str
    created_at: float | None = None
    updated_at: float | None = None
    task_result: _Result | None = None


class _ListAnswer(msgspec.Struct, gc=False):
    code: int
    data: list[_Row]


class _TaskAnswer(msgspec.Struct, gc=False):
    """One task, in Kling's envelope or flat; ``error`` is there where it is no task but an error."""

    code: int | str | None = None
    data: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    status: str | None = None


_NOTHING = (b"", b"null")
_PAGES = msgspec.json.Decoder(_ListAnswer)
_TASKS = msgspec.json.Decoder(_TaskAnswer)
_ROWS = msgspec.json.Decoder(_Row)


class PlainPage:
    """
    A page as Kling's own documentation describes it.

    :raises ValueError: it only looks like one.
    """

    __slots__ = ("_rows", "statuses")

    def __init__(self, answer: _ListAnswer) -> None:
        self._rows = {row.task_id: row for row in answer.data}
        self.statuses = {row.task_id: row.task_status for row in answer.data}
        if answer.code != 0 or "" in self._rows:
            raise ValueError("an error, or a row without an id")

    def task(self, task_id: str) -> VideoTask | None:
        """Return a task that runs or has its video; of any other, the task itself tells more than its row."""
        row = self._rows[task_id]
        state = STATES.get(row.task_status)
        if state is None:
            return None
        videos: tuple[Video, ...] = ()
        if state.is_final:
            url = (
                as_url(row.task_result.videos[0].url) if row.task_result and row.task_result.videos else None
            )
            if url is None or state is TaskState.FAILED:
                return None
            videos = (Video(url),)
        return VideoTask(
            task_id,
            state,
            row.task_status,
            videos=videos,
            created_at=as_seconds(row.created_at),
            updated_at=as_seconds(row.updated_at),
        )


# ------------------------------------------------------------------------- odd


class OddPage:
    """
    A page in any other shape.

    :raises KlingError: the answer is an error, or no list.
    """

    __slots__ = ("_answer", "_rows", "statuses")

    def __init__(self, answer: Answer) -> None:
        body = read_json(answer)
        rows = rows_of(body)
        if rows is None:
            raise unreadable(answer, "an answer without a list in it", body)
        self._answer = answer
        self._rows: dict[str, Json] = {}
        for row in rows:
            if isinstance(row, dict) and (row_id := record_id(row)):
                self._rows.setdefault(row_id, row)
        self.statuses = {row_id: _plain_status(row) for row_id, row in self._rows.items()}

    def task(self, task_id: str) -> VideoTask | None:
        """Read a row whole; ``None`` if it says that the task has ended but not with what."""
        task = read_record(self._rows[task_id], self._answer, task_id)
        return None if is_thin(task) else task


def _plain_status(row: Json) -> str:
    """Return the word where the tolerant reader looks first; what it would have to think about is empty."""
    word = row.get("task_status")
    if word is None:
        word = row.get("status")
    return word if isinstance(word, str) else ""


def is_thin(task: VideoTask) -> bool:
    """Tell whether it is said that a task has ended but not with what."""
    if task.state is TaskState.SUCCEEDED:
        return task.video is None
    return task.state is TaskState.FAILED and not task.reason


# ------------------------------------------------------------- one task again


def says_again(answer: Answer, last: VideoTask) -> bool:
    """
    Tell whether an answer of the plainest kind says that a task stands where it stood, and has not ended.

    :param last: what the vendor said last time.
    """
    if answer.status != 200 or last.state.is_final or last.state is TaskState.UNKNOWN:
        return False
    try:
        body = _TASKS.decode(answer.body)
        if bytes(body.error) not in _NOTHING or body.code not in (None, 0, "success"):
            return False
        status = body.status if bytes(body.data) in _NOTHING else _ROWS.decode(body.data).task_status
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return status == last.status
