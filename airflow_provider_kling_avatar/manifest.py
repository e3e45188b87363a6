"""
What a finished clip looks like to downstream tasks: one flat JSON object, the manifest.

Its shape is shipped as a JSON Schema and has a version: keys are added in later ones, never renamed or removed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypedDict

from airflow_provider_kling_avatar.kling.polling.decide import tenths

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.kling.models import Video, VideoTask
    from airflow_provider_kling_avatar.kling.polling.decide import Finished
    from airflow_provider_kling_avatar.landing import Landed

MANIFEST_SCHEMA = "kling-avatar-manifest/1"
"""The version of the shape, as it stands in each manifest under ``schema``."""


class VideoManifest(TypedDict):
    """
    The result of sensor and operators, as it lies in XCom.

    ``video_url`` is signed and lives 30 days at most, 24 hours at some gateways: give an ``output_path``, or fetch the
    file soon.
    """

    schema: str
    """Names this shape and its version."""
    task_id: str
    """The vendor's id of the task."""
    external_task_id: str | None
    """Our name for it, where the API keeps one."""
    video_id: str | None
    """The vendor's id of the video."""
    video_url: str
    watermark_url: str | None
    file: str | None
    """What to open the video by: a path where ``output_path`` was one, a storage URI where it was a URI."""
    file_uri: str | None
    """Its URI in either case."""
    watermark_file: str | None
    """The watermarked variant, in the form of ``file``."""
    size: int | None
    """Bytes of the file."""
    sha256: str | None
    """Of the file."""
    duration: float | None
    """Seconds."""
    mode: str | None
    """``std`` or ``pro``, as asked for; ``None`` in a sensor, which is not told."""
    api: str
    """The dialect it was made with."""
    endpoint: str
    status: str
    """The vendor's last word."""
    queued_seconds: float | None
    """In the vendor's queue, as seen while waiting; ``None`` if it was ready at the first look."""
    rendering_seconds: float | None
    """From then on, likewise."""
    landing_seconds: float | None
    """Until the file was in the storage."""
    estimated_cost: str | None
    """Before it was sent, as a decimal text; ``None`` where no price is known."""
    actual_cost: str | None
    """What it cost by the vendor's answer, as a decimal text; ``None`` where it does not say."""
    currency: str | None
    """Of both costs: an ISO 4217 code."""
    units: str | None
    """What was deducted, in the vendor's units, as a decimal text."""
    request_id: str | None
    """The vendor's id of the last status answer."""
    submit_request_id: str | None
    """The vendor's id of the answer to the submission; ``None`` if another task or try sent it."""
    created_at: float | None
    """Unix seconds, by the vendor's clock."""
    updated_at: float | None
    """Unix seconds, by the vendor's clock."""


@dataclass(frozen=True, slots=True)
class Costs:
    """
    What a clip costs, as decimal texts; ``None`` where nobody knows.

    :param estimated: before it was sent.
    :param actual: by the vendor's answer.
    :param currency: of both, an ISO 4217 code.
    """

    estimated: str | None = None
    actual: str | None = None
    currency: str | None = None


def video_manifest(
    task: VideoTask,
    video: Video,
    *,
    api: str,
    endpoint: str,
    finished: Finished,
    mode: str | None = None,
    landed: Landed | None = None,
    costs: Costs | None = None,
    submit_request_id: str | None = None,
) -> VideoManifest:
    """
    Describe a finished clip.

    :param task: succeeded.
    :param video: its video.
    :param api: name of the dialect.
    :param endpoint: ``avatar`` or ``image_to_video``.
    :param finished: how waiting for it ended.
    :param mode: as asked for.
    :param landed: where the file is, if it was fetched.
    :param costs: what it costs.
    :param submit_request_id: the vendor's id of the answer to the submission.
    """
    costs = costs or Costs()
    return VideoManifest(
        schema=MANIFEST_SCHEMA,
        task_id=task.task_id,
        external_task_id=task.external_task_id,
        video_id=video.id,
        video_url=video.url,
        watermark_url=video.watermark_url,
        file=landed.file if landed else None,
        file_uri=landed.file_uri if landed else None,
        watermark_file=landed.watermark_file if landed else None,
        size=landed.size if landed else None,
        sha256=landed.sha256 if landed else None,
        duration=video.duration if video.duration is not None else landed.duration if landed else None,
        mode=mode,
        api=api,
        endpoint=endpoint,
        status=task.status,
        queued_seconds=tenths(finished.queued),
        rendering_seconds=tenths(finished.rendering),
        landing_seconds=tenths(landed.seconds) if landed else None,
        estimated_cost=costs.estimated,
        actual_cost=costs.actual,
        currency=costs.currency,
        units=task.units,
        request_id=task.request_id,
        submit_request_id=submit_request_id,
        created_at=task.created_at,
        updated_at=task.updated_at,
    )


@cache
def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a manifest."""
    text = files(__package__).joinpath("schemas", "manifest.v1.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
