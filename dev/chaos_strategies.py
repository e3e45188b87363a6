"""
Who tries to get a clip made: this package as Airflow runs it, a naive retry, and Airflow's own `ResumableJobMixin`.

Each strategy is what one try of an Airflow task does. Of Airflow only the context, the deferral and the clock are
stood in for. Knows nothing of what goes wrong. Importing this module imports Airflow.
"""

from __future__ import annotations

import inspect
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow.providers.common.compat.sdk import AirflowException, TaskDeferred
from chaos_clip import MAX_FAILED_POLLS, POLL_INTERVAL, TIMEOUT, WaitingEndedError

from airflow_provider_kling_avatar.compat import BaseOperator
from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.kling.errors import KlingError
from airflow_provider_kling_avatar.kling.models import TaskState
from airflow_provider_kling_avatar.kling.polling.wait import wait_for_task
from airflow_provider_kling_avatar.kling.submission.submit import Submitter, submit_once
from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarOperator
from airflow_provider_kling_avatar.triggers.kling_avatar import KlingAvatarTrigger

try:
    from airflow.sdk.bases.resumablejobmixin import ResumableJobMixin
except ImportError:  # before Airflow 3.3

    class ResumableJobMixin:  # type: ignore[no-redef]
        """Not there."""


if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk.definitions.context import Context
    from chaos_clip import Clip, Strategy, Try
    from pydantic import JsonValue

    from airflow_provider_kling_avatar.kling.models import VideoRequest
    from airflow_provider_kling_avatar.kling.submission.request import Prepared

HAS_MIXIN = hasattr(ResumableJobMixin, "execute_resumable")
FAIL = "__fail__"
"""What Airflow calls the method that a task is resumed at whose waiting it ended."""
SLOT_TIMEOUT = 90.0
SLOT_SECONDS = 15.0
"""How long the triggerer finds no free slot."""


@cache
def strategy_of(name: str) -> Strategy:
    """Return one of `chaos_clip.STRATEGIES`."""
    if name == "naive":
        return Naive()
    return Resumable() if name == "ResumableJobMixin" else Operator(has_store=name == "ours")


class Naive:
    """Submit and wait; when anything goes wrong, Airflow retries. XCom is no help: a retry starts without it."""

    name = "naive"

    def __call__(self, clip: Clip, attempt: Try) -> str:  # noqa: ARG002 - that is what is naive about it
        """Submit and wait."""
        task = submit_once(clip.client(), clip.prepared)
        clip.step("submitted")
        clip.step("id in XCom")
        return clip.collect(task.task_id, deferred=True)


# ------------------------------------------------------------------------------------------ this package

_BOUND_ON_IMPORT: tuple[tuple[Any, dict[str, Any]], ...] = (
    (Submitter.__init__, {"sleep": lambda seconds: time.sleep(seconds)}),  # noqa: PLW0108  # looked up late
    (wait_for_task, {"clock": lambda: time.time(), "sleep": lambda seconds: time.sleep(seconds)}),  # noqa: PLW0108
)
"""Functions that took the clock for a default, and what stands in for it."""


@contextmanager
def _clock_of(clip: Clip) -> Iterator[None]:
    """Let our code live in the time of a clip."""
    real = time.time, time.sleep
    bound = [(function.__kwdefaults__, dict(function.__kwdefaults__)) for function, _ in _BOUND_ON_IMPORT]
    time.time, time.sleep = clip.now, clip.pause  # type: ignore[assignment]
    for function, changes in _BOUND_ON_IMPORT:
        function.__kwdefaults__.update(changes)
    try:
        yield
    finally:
        time.time, time.sleep = real
        for defaults, before in bound:
            defaults.update(before)


@dataclass(frozen=True, slots=True)
class _Resumption:
    """How a deferred task goes on: Airflow's ``next_method`` and ``next_kwargs``, and what is in XCom meanwhile."""

    method: str
    arguments: dict[str, Any]
    xcoms: dict[str, Any]


class StandInTaskInstance:
    """What is used of a running task instance."""

    dag_id, task_id, run_id, map_index = "news", "clip", "scheduled__1", -1
    stats_tags: ClassVar[dict[str, str]] = {}

    def __init__(self, clip: Clip, attempt: Try, xcoms: dict[str, Any]) -> None:
        self.try_number, self.max_tries = attempt.number, attempt.max_tries
        self.xcoms = xcoms
        self._clip = clip

    def xcom_push(self, key: str, value: Any) -> None:
        """Store, usually until the next try."""
        if key == "task_id":
            self._clip.step("submitted")
        self.xcoms[key] = value
        if key == "task_id":
            self._clip.step("id in XCom")

    def xcom_pull(self, key: str, **_: Any) -> Any:
        """Return what was stored."""
        return self.xcoms.get(key)


class _Hook(KlingAvatarHook):
    """A hook of a fresh process whose connection leads into a clip's bad world."""

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self._client = clip.client()
        self._log = cast("Any", clip)
        self._prepared = clip.prepared

    def prepare(self, request: VideoRequest, **options: bool) -> Prepared:  # noqa: ARG002
        """Return what was prepared once for all clips of a dialect: it is free and has nothing to do with chaos."""
        return self._prepared


