"""The official Kling API, classic generation, as https://klingai.com/document-api describes it."""

from __future__ import annotations

from airflow_provider_kling_avatar.kling.dialects.base import (
    Dialect,
    Endpoint,
    Field,
    on_off,
    same,
    watermark_info,
)

AVATAR_FIELDS = {
    **same("image", "audio_id", "prompt", "mode", "callback_url", "external_task_id"),
    "audio": Field("sound_file"),
    "watermark": Field("watermark_info", watermark_info),
}
IMAGE_TO_VIDEO_FIELDS = {
    **same("model_name", "image", "image_tail", "prompt", "negative_prompt", "cfg_scale", "mode", "duration"),
    **same(
        "static_mask", "dynamic_masks", "camera_control", "voice_list", "callback_url", "external_task_id"
    ),
    "sound": Field("sound", on_off),
    "watermark": Field("watermark_info", watermark_info),
}
SPEECH_FIELDS = same("text", "voice_id", "voice_language", "voice_speed")

AVATAR = Endpoint("/v1/videos/avatar/image2video", AVATAR_FIELDS, {"mode": "std"})
IMAGE_TO_VIDEO = Endpoint("/v1/videos/image2video", IMAGE_TO_VIDEO_FIELDS, {"mode": "std"})
SPEECH = Endpoint("/v1/audio/tts", SPEECH_FIELDS, query_path=None, list_path=None)

DIALECT = Dialect(
    name="kling",
    title="official Kling API",
    source="https://klingai.com/document-api/api/video/avatar",
    base_url="https://api-singapore.klingai.com",
    regions=(
        "https://api-singapore.klingai.com",
        "https://api-beijing.klingai.com",
        "https://api.klingai.com",
    ),
    signed_keys=True,
    external_id_query=True,
    unique_external_id=True,
    endpoints={"avatar": AVATAR, "image_to_video": IMAGE_TO_VIDEO, "speech": SPEECH},
)
