"""
From a request to a body that is ready to be paid for: media opened and measured, every rule checked.

Everything in here is free. What comes out has a fingerprint, so that the work can be named before it is sent.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_kling_avatar.kling import media
from airflow_provider_kling_avatar.kling.dialects.base import ENDPOINT_OF
from airflow_provider_kling_avatar.kling.errors import InvalidRequestError, KlingError, MediaError, bare
from airflow_provider_kling_avatar.kling.models import (
    EndpointName,
    ImageToVideoRequest,
    SpeechRequest,
    VideoRequest,
    is_absent,
)
from airflow_provider_kling_avatar.kling.submission.identity import fingerprint
from airflow_provider_kling_avatar.kling.submission.speech import given_speech, length_problem
from airflow_provider_kling_avatar.kling.voices import known_voices

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_kling_avatar.kling.dialects import Dialect
    from airflow_provider_kling_avatar.kling.download.ssrf import AddressRules
    from airflow_provider_kling_avatar.kling.submission.identity import Fingerprint
    from airflow_provider_kling_avatar.kling.submission.speech import Spoken

log = logging.getLogger(__name__)

MEDIA_FIELDS = ("image", "audio", "image_tail", "static_mask")
ALL_MEDIA_FIELDS = (*MEDIA_FIELDS, "audio_id", "dynamic_masks")
"""With those that are no file: other ones make another clip, all the same."""
SPOKEN_FIELDS = ("text", "voice_id", "voice_language", "voice_speed")
LONGEST_AUDIO_DOWNLOAD_BYTES = 50 * 1024 * 1024
"""An audio file of 300 s is rarely larger; the bound protects the worker that measures it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """
    A checked request, one step before it costs money.

    :param endpoint: what it is for.
    :param body: in the vendor's words; still without ``audio_id`` if there is `speech`.
    :param speech: body of the text-to-speech call that comes first, where the API does not speak itself.
    :param audio_seconds: length of the voice, where it could be measured.
    :param fingerprint: of all that is paid for.
    :param spoken_at: when its ``audio_id`` was made, Unix seconds, where that is known.
    """

    endpoint: EndpointName
    body: dict[str, Any] = field(repr=False)
    speech: dict[str, Any] | None = field(repr=False)
    audio_seconds: float | None
    fingerprint: Fingerprint
    spoken_at: float | None = None

    def body_with(self, dialect: Dialect, **late: str | None) -> dict[str, Any]:
        """
        Return the body with what is only known when it is sent.

        :param dialect: the API, for its names of the fields.
        :param late: our fields, ``external_task_id`` or ``audio_id``; ``None`` leaves one as it is.
        """
        fields = dialect.endpoint(self.endpoint).fields
        return self.body | {fields[name].name: value for name, value in late.items() if value is not None}

    def own_name(self, dialect: Dialect) -> str | None:
        """Return the user's own ``external_task_id``, where the API keeps one."""
        name = dialect.endpoint(self.endpoint).fields.get("external_task_id")
        return (self.body.get(name.name) if name else None) or None


def prepare(
    request: VideoRequest,
    dialect: Dialect,
    *,
    opener: media.Opener | None = None,
    signer: media.Signer | None = None,
    validate: bool = True,
    transcode_audio: bool = False,
    address_rules: AddressRules | None = None,
) -> Prepared:
    """
    Open, measure, check and encode everything a video request needs.

    :param request: what is wanted.
    :param dialect: the API it goes to.
    :param opener: opens storage URIs.
    :param signer: makes links to files in a storage, for an API that takes only URLs.
    :param transcode_audio: re-encode a voice that is too large or of a format that is not taken.
    :param validate: ``False`` skips the limits (sizes, lengths, schema), for vendors that changed theirs.
    :param address_rules: which addresses may be asked for an audio that has to be measured; only public ones if left
        out.
    :raises InvalidRequestError: names the field, the rule and the remedy; nothing was sent or paid.
    """
    try:
        return _Preparation(request, dialect, opener, signer, validate, transcode_audio, address_rules).run()
    except KlingError as error:
        problem = bare(error)  # of frames that hold the files
    raise problem


