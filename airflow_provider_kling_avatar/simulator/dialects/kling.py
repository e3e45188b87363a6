"""Kling's official API: paths, contracts, voices, list prices, words, callbacks and the account page.

The other dialects are Kling behind somebody, and say how they differ. It must not know what the client of this package
sends: both are written from the same pages by themselves, so that a mistake in one of them shows.
"""

from __future__ import annotations

import uuid
from decimal import ROUND_FLOOR, Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_kling_avatar.simulator.contracts import Contract
from airflow_provider_kling_avatar.simulator.dialects.base import (
    Action,
    Answer,
    Dialect,
    Job,
    Speech,
    answer_refusal,
)
from airflow_provider_kling_avatar.simulator.ledger import USD_PER_UNIT, plain
from airflow_provider_kling_avatar.simulator.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_kling_avatar.simulator.ledger import Ledger
    from airflow_provider_kling_avatar.simulator.lifecycle import TaskView

PATHS: Final = {
    "avatar": "/v1/videos/avatar/image2video",
    "image_to_video": "/v1/videos/image2video",
    "speech": "/v1/audio/tts",
}

VOICES: Final = {
    "en": ("oversea_male1", "genshin_vindi2", "commercial_lady_en_f-v1", "reader_en_m-v1"),
    "zh": ("genshin_vindi2", "ai_kaiya", "chat1_female_new-3"),
}
"""Voice ids that appear in working samples, per language. The full list is only on the vendor's voice page."""

# List prices. Resellers have their own, and packs are discounted.

AVATAR_UNITS_PER_SECOND: Final = {"std": Decimal("0.4"), "pro": Decimal("0.8")}
"""$0.056 and $0.112 a second. Source: https://kling.ai/document-api/pricing/base/video.md (2026-09)."""

