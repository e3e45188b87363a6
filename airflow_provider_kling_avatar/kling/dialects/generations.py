"""Generic gateways with /v1/video/generations: URLs only, billed by the audio's declared length."""

from __future__ import annotations

from airflow_provider_kling_avatar.kling.dialects.base import Dialect, Endpoint, Field, words

DIALECT = Dialect(
    name="generations",
    title="generic /v1/video/generations gateway",
    source="https://docs.uniall.ai/models/avatar/digital-human",
    base_url=None,
    endpoints={
        "avatar": Endpoint(
            "/v1/video/generations",
            {
                "image": Field("image_url"),
                "audio": Field("audio_url"),
                "mode": Field("model", words(std="kling-avatar-v2-standard", pro="kling-avatar-v2-pro")),
                "audio_duration_seconds": Field("audio_duration_seconds"),
                "prompt": Field("prompt"),
            },
            {"mode": "std"},
            list_path=None,
        )
    },
)
