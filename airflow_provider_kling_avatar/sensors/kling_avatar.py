"""
The sensor: waits for a task that something else has submitted. Never pays, whatever happens.

Deferrable, poke and reschedule mode reach the same verdict by the same `decide`, and end the same way.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_kling_avatar import metrics
from airflow_provider_kling_avatar.base_task import KlingTask, given_task_id, whole_signature
from airflow_provider_kling_avatar.clip_summary import WAITS, tell, tell_failed, tell_given_up, tell_seen
from airflow_provider_kling_avatar.compat import (
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
)
from airflow_provider_kling_avatar.completion import (
    ResultContext,
    deliver,
    found_elsewhere,
    landing_of,
    log_durations,
    look,
    look_once_more,
    push_link,
    read_event,
)
from airflow_provider_kling_avatar.exceptions import airflow_errors, as_final
from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.kling.errors import ConfigurationError, KlingError
from airflow_provider_kling_avatar.kling.polling.backoff import SINGLE_SECONDS
from airflow_provider_kling_avatar.kling.polling.decide import (
    DEFAULT_MAX_FAILED_POLLS,
    Finished,
    PollTracker,
    Verdict,
    error_for,
)
from airflow_provider_kling_avatar.links.kling_avatar import KlingTaskLink
from airflow_provider_kling_avatar.waiting import (
    DEFAULT_DEFERRABLE,
    DEFAULT_TIMEOUT,
    poll_limits,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Unpack

    from airflow.providers.common.compat.sdk import Context, XComArg

    from airflow_provider_kling_avatar.kling.models import EndpointName, VideoTask
    from airflow_provider_kling_avatar.kling.polling.decide import PollLimits
    from airflow_provider_kling_avatar.landing import Landing, OnExisting
    from airflow_provider_kling_avatar.manifest import VideoManifest
    from airflow_provider_kling_avatar.parameters import Duration, SensorArguments, Templated


@whole_signature
class KlingAvatarSensor(KlingTask, BaseSensorOperator):
    """
    Wait until a Kling task has its video; land the file where it is wanted and return the manifest.

    The manifest (`manifest.VideoManifest`) has ``task_id``, ``video_url``, ``file``, ``duration`` (seconds) and more;
    ``video_url`` is pushed under its own key too. Looks once before it defers.

    With ``soft_fail`` the task is skipped, not failed, when the vendor failed the clip, when time ran out, or when
    the vendor could not be asked any more. A wrong key, connection or id always fails: skipping would mask it.

    An id that the vendor does not know fails after three looks within 15 s, whatever the interval, unless the task
    was seen before. No retry follows: it is another account's, another endpoint's, or no id of a Kling task at all.

    :param kling_task_id: the vendor's id of the task (or your ``external_task_id``, where the API can be asked by it).
    :param endpoint: what kind of task it is: ``avatar`` (default) or ``image_to_video``.
    :param output_path: where the file goes: a path, or a storage URI such as ``s3://conn_id@bucket/key``. Ending in
        ``/``: a folder, in which it is called ``<the vendor's task id>.mp4``. Without it the file stays at the
        vendor's, for 30 days at most.
    :param on_existing: what to do if another file is at that path: ``fail`` (default) or ``replace``.
    :param watermarked: land the watermarked variant too, as ``<stem>.watermarked.mp4``.
    :param deferrable: wait in the triggerer; ``False`` waits on a worker, by ``mode``. By default as
        ``[kling_avatar] default_deferrable`` says, which is true.
    :param poke_interval: seconds between two questions, in every mode. By default 10 on a worker, and as often as costs
        little in the triggerer: every 1.8 s by one list for all who wait, or every 10 s where there is no list.
    :param timeout: seconds to wait in all.
    :param queue_timeout: seconds of them that the task may spend in the vendor's queue; no limit of its own by
        default. Not in mode ``reschedule``, which starts a new process for each question.
    :param render_timeout: seconds of them that the task may be rendered; otherwise like ``queue_timeout``.
    :param max_failed_polls: so many failed questions in a row end the waiting. Mode ``reschedule`` starts a new
        process for each question and so cannot count them: there only ``timeout`` ends it.

    And ``kling_conn_id`` and ``retry_policy``, see `base_task.KlingTask`, and what Airflow's own sensors take.
    """

    template_fields: Sequence[str] = (
        "kling_task_id",
        "kling_conn_id",
        "endpoint",
        "output_path",
        "on_existing",
    )
    operator_extra_links = (KlingTaskLink(),)

    def __init__(
        self,
        *,
        task_id: str,
        kling_task_id: Templated[int],
        endpoint: EndpointName | XComArg = "avatar",
        output_path: Templated[str] | None = None,
        on_existing: OnExisting | XComArg = "fail",
        watermarked: bool = False,
        deferrable: bool = DEFAULT_DEFERRABLE,
        queue_timeout: Duration | None = None,
        render_timeout: Duration | None = None,
        max_failed_polls: int = DEFAULT_MAX_FAILED_POLLS,
        poke_interval: Duration | None = None,
        timeout: Duration = DEFAULT_TIMEOUT,
        **kwargs: Unpack[SensorArguments],
    ) -> None:
        super().__init__(
            task_id=task_id,
            poke_interval=SINGLE_SECONDS if poke_interval is None else poke_interval,
            timeout=timeout,
            **kwargs,
        )
        self.kling_task_id = kling_task_id
        self.endpoint = cast("EndpointName", endpoint)
        self.output_path = cast("str | None", output_path)
        self.on_existing = cast("OnExisting", on_existing)
        self.watermarked = watermarked
        self.deferrable = deferrable
        self.queue_timeout = queue_timeout
        self.render_timeout = render_timeout
        self.max_failed_polls = max_failed_polls
        self.poll_interval = poke_interval
        self._tracker: PollTracker | None = None

    def execute(self, context: Context) -> Any:
        """
        Look once; then wait where ``deferrable`` and ``mode`` say.

        Airflow itself skips on different exceptions in poke mode and after a deferral. Inside, our errors are none of
        those, so they pass ``soft_fail`` unchanged; only out here do they become Airflow's.
        """
        with airflow_errors(context), _summary_of_giving_up(context):
            return self.begin(context) if self.deferrable else super().execute(context)

    def begin(self, context: Context) -> Any:
        """Look once, then wait in the triggerer."""
        looked = self.poke(context)
        if looked.is_done:
            return looked.xcom_value
        limits = self._tracker.limits if self._tracker else self._limits(is_known=False)
        return self.wait_for_clip(context, given_task_id(self.kling_task_id), self.endpoint, limits)

    def _limits(self, *, is_known: bool) -> PollLimits:
        """Return limits that start now."""
        return poll_limits(
            timeout=self.timeout,
            poll_interval=self.poll_interval,
            max_failed_polls=self.max_failed_polls,
            queue_timeout=self.queue_timeout,
            render_timeout=self.render_timeout,
            is_known=is_known,
        )

    def poke(self, context: Context) -> PokeReturnValue:
        """
        Look once, or up to three times within 15 s if the vendor says that it has no such task.

        Between two pokes may be hours, and in mode ``reschedule`` nobody remembers the last one.
        """
        task_id = given_task_id(self.kling_task_id)
        hook = KlingAvatarHook(self.kling_conn_id)
        if self._tracker is None:
            if self.endpoint not in ("avatar", "image_to_video"):
                raise ConfigurationError(f"endpoint must be avatar or image_to_video, not {self.endpoint!r}")
            hook.get_conn()  # a wrong connection is said at once, not after max_failed_polls
            if landing := self._landing():
                landing.check()
            self._tracker = PollTracker(self._limits(is_known=False))
            push_link(context, hook, task_id)
            tell(
                context,
                None,
                step=WAITS,
                kling_task_id=task_id,
                api=hook.config.dialect.name,
                endpoint=self.endpoint,
            )
        while True:
            seen: VideoTask | KlingError
            try:
                seen = look(hook, self.endpoint, task_id)
            except KlingError as error:
                if error.permanent:
                    raise
                seen = error
            decision = self._tracker.look(seen, now=time.time())
            for line in self._tracker.log_lines(seen, now=time.time()):
                self.log.info("%s", line)
            if isinstance(decision, Finished):
                break
            tell_seen(context, seen)
            if not self._tracker.limits.doubts(seen):
                return PokeReturnValue(is_done=False)
            time.sleep(decision.seconds)
        task = None if isinstance(seen, KlingError) else seen
        result = self._deliver(context, hook, self.endpoint, task_id, decision, task)
        return PokeReturnValue(is_done=True, xcom_value=result)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Resume after the trigger; return the result or raise what went wrong."""
        task_id, endpoint, finished = read_event(event)
        log_durations(self.log, task_id, finished)
        hook = KlingAvatarHook(self.kling_conn_id)
        push_link(context, hook, task_id)
        last, task = look_once_more(hook, endpoint, task_id, finished)
        if last is None:
            self.wait_for_clip(context, task_id, endpoint, self._limits(is_known=True))
        return self._deliver(context, hook, endpoint, task_id, last, task)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume after a deferral, with the same end as in the other modes."""
        with airflow_errors(context), _summary_of_giving_up(context):
            try:
                return super().resume_execution(next_method, next_kwargs, context)
            except AirflowSensorTimeout as error:
                if self.soft_fail:  # Airflow 3.0 forgets it here
                    raise AirflowSkipException(str(error)) from None
                raise

    def _deliver(
        self,
        context: Context,
        hook: KlingAvatarHook,
        endpoint: EndpointName,
        task_id: str,
        finished: Finished,
        task: VideoTask | None,
    ) -> VideoManifest:
        if finished.verdict is not Verdict.SUCCEEDED:
            error = error_for(task_id, finished)
            if finished.verdict is Verdict.NOT_FOUND:
                raise found_elsewhere(hook, endpoint, task_id) or error
            if self.soft_fail or finished.verdict is Verdict.TIMEOUT:
                # They leave as exceptions of Airflow's, of which nothing is told further up.
                metrics.failed(error)
                tell_failed(context, error)
            if self.soft_fail:
                raise AirflowSkipException(str(error))
            if finished.verdict is Verdict.TIMEOUT:
                raise AirflowSensorTimeout(str(error))
            if finished.verdict is Verdict.FAILED:
                raise as_final(error)  # asking again does not change it
            raise error
        return deliver(
            context,
            hook,
            endpoint,
            task_id,
            finished,
            task,
            result_context=ResultContext(landing=self._landing()),
        )

    def _landing(self) -> Landing | None:
        return landing_of(self.output_path, self.on_existing, watermarked=self.watermarked)


@contextmanager
def _summary_of_giving_up(context: Context) -> Iterator[None]:
    """Let the clip's summary say why Airflow ends the waiting, of which no error of ours tells."""
    try:
        yield
    except (AirflowSensorTimeout, AirflowSkipException) as error:
        tell_given_up(context, error)
        raise