@dataclass(slots=True, repr=False)
class _Preparation:
    """One request on its way to a body; the parameters are `prepare`'s."""

    request: VideoRequest
    dialect: Dialect
    opener: media.Opener | None
    signer: media.Signer | None
    validate: bool
    transcode_audio: bool
    address_rules: AddressRules | None
    endpoint: EndpointName = field(init=False)
    given: dict[str, Any] = field(init=False)
    """The request's fields in our words; media are replaced by what goes on the wire."""

    def run(self) -> Prepared:
        self.endpoint, dialect = ENDPOINT_OF[type(self.request)], self.dialect
        fields = dialect.endpoint(self.endpoint).fields
        self.given = self.request.given()
        words = self._take_words()
        voice = self._take_voice()
        if (
            self.transcode_audio
            and "audio" in self.given
            and not dialect.accepts_files(self.endpoint, "audio")
        ):
            raise MediaError(
                f"transcode_audio: {dialect.title} takes only URLs, so there is no file to re-encode; re-encode it "
                "beforehand, or use a connection whose api takes files: kling, cometapi, relay",
                field="transcode_audio",
            )
        # Written once without media: a field the API does not have is refused before any file is opened.
        dialect.body(self.endpoint, self.given, self.request.extra)
        media_seconds = self._open_media()
        body = dialect.body(self.endpoint, self.given, self.request.extra)
        if self.validate:
            pending = {fields["audio_id"].name: "pending"} if words else {}
            _warn(dialect.check(self.endpoint, body | pending))
        speech = speech_body(words, dialect, validate=self.validate) if words else None
        # Small: a fingerprint writes out all it is given.
        inputs = media.digested({**body, "speech": speech or {}})
        media_fields = {fields[name].name for name in ALL_MEDIA_FIELDS if name in fields}
        return Prepared(
            self.endpoint,
            body,
            speech,
            audio_seconds=media_seconds if voice is None else voice.duration,
            fingerprint=fingerprint(inputs, media_fields, self.endpoint),
            spoken_at=voice.spoken_at if voice else None,
        )

    def _take_words(self) -> SpeechRequest | None:
        """Take the words out of the fields, where this API does not speak them itself."""
        request, dialect = self.request, self.dialect
        if isinstance(request, ImageToVideoRequest):
            return None
        request.check_voice()
        self.given.setdefault("image", request.image)  # an image that is missing is told of by `media`
        if "text" not in self.given or dialect.takes("avatar", "text"):
            return None
        if "speech" not in dialect.endpoints or not dialect.takes("avatar", "audio_id"):
            raise dialect.unsupported(
                "text: it neither speaks itself nor has text-to-speech",
                lambda other: "speech" in other.endpoints or other.takes("avatar", "text"),
                field="text",
            )
        for name in SPOKEN_FIELDS:
            self.given.pop(name, None)
        return SpeechRequest(**{name: getattr(request, name) for name in SPOKEN_FIELDS})

    def _take_voice(self) -> Spoken | None:
        """Put the bare id in the place of a speech that was given, and check its length as far as it is known."""
        if "audio_id" not in self.given:
            return None
        voice = given_speech(self.given["audio_id"])
        self.given["audio_id"] = voice.audio_id
        problem = length_problem(voice.duration, self.dialect)
        if problem and self.validate:
            raise InvalidRequestError(f"audio_id: {problem.message}", field="audio_id")
        return voice

    def _open_media(self) -> float | None:
        """Replace every media field by what goes on the wire; return the seconds of the audio, if it was measured."""
        measured: dict[str, media.ImageInfo | media.AudioInfo | None] = {}
        for name in MEDIA_FIELDS:
            if name in self.given:
                ready = self._ready(self.given[name], self._rules(name), name)
                self.given[name], measured[name] = ready.value, ready.info
        masks = list(self.given.get("dynamic_masks", []))  # the request keeps its own
        for number, mask in enumerate(masks):
            ready = self._dynamic_mask(number, mask)
            masks[number] = {**mask, "mask": ready.value}
            measured[f"dynamic_masks.{number}.mask"] = ready.info
        if masks:
            self.given["dynamic_masks"] = masks
        if self.validate:
            _check_masks(measured, self.dialect.schema(self.endpoint))
        audio = measured.get("audio")
        seconds = audio.seconds if isinstance(audio, media.AudioInfo) else None
        wants_seconds = self.dialect.takes(self.endpoint, "audio_duration_seconds")
        if wants_seconds and "audio_duration_seconds" not in self.given:
            if seconds is None:
                seconds = self._measure(self.given["audio"])
            self.given["audio_duration_seconds"] = round(
                media.without_padding(seconds, self._rules("audio")), 3
            )
        return seconds

    def _dynamic_mask(self, number: int, mask: Any) -> media.PreparedMedia:
        name = f"dynamic_masks.{number}.mask"
        if not isinstance(mask, dict):
            raise InvalidRequestError(
                f"dynamic_masks.{number} must be an object with mask and trajectories", field="dynamic_masks"
            )
        items = self.dialect.schema(self.endpoint)["properties"]["dynamic_masks"]["items"]
        return self._ready(mask.get("mask"), self._rules_in(items["properties"]["mask"]["x-media"]), name)

    def _rules(self, field_name: str) -> media.MediaRules:
        return self._rules_in(self.dialect.media_annotation(self.endpoint, field_name))

    def _rules_in(self, annotation: Mapping[str, Any]) -> media.MediaRules:
        rules = media.MediaRules.from_schema(annotation)
        if self.validate:
            return rules
        return replace(
            rules,
            formats=(),
            max_bytes=None,
            min_side_pixels=None,
            max_aspect_ratio=None,
            min_seconds=None,
            max_seconds=None,
            warn_above_seconds=None,
        )

    def _ready(self, source: Any, rules: media.MediaRules, name: str) -> media.PreparedMedia:
        ready = media.prepare_media(
            source,
            rules,
            field=name,
            opener=self.opener,
            signer=self.signer,
            transcode=self.transcode_audio,
        )
        _warn(ready.warnings)
        return ready

    def _measure(self, url: str) -> float:
        """Measure the audio that the vendor will bill by its declared length: a guess would be billed too."""
        rules = self._rules("audio")
        most = rules.max_bytes or LONGEST_AUDIO_DOWNLOAD_BYTES
        try:
            info = media.measure_audio(media.fetch_url(url, max_bytes=most, address_rules=self.address_rules))
        except InvalidRequestError as error:
            raise InvalidRequestError(
                f"audio could not be measured, and this API bills by its length: {error.message}; "
                "give audio_duration_seconds yourself if the file is right",
                field="audio",
            ) from error
        _warn(media.check(info, rules, "audio"))
        return info.seconds


