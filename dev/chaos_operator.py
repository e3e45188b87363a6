"""
This package as Airflow runs it: the real `KlingAvatarOperator` and its real trigger, in a clip's bad world.

Of Airflow only the context, the deferral and the clock are stood in for. Importing this module imports Airflow.
"""

from __future__ import annotations

import inspect
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import AirflowException, TaskDeferred
from chaos_clip import MAX_FAILED_POLLS, POLL_INTERVAL, TIMEOUT, WaitingEndedError

from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.kling.errors import KlingError
from airflow_provider_kling_avatar.kling.polling.wait import wait_for_task
from airflow_provider_kling_avatar.kling.submission.submit import Submitter
from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarOperator
from airflow_provider_kling_avatar.triggers.kling_avatar import KlingAvatarTrigger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos_clip import Clip, Try

    from airflow_provider_kling_avatar.kling.models import VideoRequest
    from airflow_provider_kling_avatar.kling.submission.request import Prepared

FAIL = "__fail__"
"""What Airflow calls the method that a task is resumed at whose waiting it ended."""
SLOT_TIMEOUT = 90.0
SLOT_SECONDS = 15.0
"""How long the triggerer finds no free slot."""


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


class _TaskInstance:
    """What our code uses of a running task instance."""

    dag_id, task_id, run_id, map_index = "news", "clip", "scheduled__1", -1

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
    This package.

    :param remembers: there is a state store: Airflow 3.3 and newer.
    """

    def __init__(self, *, remembers: bool) -> None:
        self.name = "ours" if remembers else "ours, no store"
        self._remembers = remembers
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
        ti = _TaskInstance(clip, attempt, kept.xcoms if kept else {})
        context: Any = {"ti": ti, "task_instance": ti, "run_id": ti.run_id, "params": {}}
        if self._remembers:
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