_FILM_UNITS_PER_SECOND: Final = {
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

_FILM_DEFAULT: Final = {"std": Decimal("0.4"), "pro": Decimal("0.7"), "4k": Decimal(3)}
"""For every model the table above does not name: as commonly quoted, but 4k, which has one price for all."""

_SPEECH_UNITS_PER_CALL: Final = Decimal("0.05")
"""$0.007 a call, whatever its length. Source: the same page."""

_PACK_UNITS: Final = Decimal(10_000)
_PACK_SECONDS = 90 * 24 * 3600
_PACK_NAME = "Simulated video pack"

# What a request may contain.

Schema = dict[str, Any]

_MEGABYTE = 1024 * 1024

_AUDIO_LENGTH: Final = {"min_seconds": 2, "max_seconds": 300}
"""Of an avatar's audio. CometAPI's page says 60 s, which was Kling's limit once; Kling takes 300 s through it."""

IMAGE: Final[Schema] = {
    "type": "string",
    "x-media": {
        "kind": "image",
        "accepts": ["url", "base64"],
        "formats": ["jpeg", "png"],
        "max_bytes": 10 * _MEGABYTE,
        "min_side_pixels": 300,
        "max_aspect_ratio": 2.5,
    },
}
AUDIO_MEDIA: Final = {"kind": "audio", "formats": ["mp3", "wav", "m4a", "aac"], **_AUDIO_LENGTH}
_AUDIO: Final[Schema] = {
    "type": "string",
    "x-media": AUDIO_MEDIA | {"accepts": ["url", "base64"], "max_bytes": 5 * _MEGABYTE},
}
TEXT: Final[Schema] = {"type": "string"}
PROMPT: Final[Schema] = {"type": "string", "maxLength": 2500}
OWN_ID_AND_CALLBACK: Final[Schema] = {
    "external_task_id": TEXT,
    "callback_url": {
        "type": "string",
        "pattern": "(?i)^https?://",
        "x-messages": {"pattern": "must be an http(s) URL"},
    },
}
_COMMON: Final[Schema] = OWN_ID_AND_CALLBACK | {
    "watermark_info": {"type": "object", "properties": {"enabled": {"type": "boolean"}}},
}

_AVATAR: Final[Schema] = {
    "x-source": "https://kling.ai/document-api/api/video/avatar (2026-09)",
    "properties": _COMMON
    | {
        "image": IMAGE,
        "audio_id": TEXT,
        "sound_file": _AUDIO,
        "prompt": PROMPT,
        "mode": {"enum": ["std", "pro"]},
    },
    "required": ["image"],
    "oneOf": [{"required": ["audio_id"]}, {"required": ["sound_file"]}],
    "x-messages": {"oneOf": "exactly one of audio_id and sound_file is needed: never both, never neither"},
}

_SPEECH: Final[Schema] = {
    "x-source": "https://kling.ai/document-api/api/video/avatar/text-to-speech (2026-09)",
    "properties": {
        "text": {"type": "string", "minLength": 1, "maxLength": 1000},
        "voice_id": TEXT,
        "voice_language": {"enum": ["zh", "en"]},
        # Out of 0.8 to 2.0 it is not refused but rounded, says the page.
        "voice_speed": {"type": "number"},
    },
    "required": ["text", "voice_id", "voice_language"],
}


def _if(condition: Schema, then: Schema) -> Schema:
    return {"if": condition, "then": then}


def _has(*names: str) -> Schema:
    return {"anyOf": [{"required": [name]} for name in names]}


_V3: Final[Schema] = {"properties": {"model_name": {"pattern": "^kling-v3"}}, "required": ["model_name"]}
_LONG_TAIL_MODELS: Final = ["kling-v1-5", "kling-v1-6", "kling-v2-5-turbo", "kling-v2-6"]
_MOVES: Final = ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")
_MASKS: Final = _has("static_mask", "dynamic_masks")
_TAIL: Final = _has("image_tail")
_CAMERA: Final = _has("camera_control")

_CAMERA_CONTROL: Final[Schema] = {
    "type": "object",
    "properties": {
        "type": {"enum": ["simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward"]},
        "config": {
            "type": "object",
            "properties": {move: {"type": "number", "minimum": -10, "maximum": 10} for move in _MOVES},
            "oneOf": [{"properties": {move: {"not": {"const": 0}}}, "required": [move]} for move in _MOVES],
            "x-messages": {"oneOf": f"must have exactly one of {', '.join(_MOVES)} that is not 0"},
        },
    },
    "required": ["type"],
    "if": {"properties": {"type": {"const": "simple"}}},
    "then": {"required": ["config"]},
    "else": {
        "not": {"required": ["config"]},
        "x-messages": {"not": "has a config, which belongs to the type simple only"},
    },
}

_IMAGE_TO_VIDEO: Final[Schema] = {
    "x-source": "https://kling.ai/document-api/api/video/image-to-video (2025-05), "
    "https://kling.ai/document-api/guides/capability-map/video (2026-05)",
    "properties": _COMMON
    | {
        "model_name": TEXT,
        "image": IMAGE,
        "image_tail": IMAGE,
        "prompt": PROMPT,
        "negative_prompt": PROMPT,
        "cfg_scale": {"type": "number", "minimum": 0, "maximum": 1},
        "mode": {"enum": ["std", "pro", "4k"]},
        "duration": {"type": "string"},
        "static_mask": IMAGE,
        "dynamic_masks": {
            "type": "array",
            "maxItems": 6,
            "items": {
                "type": "object",
                "properties": {
                    "mask": IMAGE,
                    "trajectories": {
                        "type": "array",
                        "minItems": 2,
                        "maxItems": 77,
                        "items": {
                            "type": "object",
                            "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
                            "required": ["x", "y"],
                        },
                    },
                },
                "required": ["mask", "trajectories"],
            },
        },
        "camera_control": _CAMERA_CONTROL,
        "sound": {"enum": ["on", "off"]},
        "voice_list": {
            "type": "array",
            "maxItems": 2,
            "items": {"type": "object", "properties": {"voice_id": TEXT}, "required": ["voice_id"]},
        },
    },
    "allOf": [
        {
            **_has("image", "image_tail"),
            "x-messages": {"anyOf": "at least one of image and image_tail is needed"},
        },
        *(
            {
                "not": {"allOf": [one, other]},
                "x-messages": {"not": "image_tail, masks and camera_control exclude each other"},
            }
            for one, other in ((_TAIL, _MASKS), (_TAIL, _CAMERA), (_MASKS, _CAMERA))
        ),
        {
            "if": _V3,
            "then": {
                "properties": {
                    "duration": {
                        "pattern": "^([3-9]|1[0-5])$",
                        "x-messages": {"pattern": "must be from 3 to 15 whole seconds"},
                    }
                }
            },
            "else": {"properties": {"duration": {"enum": ["5", "10"]}}},
        },
        _if(
            {"properties": {"mode": {"const": "4k"}}, "required": ["mode"]},
            {"anyOf": [_V3], "x-messages": {"anyOf": "mode 4k needs a kling-v3 model"}},
        ),
        _if(
            _MASKS,
            {"properties": {"duration": {"const": "5", "x-messages": {"const": 'must be "5" with a mask'}}}},
        ),
        # Last frames: Kling 3.0 takes them at any length, four older models at 10 s too if in `pro`, all others at 5 s.
        _if(
            _TAIL,
            {
                "anyOf": [
                    _V3,
                    {
                        "properties": {"model_name": {"enum": _LONG_TAIL_MODELS}, "mode": {"const": "pro"}},
                        "required": ["model_name", "mode"],
                    },
                    {"properties": {"duration": {"const": "5"}}},
                ],
                "x-messages": {
                    "anyOf": 'image_tail with a duration other than "5" needs mode pro and one of the models '
                    + ", ".join(_LONG_TAIL_MODELS)
                },
            },
        ),
    ],
}

CONTRACTS: Final = {
    "avatar": Contract(_AVATAR),
    "image_to_video": Contract(_IMAGE_TO_VIDEO),
    "speech": Contract(_SPEECH),
}


def new_id() -> str:
    """Make a request id."""
    return str(uuid.uuid4())


def kling_error(refusal: Refusal) -> dict[str, Any]:
    """Word a refusal as Kling does."""
    return {"code": refusal.code, "message": refusal.message, "request_id": new_id()}


def gateway_error(slug: str, message: str) -> dict[str, Any]:
    """Word an error of a gateway's own, as new-api does."""
    return {"code": slug, "message": message, "data": None}


def language_of(voice_id: str, *languages: str) -> str:
    """Find the first of these languages that has the voice; raises a Refusal."""
    for language in languages:
        if voice_id in VOICES[language]:
            return language
    raise Refusal(1201, "Voice id not found")


def avatar_units(mode: str, seconds: Decimal) -> Decimal:
    """Price so many seconds of talking head: whole ones, rounded down, as seen once (2026-09: 11.3 s cost 11)."""
    return AVATAR_UNITS_PER_SECOND[mode] * seconds.to_integral_value(ROUND_FLOOR)


def costs(account: str, ledger: Ledger, query: Mapping[str, str]) -> dict[str, Any]:
    """Tell what is left of the packs: one made-up pack for each account.

    It moves when a task succeeds, at once and exactly, as it was seen to; the vendor allows itself twelve hours.
    Source: https://klingai.com/document-api/api/assets/account-usage
    """
    for name in ("start_time", "end_time"):
        if not query.get(name, "").isdecimal():
            raise Refusal(1201, f"{name} must be a time in milliseconds")
    used = ledger.units_charged(account)
    pack = {
        "resource_pack_name": _PACK_NAME,
        "resource_pack_id": f"pack-{account}",
        "resource_pack_type": "decreasing_total",
        "total_quantity": float(_PACK_UNITS),
        "remaining_quantity": float(max(Decimal(0), _PACK_UNITS - used)),
        "purchase_time": _millis(ledger.opened_at),
        "effective_time": _millis(ledger.opened_at),
        "invalid_time": _millis(ledger.opened_at + _PACK_SECONDS),
        "status": "online" if used < _PACK_UNITS else "runOut",
    }
    packs = [pack] if query.get("resource_pack_name", _PACK_NAME) == _PACK_NAME else []
    return _success({"code": 0, "msg": "success", "resource_pack_subscribe_infos": packs})


PAGES: Final = {"/account/costs": costs}


class Classic(Dialect):
    """Kling's requests and its classic envelope, `{code, message, request_id, data}`, whoever serves them."""

    contracts = CONTRACTS
    empty_until_final = False
    """Whether `task_info` and `task_result` are `{}` before the end, as some answers have them."""

    def job(self, endpoint: str, body: dict[str, Any]) -> Job:
        """Read what a body asks for."""
        if endpoint == "speech":
            language = language_of(body["voice_id"], body["voice_language"])
            speed = round(min(2.0, max(0.8, body.get("voice_speed", 1.0))), 1)
            speech = Speech(body["text"], language, speed)
            return Job(speech=speech, units=lambda _: _SPEECH_UNITS_PER_CALL)
        mode = body.get("mode", "std")
        if endpoint == "avatar":
            return Job(
                image="image",
                audio="sound_file",
                audio_id=body.get("audio_id"),
                audio_limits=_AUDIO_LENGTH,
                mode=mode,
                units=partial(avatar_units, mode),
            )
        rate = _FILM_UNITS_PER_SECOND.get((body.get("model_name", ""), mode), _FILM_DEFAULT[mode])
        return Job(
            image="image" if "image" in body else "image_tail",
            seconds=Decimal(body.get("duration", "5")),
            mode=mode,
            units=lambda seconds: rate * seconds,
        )

    def created(self, view: TaskView) -> dict[str, Any]:
        """Answer an accepted task."""
        return _success(self.summary(view))

    def one(self, view: TaskView) -> dict[str, Any]:
        """Answer a query for one task."""
        return _success(self.details(view))

    def many(self, views: Sequence[TaskView]) -> dict[str, Any]:
        """Answer a list: a bare array, without a total."""
        return _success([self.details(view) for view in views])

    def spoken(self, view: TaskView) -> dict[str, Any]:
        """Answer text-to-speech, which has no name or watermark."""
        absent = ("task_info", "watermark_info")
        return _success({name: value for name, value in self.details(view).items() if name not in absent})

    def refused(self, refusal: Refusal, action: Action) -> Answer:  # noqa: ARG002 - other dialects need it
        """Answer a refusal; a slug is the word of a gateway in between."""
        slug = refusal.slug
        return answer_refusal(refusal, gateway_error(slug, refusal.message) if slug else kling_error(refusal))

    def summary(self, view: TaskView) -> dict[str, Any]:
        """Describe a task as `create` does."""
        row = view.row
        return {
            "task_id": row.task_id,
            "task_info": {"external_task_id": row.external_task_id} if row.external_task_id else {},
            "task_status": view.state.status,
            "created_at": _millis(row.created_at),
            "updated_at": _millis(view.state.since),
        }

    def details(self, view: TaskView) -> dict[str, Any]:
        """Describe a task as a query does."""
        data = self.summary(view) | {
            "task_status_msg": view.state.reason,
            "watermark_info": {"enabled": bool(view.row.watermark)},
        }
        if not view.state.is_final:
            return data | ({"task_info": {}, "task_result": {}} if self.empty_until_final else {})
        data |= _deductions(view)
        return data | {"task_result": _result(view)} if view.succeeded else data


class Kling(Classic):
    """The official API."""

    name = "kling"
    desk = "kling"
    paths = PATHS
    pages = PAGES


def callback_body(view: TaskView) -> dict[str, Any]:
    """Describe a task as callbacks do: not wrapped in `code` and `data`.

    Source: https://klingai.com/document-api/api/get-started/callbacks
    """
    row = view.row
    return {
        "task_id": row.task_id,
        "task_status": view.state.status,
        "task_status_msg": view.state.reason,
        "created_at": _millis(row.created_at),
        "updated_at": _millis(view.state.since),
        **_deductions(view),
        "task_info": {"parent_video": {}, "external_task_id": row.external_task_id or ""},
        "task_result": _result(view) if view.succeeded else {},
    }


def _success(data: Any) -> dict[str, Any]:
    return {"code": 0, "message": "SUCCEED", "request_id": new_id(), "data": data}


def _millis(seconds: float) -> int:
    return round(seconds * 1000)


def _result(view: TaskView) -> dict[str, Any]:
    """Describe the media of a task that succeeded."""
    name = "audios" if view.row.endpoint == "speech" else "videos"
    if view.url is None:
        return {name: []}
    item: dict[str, Any] = {"id": view.row.task_id, "url": view.url, "duration": view.row.seconds}
    if view.watermark_url is not None:
        item["watermark_url"] = view.watermark_url
    return {name: [item]}


def _deductions(view: TaskView) -> dict[str, Any]:
    """Describe what was charged: nothing until it succeeded, nothing if it failed, though no page speaks of refunds."""
    units = Decimal(view.row.units) if view.succeeded else Decimal(0)
    return {
        "final_unit_deduction": plain(units),
        "final_balance_deduction": {"quota": plain(units), "list_price": plain(units * USD_PER_UNIT)},
    }
