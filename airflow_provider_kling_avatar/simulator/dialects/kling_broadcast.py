"""Kling's broadcast avatar: Kling's words on a path of its own, with audio by URL or a text that it speaks itself.

Source: third-party digest of https://api-singapore.klingai.com/v1/videos/avatar (2026-11).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from airflow_provider_kling_avatar.simulator.contracts import Contract
from airflow_provider_kling_avatar.simulator.dialects.base import Job, Speech
from airflow_provider_kling_avatar.simulator.dialects.kling import (
    IMAGE,
    OWN_ID_AND_CALLBACK,
    TEXT,
    VOICES,
    Classic,
    avatar_units,
    language_of,
)
from airflow_provider_kling_avatar.simulator.refusals import Refusal

_PATHS: Final = {"avatar": "/v1/videos/avatar"}
_STEEPEST_RATIO = 10

_CONTRACTS: Final = {
    "avatar": Contract(
        {
            "properties": OWN_ID_AND_CALLBACK
            | {
                # The digest limits neither the picture's shape nor the audio.
                "image": {
                    "type": "string",
                    "x-media": {k: v for k, v in IMAGE["x-media"].items() if k != "max_aspect_ratio"},
                },
                "text": {"type": "string", "minLength": 1},
                "voice_id": TEXT,
                "audio_url": {"type": "string", "x-media": {"kind": "audio", "accepts": ["url"]}},
                "aspect_ratio": {
                    "type": "string",
                    "pattern": "^[1-9][0-9]*:[1-9][0-9]*$",
                    "x-messages": {"pattern": "must look like 16:9"},
                },
            },
            "required": ["image"],
            "oneOf": [
                {"anyOf": [{"required": ["text"]}, {"required": ["voice_id"]}]},
                {"required": ["audio_url"]},
            ],
            "dependentRequired": {"text": ["voice_id"], "voice_id": ["text"]},
            "x-messages": {
                "oneOf": "exactly one of text (with voice_id) and audio_url is needed: never both, never neither",
                "dependentRequired": "text and voice_id go together",
            },
        }
    ),
}


class KlingBroadcast(Classic):
    """The broadcast avatar, which has no modes and finds tasks by its own ids only."""

    name = "kling-broadcast"
    desk = "kling-broadcast"
    paths = _PATHS
    contracts = _CONTRACTS
    queries_by_external_id = False

    def job(self, endpoint: str, body: dict[str, Any]) -> Job:  # noqa: ARG002 - there is only one
        """Read what an avatar's body asks for."""
        # It does not ask for the language.
        speech = Speech(body["text"], language_of(body["voice_id"], *VOICES)) if "text" in body else None
        ratio = body.get("aspect_ratio")
        if ratio is not None:
            across, down = (int(part) for part in ratio.split(":"))
            if max(across, down) > _STEEPEST_RATIO * min(across, down):
                raise Refusal(1201, f"aspect_ratio is not supported: {ratio}")
        return Job(
            image="image",
            audio="audio_url",
            speech=speech,
            mode="std",
            aspect_ratio=ratio,
            units=partial(avatar_units, "std"),
        )
