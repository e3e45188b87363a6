"""
What an MP4 file (ISO 14496-12) says about itself in its boxes, and whether it is a real, whole film.

Reads a few hundred bytes of any film. It must not know where the file came from. Nothing is decoded: a damaged picture
inside is not found.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from airflow_provider_kling_avatar.kling.errors import DamagedVideoError
from airflow_provider_kling_avatar.kling.media.rules import looks_like

if TYPE_CHECKING:
    from collections.abc import Iterator

DURATION_TOLERANCE = 1.5
"""
Seconds by which film and vendor may differ. Vendors give the length as text, some rounded up to the next second (as
they bill it); the film's sound ends up to a tenth of a second after its picture. A film of another clip, or half of
this one, differs by more.
"""

_MOST_BOXES = 100_000
"""Of a file. A fragmented film has two for each fragment of a second or so."""
_SMALLEST = 8
"""Bytes of a box's head: its size and its name."""
_HEAD = 64

_OPENED: Final = {
    b"": {b"moov"},
    b"moov": {b"trak", b"mvex"},
    b"trak": {b"mdia"},
    b"mdia": {b"minf"},
    b"minf": {b"stbl"},
}
"""The way to the boxes that are looked at: which are opened inside of which; the file itself has no name."""


@dataclass(frozen=True, slots=True)
class Box:
    """
    One box.

    :param name: four bytes, such as ``b"moov"``.
    :param body: position of its contents, in bytes from the beginning of the file.
    :param end: position behind it.
    """

    name: bytes
    body: int
    end: int

    @property
    def size(self) -> int:
        """Bytes of its contents."""
        return self.end - self.body


class BrokenBoxError(ValueError):
    """A box has an impossible size."""


class CutOffError(BrokenBoxError):
    """
    A box is not all there.

    :param announced: bytes that there should be at least.
    :param present: bytes that there are.
    """

    def __init__(self, announced: int, present: int) -> None:
        super().__init__(f"{announced} bytes are announced, {present} are there")


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[Box]:
    """
    Walk the boxes between two positions; what is left behind the last, less than a head, is not told.

    :param file: open for reading, buffered.
    :param start: bytes from the beginning of the file.
    :param end: the same.
    :raises CutOffError: a box goes on beyond the end.
    :raises BrokenBoxError: a box is smaller than its own head.
    """
    position = start
    while position + _SMALLEST <= end:
        head = _read(file, position, 16)
        size, body = int.from_bytes(head[:4], "big"), position + _SMALLEST
        if size == 1:  # too large for four bytes
            size, body = int.from_bytes(head[8:16], "big"), position + 16
        elif size == 0:  # goes on to the end of what it is in
            size = end - position
        if position + size < body:
            raise BrokenBoxError(f"a box at byte {position} is smaller than its own head")
        if position + size > end:
            raise CutOffError(position + size, end)
        yield Box(head[4:8], body, position + size)
        position += size


def movie_seconds(header: bytes, fragments: bytes = b"") -> float:
    """
    Return how long a movie is; 0 if that does not stand in its headers.

    :param header: the contents of its header (``mvhd``).
    :param fragments: those of the header about its fragments (``mehd``), which tells what the first one does not.
    """
    is_long = header[:1] == b"\1"
    per_second = int.from_bytes(header[20:24] if is_long else header[12:16], "big")
    units = _units(header[24:32] if is_long else header[16:20]) or _units(
        fragments[4:12] if fragments[:1] == b"\1" else fragments[4:8]
    )
    return units / per_second if per_second else 0.0


def _units(length: bytes) -> int:
    """Read a length; with every bit set it is unknown."""
    units = int.from_bytes(length, "big")
    return 0 if units == (1 << 8 * len(length)) - 1 else units


def check_film(film: BinaryIO, expected_seconds: float | None = None) -> float | None:
    """
    Check that a file is a whole MP4 with a picture in it, and return its length.

    :param film: open for reading, buffered.
    :param expected_seconds: how long the vendor says the film is; ``None`` if it does not.
    :return: seconds; ``None`` for a film in fragments that does not tell.
    :raises DamagedVideoError: it is something else, or not all there, or of another length.
    """
    size = film.seek(0, os.SEEK_END)
    if not size:
        raise DamagedVideoError("the vendor's link gave an empty file (0 bytes)")
    begin = _read(film, 0, _HEAD)
    if begin[4:8] != b"ftyp":
        raise DamagedVideoError(f"the vendor's link gave no MP4 but {size} bytes: {looks_like(begin)}")
    found: dict[bytes, list[Box]] = defaultdict(list)
    for count, box in enumerate(_inside(film, 0, size), 1):
        if count > _MOST_BOXES:
            raise DamagedVideoError(f"the MP4 is damaged: it has more than {_MOST_BOXES} boxes")
        found[box.name].append(box)
    if not found[b"moov"]:
        raise DamagedVideoError("the MP4 has no index (moov): it is cut off, or was never finished")
    if not any(_read(film, handler.body + 8, 4) == b"vide" for handler in found[b"hdlr"]):
        raise DamagedVideoError("the MP4 has no picture in it")
    for table, width in [(b"stco", 4), (b"co64", 8)]:
        for box in found[table]:
            _check_last_piece(int.from_bytes(_read(film, box.end - width, width), "big"), size)
    if not any(box.size for box in found[b"mdat"]):
        raise DamagedVideoError("the MP4 has an index but no film (mdat)")
    return _seconds(film, found, expected_seconds)


def _read(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)


def _inside(film: BinaryIO, start: int, end: int, name: bytes = b"") -> Iterator[Box]:
    """Walk the boxes in a box of this name, and those in them, which they must fill exactly."""
    what, position = "its index" if name else "the file", start
    try:
        for box in boxes(film, start, end):
            yield box
            if box.name in _OPENED.get(name, ()):
                yield from _inside(film, box.body, box.end, box.name)
            position = box.end
    except CutOffError as error:
        raise DamagedVideoError(f"the MP4 is cut off: in {what} {error}") from None
    except BrokenBoxError as error:
        raise DamagedVideoError(f"the MP4 is damaged: {error}") from None
    left = end - position
    # Some writers end a list of boxes inside the index with four zeros; a file ends with its last box.
    if left and (not name or any(_read(film, position, left))):
        raise DamagedVideoError(f"the MP4 is cut off: the last {left} bytes of {what} are the start of more")


def _check_last_piece(position: int, size: int) -> None:
    """Check that where a track's last piece begins is inside the file: a last box without a size hides a cut."""
    if position >= size:
        raise DamagedVideoError(
            f"the MP4 is cut off: a piece of the film is at byte {position}, {size} bytes are there"
        )


def _seconds(film: BinaryIO, found: dict[bytes, list[Box]], expected: float | None) -> float | None:
    if not found[b"mvhd"]:
        raise DamagedVideoError("the MP4 is damaged: its index has no header (mvhd)")
    seconds = movie_seconds(
        *(_read(film, box.body, _HEAD) for name in (b"mvhd", b"mehd") for box in found[name][:1])
    )
    if not seconds:
        if found[b"mvex"]:
            return None
        raise DamagedVideoError("the MP4 is damaged: it is 0 seconds long")
    if expected and abs(seconds - expected) > DURATION_TOLERANCE:
        raise DamagedVideoError(
            f"the MP4 is {seconds:.1f} s long, but the vendor said {expected:.1f} s: it is another clip, or not whole"
        )
    return seconds
