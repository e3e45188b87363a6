"""The avatar API under /v1/videos/avatar, as a third-party digest describes it: text and voice in one call."""

from __future__ import annotations

from airflow_provider_kling_avatar.kling.dialects.base import Dialect, Endpoint, Field, same
from airflow_provider_kling_avatar.kling.dialects.kling import DIALECT as OFFICIAL

DIALECT = Dialect(
    name="kling-broadcast",
    title="Kling avatar under /v1/videos/avatar",
    source="the digest of POST /v1/videos/avatar; the official page documents another path",
    base_url=OFFICIAL.base_url,
    regions=OFFICIAL.regions,
    signed_keys=True,
    # The digest keeps external_task_id but does not say that a task can be asked for by it. Taking it for
    # granted would read "no such route" as "no such task"; the list, which it documents, answers as well.
    external_id_query=False,
    endpoints={
        "avatar": Endpoint(
            "/v1/videos/avatar",
            {
                **same("image", "text", "voice_id", "aspect_ratio", "callback_url", "external_task_id"),
                "audio": Field("audio_url"),
            },
        )
    },
)
