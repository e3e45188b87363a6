"""The official Kling API, classic generation, as https://klingai.com/document-api describes it."""

from __future__ import annotations

from airflow_provider_kling_avatar.kling.dialects.base import (
    Dialect,
    Endpoint,
    Field,
    on_off,
    watermark_info,
)

AVATAR_FIELDS = {
    "image": Field("image"),
    "audio": Field("sound_file"),
    "audio_id": Field("audio_id"),
    "prompt": Field("prompt"),
    "mode": Field("mode"),
    "watermark": Field("watermark_info", watermark_info),
    "callback_url": Field("callback_url"),
    "external_task_id": Field("external_task_id"),
}
IMAGE_TO_VIDEO_FIELDS = {
    "model_name": Field("model_name"),
    "image": Field("image"),
    "image_tail": Field("image_tail"),
    "prompt": Field("prompt"),
    "negative_prompt": Field("negative_prompt"),
    "cfg_scale": Field("cfg_scale"),
    "mode": Field("mode"),
    "duration": Field("duration"),
    "static_mask": Field("static_mask"),
    "dynamic_masks": Field("dynamic_masks"),
    "camera_control": Field("camera_control"),
    "sound": Field("sound", on_off),
    "voice_list": Field("voice_list"),
    "watermark": Field("watermark_info", watermark_info),
    "callback_url": Field("callback_url"),
    "external_task_id": Field("external_task_id"),
}
SPEECH_FIELDS = {name: Field(name) for name in ("text", "voice_id", "voice_language", "voice_speed")}

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
