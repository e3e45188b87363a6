"""
Whether a file is a real, whole MP4 film, told from its boxes alone. Reads a few hundred bytes of any film.

It must not know where the file came from. Nothing is decoded: a damaged picture inside is not found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.kling.errors import DamagedVideoError
from airflow_provider_kling_avatar.kling.media.boxes import (
    SMALLEST,
    Box,
    BrokenBoxError,
    CutOffError,
    Reader,
    boxes,
    movie_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

DURATION_TOLERANCE = 1.5
"""
Seconds by which film and vendor may differ. Vendors give the length as text, some rounded up to the next second (as
they bill it); the film's sound ends up to a tenth of a second after its picture. A film of another clip, or half of
this one, differs by more.
"""

_MOST_BOXES = 100_000
"""Of a file. A fragmented film has two for each fragment of a second or so."""

_HEAD = 64


@dataclass(frozen=True, slots=True)
class Film:
    """
    A whole MP4.

    :param size: bytes.
    :param duration: seconds; ``None`` for one in fragments that does not tell.
    """

    size: int
    duration: float | None


def check_film(read: Reader, size: int, expected_seconds: float | None = None) -> Film:
    """
    Check that a file is a whole MP4 with a picture in it.

    :param read: reads the file.
    :param size: of the file, in bytes.
    :param expected_seconds: how long the vendor says the film is; ``None`` if it does not.
    :raises DamagedVideoError: it is something else, or not all there, or of another length.
    """
    if not size:
        raise DamagedVideoError("the vendor's link gave an empty file (0 bytes)")
    begin = read(0, _HEAD)
    if begin[4:8] != b"ftyp":
        raise DamagedVideoError(f"the vendor's link gave no MP4 but {_looks_like(begin)} of {size} bytes")
    top = _walk(read, 0, size, "the file")
    index = _one(top, b"moov")
    if index is None:
        raise DamagedVideoError("the MP4 has no index (moov): it is cut off, or was never finished")
    inside = _walk(read, index.body, index.end, "its index")
    _check_picture(read, inside, size)
    if not any(box.name == b"mdat" and box.size for box in top):
        raise DamagedVideoError("the MP4 has an index but no film (mdat)")
    duration = _duration(read, inside)
    _check_duration(duration, expected_seconds)
    return Film(size, duration)


def _walk(read: Reader, start: int, end: int, what: str) -> list[Box]:
    """Return the boxes of a stretch that they must fill exactly."""
    found: list[Box] = []
    try:
        for box in boxes(read, start, end):
            found.append(box)
            if len(found) > _MOST_BOXES:
                raise DamagedVideoError(f"the MP4 is damaged: {what} has more than {_MOST_BOXES} boxes")
    except CutOffError as error:
        raise DamagedVideoError(f"the MP4 is cut off: in {what} {error}") from None
    except BrokenBoxError as error:
        raise DamagedVideoError(f"the MP4 is damaged: {error}") from None
    left = end - (found[-1].end if found else start)
    # Some writers end a list of boxes inside the index with four zeros; a file ends with its last box.
    if left and (what == "the file" or left >= SMALLEST or any(read(end - left, left))):
        raise DamagedVideoError(f"the MP4 is cut off: the last {left} bytes of {what} are the start of more")
    return found


def _one(found: Iterable[Box], name: bytes) -> Box | None:
    return next((box for box in found if box.name == name), None)


def _check_picture(read: Reader, index: list[Box], size: int) -> None:
    """Check that one track is a picture, and that the pieces that any track points to are inside the file."""
    kinds = set()
    for track in (box for box in index if box.name == b"trak"):
        media = _one(_walk(read, track.body, track.end, "a track"), b"mdia")
        if media is None:
            continue
        parts = _walk(read, media.body, media.end, "a track")
        handler = _one(parts, b"hdlr")
        if handler is not None:
            kinds.add(read(handler.body + 8, 4))
        _check_offset(_last_offset(read, parts), size)
    if b"vide" not in kinds:
        raise DamagedVideoError("the MP4 has no picture in it")


def _last_offset(read: Reader, media: list[Box]) -> int:
    """Return where the last piece of a track begins, in bytes; 0 if it has none, as in a film of fragments."""
    information = _one(media, b"minf")
    table = information and _one(_walk(read, information.body, information.end, "a track"), b"stbl")
    if not table:
        return 0
    for box in _walk(read, table.body, table.end, "a track"):
        width = {b"stco": 4, b"co64": 8}.get(box.name)
        if width is not None and box.size >= 8 + width:
            return int.from_bytes(read(box.end - width, width), "big")
    return 0


def _check_offset(offset: int, size: int) -> None:
    if offset >= size:
        raise DamagedVideoError(
            f"the MP4 is cut off: a piece of the film is at byte {offset}, {size} bytes are there"
        )


def _duration(read: Reader, index: list[Box]) -> float | None:
    header = _one(index, b"mvhd")
    if header is None:
        raise DamagedVideoError("the MP4 is damaged: its index has no header (mvhd)")
    seconds = movie_seconds(read(header.body, min(header.size, _HEAD)))
    if seconds:
        return seconds
    extends = _one(index, b"mvex")
    if extends is None:
        raise DamagedVideoError("the MP4 is damaged: it is 0 seconds long")
    return _fragments_duration(read, header, extends)


def _fragments_duration(read: Reader, header: Box, extends: Box) -> float | None:
    """Return the length of all fragments in seconds, if it is written down."""
    whole = _one(_walk(read, extends.body, extends.end, "its index"), b"mehd")
    if whole is None:
        return None
    head = read(header.body, 24)
    scale = int.from_bytes(head[20:24] if head[:1] == b"\1" else head[12:16], "big")
    length = read(whole.body + 4, 8 if read(whole.body, 1) == b"\1" else 4)
    return int.from_bytes(length, "big") / scale if scale else None


def _check_duration(seconds: float | None, expected: float | None) -> None:
    if seconds is None or not expected:
        return
    if abs(seconds - expected) > DURATION_TOLERANCE:
        raise DamagedVideoError(
            f"the MP4 is {seconds:.1f} s long, but the vendor said {expected:.1f} s: it is another clip, or not whole"
        )


def _looks_like(begin: bytes) -> str:
    text = begin.lstrip(b"\xef\xbb\xbf \t\r\n")[:16].lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if text.startswith(b"<?xml"):
        return "an XML text"
    if text.startswith((b"{", b"[")):
        return "a JSON text"
    return "something else"
