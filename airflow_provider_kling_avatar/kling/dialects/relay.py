"""Any gateway that passes Kling's API through under a prefix. No two answer alike; the envelope reader copes."""

from __future__ import annotations

from airflow_provider_kling_avatar.kling.dialects import cometapi, kling
from airflow_provider_kling_avatar.kling.dialects.base import Dialect

DIALECT = Dialect(
    name="relay",
    title="Kling pass-through gateway",
    source="https://docs.fast-token.com/en/kling/video/KlingDigitalHuman.html",
    base_url=None,
    prefix="/kling",
    external_id_query=True,
    endpoints={
        "avatar": cometapi.AVATAR,
        "image_to_video": cometapi.IMAGE_TO_VIDEO,
        "speech": kling.SPEECH,
    },
)
