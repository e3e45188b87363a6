"""
The sensor: waits for a task that something else has submitted. Never pays, whatever happens.

Deferrable, poke and reschedule mode reach the same verdict by the same `decide`, and end the same way.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_kling_avatar.compat import (
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
)
from airflow_provider_kling_avatar.exceptions import as_final
from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.kling.errors import ConfigurationError, InvalidRequestError, KlingError
from airflow_provider_kling_avatar.kling.polling import Finished, Verdict, Watch, error_of
from airflow_provider_kling_avatar.links.kling_avatar import KlingTaskLink
from airflow_provider_kling_avatar.outcome import (
    DEFAULT_MAX_FAILED_POLLS,
    DEFAULT_POLL_INTERVAL,
    DEFAULT_TIMEOUT,
    budget,
    collect,
    look_once_more,
    push_link,
    read_event,
    trigger_for,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_kling_avatar.kling.model import EndpointName, VideoTask
    from airflow_provider_kling_avatar.results import VideoResult


class KlingAvatarSensor(BaseSensorOperator):
    """
    Wait until a Kling task has its video; return a dict with ``video_url`` and all that belongs to it.

    The dict has ``task_id``, ``video_url``, ``video_id``, ``duration`` (seconds), ``units`` and more;
    ``video_url`` is pushed under its own key too. Looks once before it defers.

    With ``soft_fail`` the task is skipped, not failed, when the vendor failed the clip, when time ran out, or when
    the vendor could not be asked any more. A wrong key or connection always fails: skipping would hide it.

    :param kling_task_id: the vendor's id of the task (or your ``external_task_id``, where the API can be asked by it).
    :param kling_conn_id: the connection.
    :param endpoint: what kind of task it is: ``avatar`` (default) or ``image_to_video``.
    :param deferrable: wait in the triggerer (default). ``False`` waits on a worker, by ``mode``.
    :param poke_interval: seconds between two questions, in every mode.
    :param timeout: seconds to wait in all.
    :param max_failed_polls: so many failed questions in a row end the waiting. Mode ``reschedule`` starts a new
        process for each question and so cannot count them: there only ``timeout`` ends it.
    """

    template_fields: Sequence[str] = ("kling_task_id", "kling_conn_id", "endpoint")
    operator_extra_links = (KlingTaskLink(),)
    ui_color = "#d7f0e5"

    def __init__(
        self,
        *,
        kling_task_id: str | int,
        kling_conn_id: str = KlingAvatarHook.default_conn_name,
        endpoint: EndpointName = "avatar",
        deferrable: bool = True,
        max_failed_polls: int = DEFAULT_MAX_FAILED_POLLS,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("poke_interval", DEFAULT_POLL_INTERVAL)
        kwargs.setdefault("timeout", DEFAULT_TIMEOUT)
        super().__init__(**kwargs)
        self.kling_task_id = kling_task_id
        self.kling_conn_id = kling_conn_id
        self.endpoint = endpoint
        self.deferrable = deferrable
        self.max_failed_polls = max_failed_polls
        self._watch: Watch | None = None

    def execute(self, context: Context) -> Any:
        """Look once; then wait where ``deferrable`` and ``mode`` say."""
        with self._same_end_in_every_mode():
            if not self.deferrable:
                return super().execute(context)
            looked = self.poke(context)
            if looked.is_done:
                return looked.xcom_value
            if self._watch is None:
                raise AssertionError("poke() makes the watch")  # says so to the type checker
            task_id = self._given_id()
            trigger, backstop = trigger_for(task_id, self.endpoint, self.kling_conn_id, self._watch.budget)
            self.log.info("waiting for task %s in the triggerer, no worker is held", task_id)
            return self.defer(trigger=trigger, method_name="execute_complete", timeout=backstop)

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        task_id = self._given_id()
        hook = KlingAvatarHook(self.kling_conn_id)
        if self._watch is None:
            if self.endpoint not in ("avatar", "image_to_video"):
                raise ConfigurationError(f"endpoint must be avatar or image_to_video, not {self.endpoint!r}")
            hook.get_conn()  # a wrong connection is said at once, not after max_failed_polls
            self._watch = Watch(budget(self.timeout, self.poke_interval, self.max_failed_polls))
            push_link(context, hook, self.endpoint, task_id)
        seen: VideoTask | KlingError
        try:
            seen = hook.get_task(task_id, self.endpoint)
        except KlingError as error:
            if error.permanent:
                raise
            seen = error
        decision = self._watch.look(seen, now=time.time())
        for line in self._watch.story(seen, now=time.time()):
            self.log.info("%s", line)
        if not isinstance(decision, Finished):
            return PokeReturnValue(is_done=False)
        task = None if isinstance(seen, KlingError) else seen
        result = self._collect(context, hook, self.endpoint, task_id, decision, task)
        return PokeReturnValue(is_done=True, xcom_value=result)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> VideoResult:
        """Resume after the trigger; return the result or raise what went wrong."""
        task_id, endpoint, finished = read_event(event)
        hook = KlingAvatarHook(self.kling_conn_id)
        push_link(context, hook, endpoint, task_id)
        finished, task = look_once_more(hook, endpoint, task_id, finished)
        return self._collect(context, hook, endpoint, task_id, finished, task)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume, with the same end as in the other modes."""
        with self._same_end_in_every_mode():
            try:
                return super().resume_execution(next_method, next_kwargs, context)
            except AirflowSensorTimeout as error:
                if self.soft_fail:  # Airflow 3.0 forgets it here
                    raise AirflowSkipException(str(error)) from error
                raise

    def _given_id(self) -> str:
        """
        Return the id as text: rendered to native objects, the digits of Kling's ids become a number.

        :raises InvalidRequestError: there is none.
        """
        task_id = self.kling_task_id
        if isinstance(task_id, int) and not isinstance(task_id, bool):
            task_id = str(task_id)
        if isinstance(task_id, str) and task_id.strip() not in ("", "None"):
            return task_id.strip()
        shape = "empty" if task_id is None or isinstance(task_id, str) else f"as {type(task_id).__name__}"
        raise InvalidRequestError(
            f"kling_task_id came {shape}: "
            "it is the id that a submit operator returns; if it comes from an upstream task, "
            "that task returned nothing or something else",
            field="kling_task_id",
        )

    def _collect(
        self,
        context: Context,
        hook: KlingAvatarHook,
        endpoint: EndpointName,
        task_id: str,
        finished: Finished,
        task: VideoTask | None,
    ) -> VideoResult:
        if finished.verdict is not Verdict.SUCCEEDED:
            error = error_of(task_id, finished)
            if self.soft_fail:
                raise AirflowSkipException(str(error))
            if finished.verdict is Verdict.TIMEOUT:
                raise AirflowSensorTimeout(str(error))
            if finished.verdict is Verdict.FAILED:
                raise as_final(error)  # asking again does not change it
            raise error
        return collect(context, hook, endpoint, task_id, finished, task)

    @contextmanager
    def _same_end_in_every_mode(self) -> Iterator[None]:
        """
        Turn permanent errors into failures that burn no retry, out of reach of ``soft_fail``.

        Airflow itself skips on different exceptions in poke mode and after a deferral. Inside, our errors are none
        of those, so they pass through it unchanged; only here, outside, do they become Airflow's.
        """
        try:
            yield
        except KlingError as error:
            if not error.permanent:
                raise
            raise as_final(error) from error
