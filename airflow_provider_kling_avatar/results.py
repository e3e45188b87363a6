"""What a finished clip looks like to downstream tasks: one flat JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.kling.model import Video, VideoTask


class VideoResult(TypedDict):
    """
    The result of sensor and operator, as it lies in XCom.

    ``video_url`` is signed and lives 30 days at most, 24 hours at some gateways: fetch the file soon.
    """

    task_id: str
    """The vendor's id of the task."""
    external_task_id: str | None
    """Our name for it, where the API keeps one."""
    video_url: str
    video_id: str | None
    duration: float | None
    """Seconds."""
    units: str | None
    """What was deducted, in the vendor's units, as a decimal text."""
    watermark_url: str | None
    status: str
    """The vendor's last word."""
    api: str
    """The dialect it was made with."""
    endpoint: str
    created_at: float | None
    """Unix seconds, by the vendor's clock."""
    updated_at: float | None
    """Unix seconds, by the vendor's clock."""
    request_id: str | None
    """The vendor's id of the last status answer."""


def video_result(task: VideoTask, video: Video, *, api: str, endpoint: str) -> VideoResult:
    """
    Describe a finished clip.

    :param task: succeeded.
    :param video: its video.
    :param api: name of the dialect.
    :param endpoint: ``avatar`` or ``image_to_video``.
    """
    return VideoResult(
        task_id=task.task_id,
        external_task_id=task.external_task_id,
        video_url=video.url,
        video_id=video.id,
        duration=video.duration,
        units=task.units,
        watermark_url=video.watermark_url,
        status=task.status,
        api=api,
        endpoint=endpoint,
        created_at=task.created_at,
        updated_at=task.updated_at,
        request_id=task.request_id,
    )
