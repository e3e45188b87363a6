"""
One page of a list of tasks, read only as far as those need who wait for some of them.

A page of 500 rows comes every other second while tasks wait, and most of its rows say what they said before or belong
to somebody else. So only the words for where tasks stand are decoded at once; a row goes through the tolerant reader
when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from airflow_provider_kling_avatar.kling.models import TaskState, VideoTask
from airflow_provider_kling_avatar.kling.responses.answer import parsed
from airflow_provider_kling_avatar.kling.responses.errors import read_json, unreadable
from airflow_provider_kling_avatar.kling.responses.tasks import STATES, read_record, record_id, rows_of

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.kling.responses.answer import Answer, Json


class _Row(msgspec.Struct, gc=False):
    """What https://klingai.com/document-api/api/video/avatar says of a task, as far as it matters here."""

    task_id: str
    task_status: str


class _ListAnswer(msgspec.Struct, gc=False):
    code: int
    data: list[msgspec.Raw]


_LIST = msgspec.json.Decoder(_ListAnswer)
_ROW = msgspec.json.Decoder(_Row)


class Page:
    """
    The tasks of one page in the vendor's order: the newest first.

    :param answer: the vendor's.
    :raises KlingError: the answer is an error, or no list.
    """

    def __init__(self, answer: Answer) -> None:
        self.statuses: dict[str, str] = {}
        """By task id, the vendor's word for where a task stands, as it was sent; empty if there is none."""
        self._answer = answer
        self._rows: dict[str, Json | msgspec.Raw] = {}
        if not self._is_plain():
            self._read_odd()

    def task(self, task_id: str) -> VideoTask | None:
        """Return where a task stands; ``None`` if its row does not tell, or has it ended but not with what."""
        row = self._rows[task_id]
        record = parsed(bytes(row)) if isinstance(row, msgspec.Raw) else row
        if not isinstance(record, dict):
            return None
        task = read_record(record, self._answer, task_id)
        return None if is_thin(task) else task

    def _is_plain(self) -> bool:
        """Read a page that is as Kling's own documentation says; tell whether it is."""
        if self._answer.status != 200:
            return False
        try:
            page = _LIST.decode(self._answer.body)
            rows = [(_ROW.decode(row), row) for row in page.data]
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False
        self._rows = {row.task_id: raw for row, raw in rows}
        self.statuses = {row.task_id: row.task_status for row, _ in rows}
        return page.code == 0 and "" not in self._rows

    def _read_odd(self) -> None:
        """Read a page in any other shape."""
        body = read_json(self._answer)
        rows = rows_of(body)
        if rows is None:
            raise unreadable(self._answer, "an answer without a list in it", body)
        by_id: dict[str, Json] = {}
        for row in rows:
            if isinstance(row, dict) and (row_id := record_id(row)):
                by_id.setdefault(row_id, row)
        self._rows = {**by_id}
        self.statuses = {row_id: _status(row) for row_id, row in by_id.items()}


def unfinished(page: Page) -> int:
    """Count the tasks that have not ended, or of which the page does not plainly say so."""
    return sum(not _has_ended(page, task_id, status) for task_id, status in page.statuses.items())


def _has_ended(page: Page, task_id: str, status: str) -> bool:
    state = STATES.get(status)
    if state is None:
        task = page.task(task_id)
        state = TaskState.UNKNOWN if task is None else task.state
    return state.is_final


def is_thin(task: VideoTask) -> bool:
    """Tell whether it is said that a task has ended but not with what."""
    if task.state is TaskState.SUCCEEDED:
        return task.video is None
    return task.state is TaskState.FAILED and not task.reason


def _status(row: Json) -> str:
    """Return the word where the tolerant reader looks first; what it would have to think about is empty."""
    word = row.get("task_status")
    if word is None:
        word = row.get("status")
    return word if isinstance(word, str) else ""
