"""
What a vendor takes, whether a measured file fits, and how to word that it does not.

It knows limits and how common files begin. It must not know how a file is opened or measured.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_kling_avatar.kling.errors import MediaError

if TYPE_CHECKING:
    from collections.abc import Mapping

UPPER_TOLERANCE_SECONDS = 0.2
"""Encoders work in whole frames and pad both ends: exactly 300 s become 300.04 s as MP3 at 44.1 kHz and
300.17 s at 8 kHz. Whoever cut the audio to the limit must not be refused for that."""

LOWER_TOLERANCE_SECONDS = 0.01
"""Rounding only: resampling may lose a few samples of exactly 2 s."""


@dataclass(frozen=True, slots=True)
class MediaRules:
    """
    What one field of one API takes; built from a schema's ``x-media`` annotation. ``None`` means no limit.

    :param kind: what the field is for.
    :param accepts: the forms it takes, of ``"url"`` and ``"base64"``.
    :param formats: the formats it takes, as ``ImageInfo.format`` and ``AudioInfo.format`` name them; none means any.
    :param max_bytes: of the file itself, before base64.
    :param min_side_pixels: of the shorter side.
    :param max_aspect_ratio: longer side to shorter side.
    :param min_seconds: shortest audio.
    :param max_seconds: longest audio.
    :param warn_above_seconds: documents disagree from here on: warn, do not refuse.
    :param source: the vendor page the limits come from.
    """

    kind: Literal["image", "audio"]
    accepts: tuple[str, ...]
    formats: tuple[str, ...]
    max_bytes: int | None = None
    min_side_pixels: int | None = None
    max_aspect_ratio: float | None = None
    min_seconds: float | None = None
    max_seconds: float | None = None
    warn_above_seconds: float | None = None
    source: str = ""

    @classmethod
    def from_schema(cls, annotation: Mapping[str, object]) -> MediaRules:
        """
        Build the rules from an ``x-media`` annotation.

        :raises TypeError: an entry is missing or not known: an error in the schema, not in the Dag.
        """
        entries: dict[str, Any] = dict(annotation)
        for name in ("accepts", "formats"):
            if name in entries:
                entries[name] = tuple(entries[name])
        return cls(**entries)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """
    What a picture's content says about it.

    :param format: ``"jpeg"``, ``"png"``, or what else it is (``"gif"``, ``"webp"``).
    :param width: pixels, as stored; a camera's orientation flag is not applied.
    :param height: pixels, as stored.
    :param size: bytes of the file.
    """

    format: str
    width: int
    height: int
    size: int


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """
    What an audio file's content says about it.

    :param format: ``"mp3"``, ``"wav"``, ``"m4a"``, ``"aac"``, or what else it is.
    :param seconds: playing time.
    :param size: bytes of the file.
    """

    format: str
    seconds: float
    size: int


def check(info: ImageInfo | AudioInfo, rules: MediaRules, field: str) -> list[str]:
    """
    Hold a measured file against the rules.

    :param field: for messages.
    :return: warnings, where documents disagree.
    :raises MediaError: a rule is broken.
    """
    if rules.formats and info.format not in rules.formats:
        known = ", ".join(name.upper() for name in rules.formats)
        actual = info.format.upper()
        message = f"{field} is {actual}, whatever its name says; it must be {known}: convert it"
        raise misfit(message, field=field, source=rules.source)
    if rules.max_bytes is not None and info.size > rules.max_bytes:
        message = f"{field} {too_large(info.size, rules.max_bytes)}"
        raise misfit(message, field=field, source=rules.source)
    broken = _broken_shape(info, rules) if isinstance(info, ImageInfo) else _broken_length(info, rules)
    if broken:
        raise MediaError(f"{field} is {broken}", field=field, source=rules.source)
    limit = rules.warn_above_seconds
    if isinstance(info, AudioInfo) and limit is not None and info.seconds > limit + UPPER_TOLERANCE_SECONDS:
        return [doubtful(f"{field} is {info.seconds:.2f} seconds long", limit, rules.source)]
    return []


def misfit(message: str, *, field: str | None = None, source: str = "") -> MediaError:
    """Return the error about a file that would fit if it were encoded anew: too large, or of another format."""
    error = MediaError(message, field=field, source=source)
    error.encoding_helps = True
    return error


def _broken_shape(info: ImageInfo, rules: MediaRules) -> str | None:
    short, long = sorted((info.width, info.height))
    shape = f"{info.width}x{info.height} pixels"
    if rules.min_side_pixels is not None and short < rules.min_side_pixels:
        return f"{shape}; every side must be at least {rules.min_side_pixels}: enlarge it or take another"
    # Multiplied, not divided: exactly 2.5 must pass whatever floats do.
    if rules.max_aspect_ratio is not None and long > rules.max_aspect_ratio * short:
        ratio = f"{long / short:.2f}:1" if short else "endless"
        return (
            f"{shape}, an aspect ratio of {ratio}; at most {rules.max_aspect_ratio:g}:1 either way: crop it"
        )
    return None


def _broken_length(info: AudioInfo, rules: MediaRules) -> str | None:
    length = f"{info.seconds:.2f} seconds long"
    if rules.min_seconds is not None and info.seconds < rules.min_seconds - LOWER_TOLERANCE_SECONDS:
        return f"{length}; at least {rules.min_seconds:g} are needed: say more or add silence at the end"
    if rules.max_seconds is not None and info.seconds > rules.max_seconds + UPPER_TOLERANCE_SECONDS:
        return f"{length}; at most {rules.max_seconds:g} are accepted: split it into several clips"
    return None


def doubtful(what: str, limit: float, source: str) -> str:
    """
    Word a warning: a limit is passed on which the vendor's documents disagree.

    :param what: the field and its size, as a clause.
    :param limit: the smaller of the limits.
    :param source: the page that names it.
    """
    page = f" (see {source})" if source else ""
    return f"{what}; by some of its documents this API takes at most {limit:g} and may refuse it{page}"


def without_padding(seconds: float, rules: MediaRules) -> float:
    """Return a length that passed `check` as one within the limits: what is tolerated is an encoder's padding."""
    longest = seconds if rules.max_seconds is None else rules.max_seconds
    return max(rules.min_seconds or 0, min(seconds, longest))


