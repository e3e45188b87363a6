"""An aggregator's `/v1/video/generations`: Kling's avatar under names of its own.

Source: https://docs.uniall.ai/models/avatar/digital-human (2026-11). The page has no limits; these are Kling's, which
makes the film. How failures and refusals look is undocumented.
"""

from __future__ import annotations

import secrets
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_kling_avatar.simulator.contracts import Contract
from airflow_provider_kling_avatar.simulator.dialects.base import Action, Answer, Dialect, Job, answer_refusal
from airflow_provider_kling_avatar.simulator.dialects.kling import (
    AUDIO_MEDIA,
    AVATAR_UNITS_PER_SECOND,
    IMAGE,
    PROMPT,
    avatar_units,
)
from airflow_provider_kling_avatar.simulator.lifecycle import FAILED, PROCESSING, SUBMITTED, SUCCEED

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.simulator.lifecycle import TaskView
    from airflow_provider_kling_avatar.simulator.refusals import Refusal

_PATHS: Final = {"avatar": "/v1/video/generations"}
_WORDS: Final = {SUBMITTED: "queued", PROCESSING: "processing", SUCCEED: "completed", FAILED: "failed"}

_CONTRACTS: Final = {
    "avatar": Contract(
        {
            "properties": {
                "model": {"enum": ["kling-avatar-v2-standard", "kling-avatar-v2-pro"]},
                "image_url": {"type": "string", "x-media": IMAGE["x-media"] | {"accepts": ["url"]}},
                "audio_url": {"type": "string", "x-media": AUDIO_MEDIA | {"accepts": ["url"]}},
                "audio_duration_seconds": {"type": "number", "minimum": 2, "maximum": 300},
                "prompt": PROMPT,
            },
            "required": ["model", "image_url", "audio_url", "audio_duration_seconds"],
        }
    ),
}


class Generations(Dialect):
    """Flat answers in OpenAI's manner, the URL in two places."""

    name = "generations"
    desk = "generations"
    paths = _PATHS
    contracts = _CONTRACTS
    signed_tokens = False
    queries_by_external_id = False
    lists = False

    def job(self, endpoint: str, body: dict[str, Any]) -> Job:  # noqa: ARG002 - there is only one
        """Read what a body asks for; it is billed by the length that it tells, before anybody looks."""
        mode = "pro" if str(body.get("model", "")).endswith("-pro") else "std"
        told = body.get("audio_duration_seconds")

        def units(seconds: Decimal) -> Decimal:
            if told is None:
                return avatar_units(mode, seconds)
            return AVATAR_UNITS_PER_SECOND[mode] * Decimal(str(told))

        return Job(image="image_url", audio="audio_url", mode=mode, units=units)

    def created(self, view: TaskView) -> dict[str, Any]:
        """Answer an accepted task."""
        return _head(view)

    def one(self, view: TaskView) -> dict[str, Any]:
        """Answer a query."""
        body = _head(view)
        if view.succeeded:
            body["video_url"] = view.url or ""
            body["result"] = {"outputs": [view.url] if view.url else []}
        if view.state.reason:
            body["error"] = {"message": view.state.reason, "code": "task_failed"}
        return body

    def refused(self, refusal: Refusal, action: Action) -> Answer:  # noqa: ARG002 - one wording for all
        """Answer in OpenAI's error shape, the most common among such gateways."""
        slug = refusal.slug or ("invalid_api_key" if refusal.is_about_credentials else str(refusal.code))
        error = {
            "message": refusal.message,
            "type": "invalid_request_error",
            "param": refusal.param,
            "code": slug,
        }
        return answer_refusal(refusal, {"error": error})

    def new_task_id(self, moment: float) -> str:  # noqa: ARG002 - not told by its ids
        """Make an id."""
        return f"task_{secrets.token_hex(8)}"


def _head(view: TaskView) -> dict[str, Any]:
    identity = view.row.task_id
    return {
        "id": identity,
        "task_id": identity,
        "object": "video.generation.job",
        "status": view.state.in_words(_WORDS),
    }