class ClipOperator(KlingAvatarOperator):
    """The operator, with a connection that leads into a clip's bad world."""

    log: Any = None
    clip: Clip

    def hook(self) -> KlingAvatarHook:
        """Return a hook of a fresh process."""
        return _Hook(self.clip)


class Operator:
    """
    This package: the real `KlingAvatarOperator` and its real trigger.

    :param has_store: there is a state store: Airflow 3.3 and newer.
    """

    def __init__(self, *, has_store: bool) -> None:
        self.name = "ours" if has_store else "ours, no store"
        self._has_store = has_store
        self._operator = ClipOperator(
            task_id="clip",
            image="https://pictures.test/face.png",
            audio="https://sounds.test/voice.mp3",
            poll_interval=POLL_INTERVAL,
            timeout=TIMEOUT,
            max_failed_polls=MAX_FAILED_POLLS,
            slot_timeout=SLOT_TIMEOUT,
        )

    def __call__(self, clip: Clip, attempt: Try) -> str:
        """Execute the operator through all its deferrals."""
        operator = self._of(clip, attempt)
        kept: _Resumption | None = clip.kept if clip.schedule.keeps_event else None
        ti = StandInTaskInstance(clip, attempt, kept.xcoms if kept else {})
        context: Any = {"ti": ti, "task_instance": ti, "run_id": ti.run_id, "params": {}}
        if self._has_store:
            context["task_state_store"] = clip.store
        with _clock_of(clip):
            result = self._run(operator, context, attempt, kept)
            clip.step("collected")
        return str(result["task_id"])

    def _of(self, clip: Clip, attempt: Try) -> ClipOperator:
        operator = self._operator
        operator.clip = operator.log = clip
        operator.retries = clip.schedule.retries
        operator.deferrable = clip.schedule.deferrable
        operator.on_unknown_submission = attempt.policy
        operator.on_rerun = "regenerate" if clip.schedule.wanted > 1 else "reuse"
        return operator

    def _run(self, operator: ClipOperator, context: Any, attempt: Try, resumption: _Resumption | None) -> Any:
        clip, ti = operator.clip, context["ti"]
        while True:
            try:
                if resumption:
                    clip.tell(f"resumed at {resumption.method} with {resumption.arguments}")
                    arguments = dict(resumption.arguments)
                    return operator.resume_execution(resumption.method, arguments, context)
                # Past Airflow's guard, which wants to be the only one who executes operators.
                return inspect.unwrap(type(operator).execute)(operator, context)
            except TaskDeferred as deferred:
                clip.step("deferring")
                resumption = _end_of(deferred, clip, ti.xcoms)
                clip.keep(attempt, resumption)
                clip.step("resuming")
            except AirflowException as error:
                if isinstance(error, KlingError) or not (resumption and resumption.method == FAIL):
                    raise
                raise WaitingEndedError(str(error)) from error


def _end_of(deferred: TaskDeferred, clip: Clip, xcoms: dict[str, Any]) -> _Resumption:
    """Wait in a triggerer; return how the task goes on then."""
    try:
        event = _event_of(deferred.trigger, clip)
    except WaitingEndedError:
        return _Resumption(FAIL, {"error": "Trigger timeout"}, xcoms)
    return _Resumption(deferred.method_name, {**(deferred.kwargs or {}), "event": event}, xcoms)


def _event_of(trigger: Any, clip: Clip) -> dict[str, Any]:
    """Run a trigger in a triggerer, and in another one if that is killed."""
    if not isinstance(trigger, KlingAvatarTrigger):
        clip.in_triggerer(lambda: clip.pause(SLOT_SECONDS))  # how it finds a slot is another test's business
        kept = trigger.serialize()[1]
        return {"verdict": "free_slot"} | {name: kept[name] for name in ("endpoint", "deadline", "since")}
    return clip.in_triggerer(lambda: _run_trigger(trigger, clip))


def _run_trigger(trigger: KlingAvatarTrigger, clip: Clip) -> dict[str, Any]:
    """Decide as the trigger does; how it shares its questions with others is another test's business."""
    client = clip.client(attempts=1)
    finished = wait_for_task(
        lambda: client.get_task(trigger.kling_task_id, trigger.endpoint), trigger.limits, clip
    )
    return trigger.payload(finished)


# ------------------------------------------------------------------------------------------ Airflow's own


class ResumableClipOperator(ResumableJobMixin, BaseOperator):
    """Submits a clip and waits for it on the worker, as the mixin's own example does; `clip` is its world."""

    log: Any = None
    clip: Clip

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
    """
    Airflow's own answer to a killed worker (3.3 and newer), with its state store, used as its documentation says.

    It has the same client as this package; only the way of finding a clip again is Airflow's.
    """

    name = "ResumableJobMixin"

    def __init__(self) -> None:
        self._operator = ResumableClipOperator(task_id="clip")

    def __call__(self, clip: Clip, attempt: Try) -> str:
        """Execute the operator."""
        self._operator.clip = self._operator.log = clip
        context = {"ti": StandInTaskInstance(clip, attempt, {}), "task_state_store": clip.store}
        return str(self._operator.execute_resumable(cast("Context", context)))
