"""The operator that lands the clip of a task that something else has made. Never pays, whatever happens."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow_provider_kling_avatar import metrics
from airflow_provider_kling_avatar.compat import BaseOperator, known_arguments
from airflow_provider_kling_avatar.exceptions import airflow_errors, as_final
from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.kling.errors import (
    ConfigurationError,
    InvalidRequestError,
    TaskTimeoutError,
)
from airflow_provider_kling_avatar.kling.polling.decide import (
    Finished,
    PollLimits,
    Verdict,
    decide,
    error_for,
)
from airflow_provider_kling_avatar.lineage import LineageMixin, announce_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context, RetryPolicy

    from airflow_provider_kling_avatar.kling.models import EndpointName, VideoTask
    from airflow_provider_kling_avatar.landing import OnExisting


class KlingVideoDownloadOperator(LineageMixin, BaseOperator):
    """
    Fetch the clip of a finished Kling task into your storage; return a dict about the file.

    The dict has ``task_id``, ``file`` (a path if ``output_path`` is one, otherwise its URI), ``file_uri``, ``size``
    (bytes), ``sha256``, ``duration`` and ``seconds`` (that the landing took), ``watermark_file`` and ``was_there``. The
    file appears whole or not at all. A retry writes nothing if the same file is there already.

    :param kling_task_id: the vendor's id of the task, or what sensor or operator returned for it.
    :param output_path: a path, or a storage URI such as ``s3://conn_id@bucket/key``. Ending in ``/``: a folder, in
        which the file is called ``<task_id>.mp4``.
    :param endpoint: what kind of task it is: ``avatar`` (default) or ``image_to_video``.
    :param on_existing: what to do if another file is at that path: ``fail`` (default) or ``replace``.
    :param watermarked: land the watermarked variant too, as ``<stem>.watermarked.mp4``.
    :param max_bytes: of a clip, at most; 4 GiB by default.
    :param kling_conn_id: the connection.
    :param retry_policy: such as `retry_policies.kling_retry_policy`; for Airflow 3.3 and newer.
    """

    template_fields: Sequence[str] = (
        "kling_task_id",
        "output_path",
        "endpoint",
        "on_existing",
        "kling_conn_id",
    )
    ui_color = "#d7f0e5"

    def __init__(
        self,
        *,
        kling_task_id: str | int | dict[str, Any],
        output_path: str,
        endpoint: EndpointName = "avatar",
        on_existing: OnExisting = "fail",
        watermarked: bool = False,
        max_bytes: int | None = None,
        kling_conn_id: str = KlingAvatarHook.default_conn_name,
        retry_policy: RetryPolicy | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**known_arguments({**kwargs, "retry_policy": retry_policy}))
        self.kling_task_id = kling_task_id
        self.output_path = output_path
        self.endpoint = endpoint
        self.on_existing = on_existing
        self.watermarked = watermarked
        self.max_bytes = max_bytes
        self.kling_conn_id = kling_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask for the task, and land its clip."""
        with airflow_errors():
            task_id = given_task_id(self.kling_task_id)
            if self.endpoint not in ("avatar", "image_to_video"):
                raise ConfigurationError(f"endpoint must be avatar or image_to_video, not {self.endpoint!r}")
            from airflow_provider_kling_avatar.kling.download import MAX_BYTES
            from airflow_provider_kling_avatar.landing import Landing

            landing = Landing(
                self.output_path,
                on_existing=self.on_existing,
                watermarked=self.watermarked,
                max_bytes=MAX_BYTES if self.max_bytes is None else self.max_bytes,
            )
            landing.check()
            hook = KlingAvatarHook(self.kling_conn_id)
            try:
                task = _finished(hook.get_task(task_id, self.endpoint))
                landed = landing.land(hook, self.endpoint, task)
                result = {"task_id": task.task_id, **asdict(landed)}
                metrics.landed(hook.config.dialect.name, self.endpoint, landed.seconds)
                announce_file(context, hook, result)
                return result
            finally:
                hook.close()


def given_task_id(value: object) -> str:
    """
    Return a task's id as text, out of a manifest too. Rendered to native objects, the digits of an id are a number.

    :raises InvalidRequestError: there is none.
    """
    task_id = value.get("task_id") if isinstance(value, dict) else value
    if isinstance(task_id, int) and not isinstance(task_id, bool):
        task_id = str(task_id)
    if isinstance(task_id, str) and task_id.strip() not in ("", "None"):
        return task_id.strip()
    shape = (
        "empty" if value is None or isinstance(value, str) else f"as {type(value).__name__} without a task_id"
    )
    raise InvalidRequestError(
        f"kling_task_id came {shape}: it is the id that a submit operator returns, or what the sensor returns; if it "
        "comes from an upstream task, that task returned nothing or something else",
        field="kling_task_id",
    )


def _finished(task: VideoTask) -> VideoTask:
    """
    Return a task that has its video.

    :raises TaskFailedError: the vendor failed it; asking again does not change that.
    :raises TaskTimeoutError: it is not ready yet.
    """
    decision = decide(task, now=time.time(), budget=PollLimits(float("inf"), 1.0, 1))
    if not isinstance(decision, Finished):
        raise TaskTimeoutError(
            f"task {task.task_id} is not ready yet (the vendor says {task.status!r}): wait for it with "
            "KlingAvatarSensor before it is fetched"
        )
    if decision.verdict is Verdict.FAILED:
        raise as_final(error_for(task.task_id, decision))
    if decision.verdict is not Verdict.SUCCEEDED:
        raise error_for(task.task_id, decision)
    return task
