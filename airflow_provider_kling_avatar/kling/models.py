"""
What is asked of a Kling API and what comes back, in one vocabulary for all of them.

Knows the Dag author's field names and types. Knows nothing of any vendor's field names, of files, or of HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from enum import Enum
from numbers import Real
from os import PathLike
from typing import Annotated, Any, Literal, Self

import msgspec

from airflow_provider_kling_avatar.kling.errors import InvalidRequestError, bare
from airflow_provider_kling_avatar.kling.voices import known_voices

EndpointName = Literal["avatar", "image_to_video", "speech"]
ENDPOINT_NAMES: tuple[EndpointName, ...] = ("avatar", "image_to_video", "speech")


def is_absent(value: object) -> bool:
    """Tell whether a field was left out: ``None`` or an empty text, which the vendors treat alike."""
    return value is None or value == ""


def loosely(value: object, form: Any) -> Any:
    """
    Read a value as a type, also from a text: a number or switch by its words, a structure as JSON.

    :param form: a type that msgspec can convert to.
    :raises ValueError: it cannot be read as that.
    """
    try:
        if isinstance(value, str):
            value = msgspec.json.decode(str(value)) if form in (dict, list) else value.strip()
        elif not isinstance(value, int) and isinstance(value, Real | Decimal):
            value = float(value)  # also what numpy calls a number
        return msgspec.convert(value, form, strict=False)
    except (msgspec.MsgspecError, OverflowError, RecursionError, SystemError):
        # The last is what older versions of msgspec make of an integer that is no float any more.
        raise ValueError from None


_FORMS: dict[str, tuple[Any, str]] = {
    "number": (Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)], "a number"),
    "boolean": (bool, "true or false"),
    "seconds": (int, "a whole number of seconds"),
    "object": (dict, "an object"),
    "list": (list, "a list"),
}
_SWITCHES: dict[str, bool | str] = {"yes": True, "on": True, "no": False, "off": False}
"""Besides true and false, which msgspec knows."""


def _read(kind: str, name: str, value: object) -> object:
    """
    Read a field as its kind.

    :raises InvalidRequestError: it cannot be read as that.
    """
    if kind == "media":
        return _media(value)
    if kind == "speech":  # the id, or the object that tells more of it; as JSON where a template wrote it
        is_object = isinstance(value, Mapping) or str(value).lstrip().startswith("{")
        kind = "object" if is_object else "text"
    if kind == "text":
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InvalidRequestError(f"{name} must be text, not {type(value).__name__}", field=name)
        return str(value)
    if kind == "boolean":
        word = str(value).strip().lower()
        value = _SWITCHES.get(word, word)
    form, words = _FORMS[kind]
    try:
        read = loosely(value, form)
    except ValueError:
        raise InvalidRequestError(f"{name} must be {words}, not {_show(value)}", field=name) from None
    return str(read) if kind == "seconds" else read


def _media(value: object) -> object:
    """
    Take a path object, also one in a storage, for its text, and what an upstream task stored for its ``file``.

    The rest stays as it came: `media` says better what is wrong with it.
    """
    if isinstance(value, Mapping) and value.get("file"):
        value = value["file"]
    return str(value) if isinstance(value, PathLike) or hasattr(value, "storage_options") else value


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{type(value).__name__} of {len(text)} characters"


def _field(kind: str) -> Any:
    return field(default=None, metadata={"kind": kind}, repr=kind != "media")


class _Request:
    """What all requests share: building from loosely typed fields, as templates render them."""

    @classmethod
    def from_fields(cls, **values: object) -> Self:
        """
        Build the request from whatever a rendered template left.

        :param values: fields by name; ``None`` and ``""`` mean "not given"; numbers, booleans and
            structures may come as text.
        :raises InvalidRequestError: a field does not exist or cannot be read as its type.
        """
        known = cls.names()
        unknown = sorted(set(values) - set(known))
        if unknown:
            problem = InvalidRequestError(
                f"{', '.join(unknown)}: no such field; there are {', '.join(known)}"
            )
        else:
            try:
                return cls(**values)
            except InvalidRequestError as error:
                problem = bare(error)
        del values  # which may hold a file
        raise problem

    def __post_init__(self) -> None:
        """Read each field as its type: numbers, booleans and structures may come as text."""
        for f in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            value = getattr(self, f.name)
            if not is_absent(value):
                object.__setattr__(self, f.name, _read(f.metadata["kind"], f.name, value))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all fields."""
        return tuple(f.name for f in fields(cls))  # type: ignore[arg-type]  # subclasses are dataclasses

    def given(self) -> dict[str, Any]:
        """Return the fields that were given, ``extra`` left out."""
        return {
            f.name: value
            for f in fields(self)  # type: ignore[arg-type]  # subclasses are dataclasses
            if f.name != "extra" and not is_absent(value := getattr(self, f.name))
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AvatarRequest(_Request):
    """
    A talking-head video: one face and one voice.

    :param image: the face: an http(s) URL, a path, a storage URI or base64.
    :param audio: the voice as a file: like ``image``.
    :param audio_id: the voice as an id that text-to-speech gave (30 days old at most); or as an object
        ``{"audio_id": ..., "spoken_at": Unix seconds, "duration": seconds}``, whose age and length are checked.
    :param text: the voice as words to speak, together with ``voice_id``.
    :param voice_id: the vendor's id of the speaking voice.
    :param voice_language: ``zh`` or ``en``; read from the text when left out.
    :param voice_speed: 0.8 to 2.0, 1.0 is normal.
    :param prompt: actions, emotion, camera; 2500 characters at most.
    :param mode: ``std`` (default) or ``pro``.
    :param aspect_ratio: such as ``16:9``, where the API has it; elsewhere the image decides.
    :param watermark: also make a watermarked result.
    :param callback_url: the vendor POSTs here at each change of status.
    :param external_task_id: your own id for the task, unique per account.
    :param audio_duration_seconds: 2 to 300 seconds; what ``generations`` bills. Measured from the audio when left out.
    :param extra: further fields, passed to the vendor as they are.
    """

    image: Any = _field("media")
    audio: Any = _field("media")
    audio_id: str | dict[str, Any] | None = _field("speech")
    text: str | None = _field("text")
    voice_id: str | None = _field("text")
    voice_language: str | None = _field("text")
    voice_speed: float | None = _field("number")
    prompt: str | None = _field("text")
    mode: str | None = _field("text")
    aspect_ratio: str | None = _field("text")
    watermark: bool | None = _field("boolean")
    callback_url: str | None = _field("text")
    external_task_id: str | None = _field("text")
    audio_duration_seconds: float | None = _field("number")
    extra: dict[str, Any] | None = _field("object")

    def check_voice(self) -> None:
        """
        Check that exactly one source of the voice is given.

        :raises InvalidRequestError: none, or more than one.
        """
        sources = [name for name in ("audio", "audio_id", "text") if not is_absent(getattr(self, name))]
        if not sources:
            raise InvalidRequestError(
                "the clip has no voice: give exactly one of audio, audio_id, or text with voice_id; "
                "if one of them comes from an upstream task, that task returned nothing",
                field="audio",
            )
        if len(sources) > 1:
            raise InvalidRequestError(
                f"the clip has more than one voice ({' and '.join(sources)}): "
                "give exactly one of audio, audio_id, or text with voice_id",
                field=sources[0],
            )
        if "text" in sources and is_absent(self.voice_id):
            raise InvalidRequestError(
                f"text needs a voice_id to speak it; {known_voices()}", field="voice_id"
            )
        for name in ("voice_id", "voice_speed"):
            if "text" not in sources and not is_absent(getattr(self, name)):
                raise InvalidRequestError(
                    f"{name} is for text, but the voice comes from {sources[0]}: remove one", field=name
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageToVideoRequest(_Request):
    """
    A short video from a picture. At least one of ``image`` and ``image_tail`` is needed.

    :param image: the first frame: an http(s) URL, a path, a storage URI or base64.
    :param image_tail: the last frame, like ``image``. Not together with masks or ``camera_control``; on kling-v1-5 to
        kling-v2-6 in mode ``pro`` only.
    :param prompt: what should happen; 2500 characters at most.
    :param negative_prompt: what should not happen; 2500 characters at most.
    :param model_name: such as ``kling-v2-master``.
    :param cfg_scale: 0 to 1; higher follows the prompt more closely.
    :param mode: ``std`` (default) or ``pro``; ``4k`` on kling-v3.
    :param duration: seconds: 5 or 10 (3 to 15 on kling-v3 models); 5 only with masks, and with a tail frame on models
        that have no longer one.
    :param static_mask: white areas of this image stay still. All masks have one size and the shape of ``image``; on
        CometAPI its size.
    :param dynamic_masks: up to 6 of ``{"mask": image, "trajectories": [{"x": int, "y": int}, ...]}``, pixels.
    :param camera_control: ``{"type": ..., "config": {...}}``.
    :param sound: let the model make sound (kling-v2-6 and later; there in mode ``pro`` only).
    :param voice_list: up to 2 of ``{"voice_id": ...}``.
    :param watermark: also make a watermarked result.
    :param callback_url: the vendor POSTs here at each change of status.
    :param external_task_id: your own id for the task, unique per account.
    :param extra: further fields, passed to the vendor as they are.
    """

    image: Any = _field("media")
    image_tail: Any = _field("media")
    prompt: str | None = _field("text")
    negative_prompt: str | None = _field("text")
    model_name: str | None = _field("text")
    cfg_scale: float | None = _field("number")
    mode: str | None = _field("text")
    duration: str | None = _field("seconds")
    static_mask: Any = _field("media")
    dynamic_masks: list[dict[str, Any]] | None = _field("list")
    camera_control: dict[str, Any] | None = _field("object")
    sound: bool | None = _field("boolean")
    voice_list: list[dict[str, Any]] | None = _field("list")
    watermark: bool | None = _field("boolean")
    callback_url: str | None = _field("text")
    external_task_id: str | None = _field("text")
    extra: dict[str, Any] | None = _field("object")


CHINESE = re.compile(r"[\u3400-\u9fff]")
"""A Chinese character."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechRequest(_Request):
    """
    Words to speak.

    :param text: 1000 characters at most.
    :param voice_id: the vendor's id of the voice; it must exist in ``voice_language``.
    :param voice_language: ``zh`` or ``en``; when left out, ``zh`` if the text holds Chinese characters.
    :param voice_speed: 0.8 to 2.0, 1.0 is normal.
    :param extra: further fields, passed to the vendor as they are.
    """

    text: str | None = _field("text")
    voice_id: str | None = _field("text")
    voice_language: str | None = _field("text")
    voice_speed: float | None = _field("number")
    extra: dict[str, Any] | None = _field("object")

    def language(self) -> str:
        """Return the language to ask for: the given one, or the one the text is written in."""
        return self.voice_language or ("zh" if CHINESE.search(self.text or "") else "en")


VideoRequest = AvatarRequest | ImageToVideoRequest
AnyRequest = AvatarRequest | ImageToVideoRequest | SpeechRequest


class TaskState(Enum):
    """Where a task stands, whatever word the vendor has for it."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """A word this package does not know: keep waiting."""

    def __init__(self, word: str) -> None:
        # Attributes, because naming a member, or looking it up in a set, is slow where thousands wait.
        self.is_queued = word == "queued"
        """Whether the vendor has the task but has not begun with it."""
        self.is_final = word in {"succeeded", "failed"}
        """Whether the task will not change any more."""


class Video(msgspec.Struct, frozen=True, gc=False):
    """
    One finished video.

    :param url: where it can be fetched for a while (30 days at most). Signed: keep it out of logs.
    :param id: the vendor's id of the video.
    :param duration: seconds.
    :param watermark_url: the watermarked variant, if asked for.
    """

    url: str
    id: str | None = None
    duration: float | None = None
    watermark_url: str | None = None

    def __repr__(self) -> str:
        """Show no address."""
        return f"Video(id={self.id!r}, duration={self.duration!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show no address in the tracebacks of rich either, which print local variables."""
        return [("id", self.id), ("duration", self.duration)]


class VideoTask(msgspec.Struct, frozen=True, gc=False):
    """
    A video task as the vendor last described it.

    Not a dataclass: thousands are built while tasks wait, and this costs a tenth.

    :param task_id: the vendor's id.
    :param state: where it stands.
    :param status: the vendor's own word for that.
    :param external_task_id: our id for it, where the API keeps one.
    :param reason: why it failed, in the vendor's words.
    :param reason_code: the code of that failure, where the API gives one.
    :param videos: the results, once succeeded.
    :param units: what was deducted, in the vendor's units, as a decimal text.
    :param cost: what was deducted in money, at the vendor's list price, where it says so.
    :param currency: of ``cost``, where the vendor names it.
    :param created_at: Unix seconds.
    :param updated_at: Unix seconds.
    :param request_id: the vendor's id of the request that told us this.
    """

    task_id: str
    state: TaskState
    status: str = ""
    external_task_id: str | None = None
    reason: str | None = None
    reason_code: int | str | None = None
    videos: tuple[Video, ...] = ()
    units: str | None = None
    cost: Decimal | None = None
    currency: str | None = None
    created_at: float | None = None
    updated_at: float | None = None
    request_id: str | None = None

    @property
    def video(self) -> Video | None:
        """The first video, or ``None`` while there is none."""
        return self.videos[0] if self.videos else None


@dataclass(frozen=True, slots=True)
class Speech:
    """
    Spoken text.

    :param audio_id: what an avatar request takes; kept by the vendor for 30 days.
    :param url: where the sound can be fetched for a while. Signed: keep it out of logs.
    :param duration: seconds.
    :param task_id: the vendor's id of the speech task.
    :param units: what was deducted, in the vendor's units, as a decimal text.
    :param request_id: the vendor's id of the request.
    """

    audio_id: str
    url: str | None = field(default=None, repr=False)
    duration: float | None = None
    task_id: str | None = None
    units: str | None = None
    request_id: str | None = None