def too_large(size: int | None, limit: int) -> str:
    """Word a broken size limit. `size` is in bytes, `None` if reading stopped at the limit."""
    measured = f"more than {limit}" if size is None else f"{size}"
    mebibytes = "" if size is None else f" ({size / 2**20:.1f} MiB)"
    return (
        f"is {measured} bytes{mebibytes} large; at most {limit} ({limit / 2**20:.1f} MiB) are accepted: "
        "compress it or store it at a lower quality"
    )


_BEGINNINGS = (
    (rb"GIF8", "a GIF"),
    (rb"\x89PNG", "a damaged PNG"),
    (rb"\xff\xd8\xff", "a damaged JPEG"),
    (rb"RIFF....WEBP", "a WebP picture"),
    (rb"....ftyp(?:heic|heix|hevc|mif1|msf1)", "a HEIC picture, as iPhones take it"),
    (rb"....ftypavi[fs]", "an AVIF picture"),
    (rb"....ftyp", "an MP4 or QuickTime file"),
    (rb"RIFF....WAVE", "a WAV audio"),
    (rb"RIFF....AVI ", "an AVI video"),
    (rb"OggS", "an Ogg audio (Vorbis or Opus)"),
    (rb"fLaC", "a FLAC audio"),
    (rb"FORM....AIF[FC]", "an AIFF audio"),
    (rb"#!AMR", "an AMR audio"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a WMA audio"),
    (rb"\x1a\x45\xdf\xa3", "a WebM or Matroska file"),
    (rb"ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]", "an MPEG audio"),
    (rb"\xff[\xf0\xf1\xf8\xf9]", "an AAC audio"),
    (rb"%PDF", "a PDF"),
    (rb"PK\x03\x04", "a ZIP archive"),
    (rb"\x1f\x8b", "a gzip archive"),
    (rb"\s*<svg|\s*<\?xml", "an SVG or XML text"),
    (rb"(?i)\s*<!doctype html|\s*<html", "a web page, perhaps an error page saved under this name"),
    (rb"\s*[\[{]\s*[\"{\]}]", "a JSON text, perhaps an error message saved under this name"),
)
_NAMES = tuple((re.compile(beginning, re.DOTALL), name) for beginning, name in _BEGINNINGS)


def looks_like(data: bytes) -> str:
    """Describe a file by its first bytes, as in "it looks like a GIF"."""
    head = data[:64]
    for pattern, name in _NAMES:
        if pattern.match(head):
            return f"it looks like {name}"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character was merely cut in two
            return "its content has no known beginning"
    return "its content has no known beginning" if b"\0" in head else "it looks like a text"
