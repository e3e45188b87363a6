"""What the vendors would have charged, as data: units per second of video, per mode and model.

It knows public list prices and exact decimal arithmetic. It must not know tasks or accounts. Nothing
here is an invoice: resellers have prices of their own, and packs are discounted.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import Final

USD_PER_UNIT: Final = Decimal("0.14")
"""One resource-pack unit at list price."""

AVATAR_UNITS_PER_SECOND: Final = {"std": Decimal("0.4"), "pro": Decimal("0.8")}
"""$0.056 and $0.112 a second. Source: https://kling.ai/document-api/pricing/base/video.md (2026-09)."""

IMAGE_TO_VIDEO_UNITS_PER_SECOND: Final = {
    ("kling-v2-5-turbo", "std"): Decimal("0.3"),
    ("kling-v2-5-turbo", "pro"): Decimal("0.5"),
    ("kling-v2-6", "std"): Decimal("0.3"),
    ("kling-v2-6", "pro"): Decimal("0.5"),
    ("kling-v3", "std"): Decimal("0.6"),
    ("kling-v3", "pro"): Decimal("0.8"),
    ("kling-v1", "std"): Decimal("0.2"),
    ("kling-v1", "pro"): Decimal("0.7"),
    ("kling-v2-master", "std"): Decimal(2),
    ("kling-v2-master", "pro"): Decimal(2),
}
"""Units per second of silent film by (model_name, mode): those from v2-5 on by the page above, the older ones, which
it no longer has, as commonly quoted (1, 3.5 and 10 units for five seconds)."""

IMAGE_TO_VIDEO_DEFAULT: Final = {"std": Decimal("0.4"), "pro": Decimal("0.7"), "4k": Decimal(3)}
"""For every model the table above does not name: as commonly quoted, but 4k, which has one price for all."""

SPEECH_UNITS_PER_CALL: Final = Decimal("0.05")
"""$0.007 a call, whatever its length. Source: the same page."""


def billed_seconds(seconds: Decimal) -> Decimal:
    """Round a measured length as it is billed: 11.3 s of audio were seen to cost 11 seconds, once (2026-09)."""
    return seconds.to_integral_value(ROUND_FLOOR)


def avatar_units(mode: str, seconds: Decimal) -> Decimal:
    """Price `seconds` of talking head in units."""
    return AVATAR_UNITS_PER_SECOND[mode] * seconds


def image_to_video_units(model: str, mode: str, seconds: Decimal) -> Decimal:
    """Price `seconds` of moving picture in units."""
    rate = IMAGE_TO_VIDEO_UNITS_PER_SECOND.get((model, mode), IMAGE_TO_VIDEO_DEFAULT[mode])
    return rate * seconds


def plain(value: Decimal) -> str:
    """Write a number without exponent or trailing zeros, as the vendors' string fields have it."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