def speech_body(request: SpeechRequest, dialect: Dialect, *, validate: bool = True) -> dict[str, Any]:
    """
    Write and check the body of a text-to-speech call. Free.

    :param validate: ``False`` skips the limits.
    :raises InvalidRequestError: names the field, the rule and the remedy.
    """
    for name, known in (("text", ""), ("voice_id", f"; {known_voices()}")):
        if is_absent(getattr(request, name)):
            raise InvalidRequestError(
                f"{name} is empty: text-to-speech needs text and voice_id; if it comes from an upstream task, "
                f"that task returned nothing{known}",
                field=name,
            )
    given: dict[str, Any] = {**request.given(), "voice_language": request.language()}
    body = dialect.body("speech", given, request.extra)
    if validate:
        _warn(dialect.check("speech", body))
    return body


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        log.warning("%s", warning)


def _check_masks(
    measured: Mapping[str, media.ImageInfo | media.AudioInfo | None], schema: Mapping[str, Any]
) -> None:
    """
    Check that masks fit the image they lie on and each other, as far as they are at hand to be measured.

    :param schema: its ``x-masks`` tells whether the vendor wants them in the image's ``size`` or only in its ``shape``.
    """
    masks = {
        name: info
        for name, info in measured.items()
        if name.endswith("mask") and isinstance(info, media.ImageInfo)
    }
    image = measured.get("image")
    for name, mask in masks.items():
        first, its = next(iter(masks.items()))
        fits = _has_shape if schema["x-masks"] == "shape" else _has_size
        if isinstance(image, media.ImageInfo) and not fits(mask, image):
            other, wanted = f"image is {image.width}x{image.height}", f"the {schema['x-masks']} of its image"
        elif not _has_size(mask, its):
            other, wanted = f"{first} is {its.width}x{its.height}", "the size of the others"
        else:
            continue
        raise MediaError(
            f"{name} is {mask.width}x{mask.height} pixels, but {other}: a mask must have {wanted}; resize it",
            field=name.partition(".")[0],
            source=schema["x-source"],
        )


def _has_size(mask: media.ImageInfo, image: media.ImageInfo) -> bool:
    return (mask.width, mask.height) == (image.width, image.height)


def _has_shape(mask: media.ImageInfo, image: media.ImageInfo) -> bool:
    """Compare aspect ratios, to the half pixel that resizing rounds off."""
    difference = abs(mask.width * image.height - mask.height * image.width)
    return difference <= max(image.width, image.height) / 2
