"""What a request may contain, by the vendors' own pages: a JSON Schema for each API and endpoint, as data.

It knows field names, limits and which fields exclude each other, each with the page it comes from. It must not know
what the client of this package sends: both are written from the same pages by themselves, so that a mistake in one
of them shows.

Besides the keywords of JSON Schema there are two of our own: `x-media` describes a picture or an audio, of which
`media` measures what is behind the text, and `x-messages` says in words what breaking a keyword means. Fields that are
not listed are ignored, as the services do.
"""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

_MEGABYTE = 1024 * 1024

AUDIO_LENGTH: Final = {"min_seconds": 2, "max_seconds": 300}
"""Of an avatar's audio. CometAPI's page says 60 s, which was Kling's limit once; Kling takes 300 s through it."""

_IMAGE: Final[Schema] = {
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
_AUDIO_MEDIA: Final = {"kind": "audio", "formats": ["mp3", "wav", "m4a", "aac"], **AUDIO_LENGTH}
_AUDIO: Final[Schema] = {
    "type": "string",
    "x-media": _AUDIO_MEDIA | {"accepts": ["url", "base64"], "max_bytes": 5 * _MEGABYTE},
}
_IMAGE_URL: Final[Schema] = {"type": "string", "x-media": {**_IMAGE["x-media"], "accepts": ["url"]}}
_AUDIO_URL: Final[Schema] = {"type": "string", "x-media": _AUDIO_MEDIA | {"accepts": ["url"]}}
_TEXT: Final[Schema] = {"type": "string"}
_PROMPT: Final[Schema] = {"type": "string", "maxLength": 2500}
_OWN_ID_AND_CALLBACK: Final[Schema] = {
    "external_task_id": _TEXT,
    "callback_url": {
        "type": "string",
        "pattern": "(?i)^https?://",
        "x-messages": {"pattern": "must be an http(s) URL"},
    },
}
_COMMON: Final[Schema] = _OWN_ID_AND_CALLBACK | {
    "watermark_info": {"type": "object", "properties": {"enabled": {"type": "boolean"}}},
}

_AVATAR: Final[Schema] = {
    "x-source": "https://kling.ai/document-api/api/video/avatar (2026-09)",
    "properties": _COMMON
    | {
        "image": _IMAGE,
        "audio_id": _TEXT,
        "sound_file": _AUDIO,
        "prompt": _PROMPT,
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
        "voice_id": _TEXT,
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
_FIVE_OR_TEN: Final = ["5", "10"]
_LONG_TAIL_MODELS: Final = ["kling-v1-5", "kling-v1-6", "kling-v2-5-turbo", "kling-v2-6"]
_MOVES: Final = ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")
_MASKS: Final = _has("static_mask", "dynamic_masks")
_TAIL: Final = _has("image_tail")
_CAMERA: Final = _has("camera_control")

_CAMERA_CONTROL: Final[Schema] = {
    "type": "object",
    "properties": {
        "type": {
            "enum": ["simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward"],
        },
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
        "model_name": _TEXT,
        "image": _IMAGE,
        "image_tail": _IMAGE,
        "prompt": _PROMPT,
        "negative_prompt": _PROMPT,
        "cfg_scale": {"type": "number", "minimum": 0, "maximum": 1},
        "mode": {"enum": ["std", "pro", "4k"]},
        "duration": {"type": "string"},
        "static_mask": _IMAGE,
        "dynamic_masks": {
            "type": "array",
            "maxItems": 6,
            "items": {
                "type": "object",
                "properties": {
                    "mask": _IMAGE,
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
            "items": {"type": "object", "properties": {"voice_id": _TEXT}, "required": ["voice_id"]},
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
            "else": {"properties": {"duration": {"enum": _FIVE_OR_TEN}}},
        },
        _if(
            {"properties": {"mode": {"const": "4k"}}, "required": ["mode"]},
            {"anyOf": [_V3], "x-messages": {"anyOf": "mode 4k needs a kling-v3 model"}},
        ),
        _if(
            _MASKS,
            {
                "properties": {
                    "duration": {"const": "5", "x-messages": {"const": 'must be "5" with a mask'}},
                }
            },
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

_BROADCAST: Final[Schema] = {
    "x-source": "third-party digest of https://api-singapore.klingai.com/v1/videos/avatar (2026-11)",
    "properties": _OWN_ID_AND_CALLBACK
    | {
        # The digest limits neither the picture's shape nor the audio.
        "image": {
            "type": "string",
            "x-media": {k: v for k, v in _IMAGE["x-media"].items() if k != "max_aspect_ratio"},
        },
        "text": {"type": "string", "minLength": 1},
        "voice_id": _TEXT,
        "audio_url": {"type": "string", "x-media": {"kind": "audio", "accepts": ["url"]}},
        "aspect_ratio": {
            "type": "string",
            "pattern": "^[1-9][0-9]*:[1-9][0-9]*$",
            "x-messages": {"pattern": "must look like 16:9"},
        },
    },
    "required": ["image"],
    "oneOf": [{"anyOf": [{"required": ["text"]}, {"required": ["voice_id"]}]}, {"required": ["audio_url"]}],
    "dependentRequired": {"text": ["voice_id"], "voice_id": ["text"]},
    "x-messages": {
        "oneOf": "exactly one of text (with voice_id) and audio_url is needed: never both, never neither",
        "dependentRequired": "text and voice_id go together",
    },
}

_GENERATIONS: Final[Schema] = {
    "x-source": "https://docs.uniall.ai/models/avatar/digital-human (2026-11)",
    "properties": {
        "model": {"enum": ["kling-avatar-v2-standard", "kling-avatar-v2-pro"]},
        "image_url": _IMAGE_URL,
        "audio_url": _AUDIO_URL,
        # The page has no limits; these are Kling's, which makes the film.
        "audio_duration_seconds": {"type": "number", "minimum": 2, "maximum": 300},
        "prompt": _PROMPT,
    },
    "required": ["model", "image_url", "audio_url", "audio_duration_seconds"],
}

_KLING: Final = {"avatar": _AVATAR, "image_to_video": _IMAGE_TO_VIDEO, "speech": _SPEECH}

SCHEMAS: Final[dict[str, dict[str, Schema]]] = {
    "kling": _KLING,
    # Gateways pass requests on. Lower limits on CometAPI's pages (60 s of audio, prompts of 500 and 200) are stale.
    "cometapi": _KLING,
    "relay": _KLING,
    "kling-broadcast": {"avatar": _BROADCAST},
    "generations": {"avatar": _GENERATIONS},
}
"""API -> endpoint -> what its requests may contain."""
