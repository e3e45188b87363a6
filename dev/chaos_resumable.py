"""
Airflow's own answer to a killed worker, `ResumableJobMixin` (Airflow 3.3), used as its documentation says.

It has the same client and the same state store as this package; only the way of finding a clip again is Airflow's.
Importing this module imports Airflow.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar, cast

import structlog
from airflow.sdk import BaseOperator
from airflow.sdk.bases.resumablejobmixin import ResumableJobMixin

from airflow_provider_kling_avatar.kling.models import TaskState
from airflow_provider_kling_avatar.kling.submission.submit import submit_once

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context
    from chaos_clip import Clip, Try
    from pydantic import JsonValue


class _TaskInstance:
    """What the mixin asks of a running task instance."""

    stats_tags: ClassVar[dict[str, str]] = {}


class ResumableClipOperator(ResumableJobMixin, BaseOperator):
    """Submits a clip and waits for it on the worker, as the mixin's own example does; `clip` is its world."""

    clip: Clip
    log: Any = structlog.get_logger(  # Airflow's own would print every step
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )

    def submit_job(self, context: Context) -> JsonValue:  # noqa: ARG002 - the mixin's signature, here and below
        """Submit the clip."""
        task_id = submit_once(self.clip.client(), self.clip.prepared).task_id
        self.clip.step("submitted")
        return task_id

    def get_job_status(self, external_id: JsonValue, context: Context) -> str:  # noqa: ARG002
        """Ask for the task."""
        return self.clip.client().get_task(str(external_id)).state.value

    def is_job_active(self, status: str) -> bool:
        """Tell whether it is neither done nor failed."""
        return not TaskState(status).is_final

    def is_job_succeeded(self, status: str) -> bool:
        """Tell whether it is done."""
        return status == TaskState.SUCCEEDED.value

    def poll_until_complete(self, external_id: JsonValue, context: Context) -> None:  # noqa: ARG002
        """Wait on the worker."""
        # Where the mixin reconnects, it returns what comes from here and does not ask for the result.
        return cast("None", self.clip.collect(str(external_id), deferred=False))

    def get_job_result(self, external_id: JsonValue, context: Context) -> Any:  # noqa: ARG002
        """Return the result; where the mixin has not waited, the clip was done already."""
        return external_id


class Resumable:
    """Airflow's `ResumableJobMixin`, with Airflow 3.3's state store."""

    name = "ResumableJobMixin"

    def __init__(self) -> None:
        self._operator = ResumableClipOperator(task_id="clip")

    def __call__(self, clip: Clip, attempt: Try) -> str:  # noqa: ARG002 - the mixin does not look at it
        """Execute the operator."""
        self._operator.clip = clip
        context = {"ti": _TaskInstance(), "task_state_store": clip.store}
        return str(self._operator.execute_resumable(cast("Context", context)))
