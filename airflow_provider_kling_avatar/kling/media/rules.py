"""
What a vendor takes, and whether a measured file fits.

It knows limits and how to word a broken one. It must not know how a file is opened or measured.
"""

from __future__ import annotations

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
        raise _broken(
            rules, field, f"{field} is {actual}, whatever its name says; it must be {known}: convert it"
        )
    if rules.max_bytes is not None and info.size > rules.max_bytes:
        raise _broken(rules, field, f"{field} {too_large(info.size, rules.max_bytes)}")
    if isinstance(info, ImageInfo):
        _check_shape(info, rules, field)
        return []
    return _check_length(info, rules, field)


def _check_shape(info: ImageInfo, rules: MediaRules, field: str) -> None:
    short, long = sorted((info.width, info.height))
    shape = f"{field} is {info.width}x{info.height} pixels"
    if rules.min_side_pixels is not None and short < rules.min_side_pixels:
        raise _broken(
            rules,
            field,
            f"{shape}; every side must be at least {rules.min_side_pixels}: enlarge it or take another",
        )
    # Multiplied, not divided: exactly 2.5 must pass whatever floats do.
    if rules.max_aspect_ratio is not None and long > rules.max_aspect_ratio * short:
        ratio = f"{long / short:.2f}:1" if short else "endless"
        raise _broken(
            rules,
            field,
            f"{shape}, an aspect ratio of {ratio}; at most {rules.max_aspect_ratio:g}:1 either way: crop it",
        )


def _check_length(info: AudioInfo, rules: MediaRules, field: str) -> list[str]:
    length = f"{field} is {info.seconds:.2f} seconds long"
    if rules.min_seconds is not None and info.seconds < rules.min_seconds - LOWER_TOLERANCE_SECONDS:
        raise _broken(
            rules,
            field,
            f"{length}; at least {rules.min_seconds:g} are needed: say more or add silence at the end",
        )
    if rules.max_seconds is not None and info.seconds > rules.max_seconds + UPPER_TOLERANCE_SECONDS:
        raise _broken(
            rules, field, f"{length}; at most {rules.max_seconds:g} are accepted: split it into several clips"
        )
    limit = rules.warn_above_seconds
    if limit is not None and info.seconds > limit + UPPER_TOLERANCE_SECONDS:
        return [doubtful(length, limit, rules.source)]
    return []


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


def _broken(rules: MediaRules, field: str, message: str) -> MediaError:
    return MediaError(message, field=field, source=rules.source)
