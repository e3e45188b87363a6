"""CometAPI: Kling's API relayed under /kling, with rules and error envelopes of its own."""

from __future__ import annotations

from dataclasses import replace

from airflow_provider_kling_avatar.kling.dialects import kling
from airflow_provider_kling_avatar.kling.dialects.base import Dialect

NEUTRAL_PROMPT = "."
"""
Sent when the Dag gives no prompt: gateways built on the common relay code refuse an empty one.
A full stop asks for nothing; another gateway of the same model uses it as its own default.
"""

AVATAR = replace(kling.AVATAR, defaults={"mode": "std", "prompt": NEUTRAL_PROMPT})
IMAGE_TO_VIDEO = replace(kling.IMAGE_TO_VIDEO, defaults={"mode": "std", "prompt": NEUTRAL_PROMPT})

DIALECT = Dialect(
    name="cometapi",
    title="CometAPI",
    source="https://apidoc.cometapi.com/api/video/kling/avatar",
    base_url="https://api.cometapi.com",
    prefix="/kling",
    external_id_query=True,
    unique_external_id=True,
    endpoints={"avatar": AVATAR, "image_to_video": IMAGE_TO_VIDEO, "speech": kling.SPEECH},
)
