"""
Who tries to get a clip made: this package with and without a store, and what people write instead.

Each strategy is what one try of an Airflow task does. Knows nothing of what goes wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chaos_clip import StoreAwayError

from airflow_provider_kling_avatar.kling.errors import StateUnavailableError
from airflow_provider_kling_avatar.kling.submission.identity import TaskIdentity
from airflow_provider_kling_avatar.kling.submission.state import Policies, Try, leave_mark
from airflow_provider_kling_avatar.kling.submission.submit import Submitter, submit_once

if TYPE_CHECKING:
    from chaos_clip import Clip, Store
    from chaos_clip import Try as Attempt

WORK = TaskIdentity(
    dag_id="news", task_id="clip", run_id="scheduled__1", map_index=-1, account="kling_avatar_default"
)


class _Memory:
    """A submission's store in Airflow's state store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self) -> dict[str, Any]:
        """Return the record, or an empty one."""
        try:
            record: dict[str, Any] = self._store.get("kling_submission") or {}
        except StoreAwayError as error:
            raise StateUnavailableError("the state store cannot be read") from error
        return record

    def save(self, record: dict[str, Any]) -> None:
        """Replace the record."""
        try:
            self._store.set("kling_submission", record)
        except StoreAwayError as error:
            raise StateUnavailableError("the state store cannot be written") from error


class Ours:
    """
    This package without Airflow: its `Submitter`, and waiting as its operator does.

    :param remembers: there is a state store: Airflow 3.3 and newer.
    :param submitter: replaced by a broken one where a test asks whether that is noticed.
    """

    def __init__(self, *, remembers: bool, submitter: type[Submitter] = Submitter) -> None:
        self.name = f"Submitter{'' if remembers else ', no store'}"
        self._remembers = remembers
        self._submitter = submitter

    def __call__(self, clip: Clip, attempt: Attempt) -> str:
        """Find the clip or submit it, then wait for it deferred."""
        store = _Memory(clip.store) if self._remembers else None
        this_try = Try(
            WORK,
            store,
            Policies(attempt.policy),
            first=attempt.number == 1,
            asked_anew=attempt.asked_anew,
            round=attempt.max_tries - clip.schedule.retries,
        )
        leave_mark(this_try)
        submission = self._submitter(clip.client(), clip.prepared, this_try, sleep=clip.sleep).run()
        clip.step("submitted")
        clip.tell(f"task {submission.task.task_id} is {'new' if submission.is_new else 'found again'}")
        clip.step("id in XCom")
        return clip.collect(submission.task.task_id, deferred=True)


class Naive:
    """Submit and wait; when anything goes wrong, Airflow retries. XCom is no help: a retry starts without it."""

    name = "naive"

    def __call__(self, clip: Clip, attempt: Attempt) -> str:  # noqa: ARG002 - that is what is naive about it
        """Submit and wait."""
        task = submit_once(clip.client(), clip.prepared)
        clip.step("submitted")
        clip.step("id in XCom")
        return clip.collect(task.task_id, deferred=True)
