"""The operator that lands the clip of a task that something else has made. Never pays, whatever happens."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_kling_avatar import metrics
from airflow_provider_kling_avatar.base_task import given_task_id, whole_signature
from airflow_provider_kling_avatar.clip_summary import FETCHES, tell
from airflow_provider_kling_avatar.completion import found_elsewhere, push_link
from airflow_provider_kling_avatar.exceptions import airflow_errors, as_final
from airflow_provider_kling_avatar.kling.errors import ConfigurationError, NotFoundError, TaskTimeoutError
from airflow_provider_kling_avatar.kling.polling.decide import (
    ONE_LOOK,
    Finished,
    Verdict,
    decide,
    error_for,
    tenths,
)
from airflow_provider_kling_avatar.lineage import report_file
from airflow_provider_kling_avatar.links.kling_avatar import KlingTaskLink
from airflow_provider_kling_avatar.operators.base import KlingOperator

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from airflow.providers.common.compat.sdk import Context, XComArg

    from airflow_provider_kling_avatar.kling.models import EndpointName, VideoTask
    from airflow_provider_kling_avatar.landing import OnExisting
    from airflow_provider_kling_avatar.parameters import KlingArguments, Templated


@whole_signature
class KlingVideoDownloadOperator(KlingOperator):
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

    And ``kling_conn_id`` and ``retry_policy``, see `base_task.KlingTask`, and Airflow's own.
    """

    template_fields: Sequence[str] = (
        "kling_task_id",
        "output_path",
        "endpoint",
        "on_existing",
        "kling_conn_id",
    )
    operator_extra_links = (KlingTaskLink(),)

    def __init__(
        self,
        *,
        task_id: str,
        kling_task_id: Templated[int | dict[str, Any]],
        output_path: Templated[str],
        endpoint: EndpointName | XComArg = "avatar",
        on_existing: OnExisting | XComArg = "fail",
        watermarked: bool = False,
        max_bytes: int | None = None,
        **kwargs: Unpack[KlingArguments],
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        self.kling_task_id = kling_task_id
        self.output_path = cast("str", output_path)
        self.endpoint = cast("EndpointName", endpoint)
        self.on_existing = cast("OnExisting", on_existing)
        self.watermarked = watermarked
        self.max_bytes = max_bytes

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask for the task, and land its clip."""
        with airflow_errors(context):
            task_id = given_task_id(self.kling_task_id, from_manifest=True)
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
            hook = self.hook()
            api = hook.config.dialect.name
            tell(context, "landing", step=FETCHES, kling_task_id=task_id, api=api, endpoint=self.endpoint)
            push_link(context, hook, task_id)
            try:
                try:
                    seen = hook.get_task(task_id, self.endpoint)
                except NotFoundError as error:
                    raise found_elsewhere(hook, self.endpoint, task_id) or error from None
                task = _finished(seen)
                landed = landing.land(hook, self.endpoint, task)
                result = {"task_id": task.task_id, **asdict(landed)}
                metrics.landed(api, self.endpoint, landed.seconds)
                tell(
                    context,
                    "ready",
                    file_uri=landed.file_uri,
                    size=landed.size,
                    duration=landed.duration,
                    landing_seconds=tenths(landed.seconds),
                    created_at=task.created_at,
                    updated_at=task.updated_at,
                )
                report_file(context, hook, result)
                return result
            finally:
                hook.close()


def _finished(task: VideoTask) -> VideoTask:
    """
    Return a task that has its video.

    :raises TaskFailedError: the vendor failed it; asking again does not change that.
    :raises TaskTimeoutError: it is not ready yet.
    """
    decision = decide(task, now=time.time(), limits=ONE_LOOK)
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
