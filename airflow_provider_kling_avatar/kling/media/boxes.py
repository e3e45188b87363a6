"""
The boxes that an MP4 file (ISO 14496-12) is made of, walked without reading what is in them.

It knows sizes and names. What a box means, and what to say when the walk ends early, is for those who ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

Reader: TypeAlias = Callable[[int, int], bytes]
"""Returns so many bytes (second) from a position (first) on; fewer at the end."""

SMALLEST = 8
"""Bytes of a box's head: its size and its name."""


@dataclass(frozen=True, slots=True)
class Box:
    """
    One box.

    :param name: four bytes, such as ``b"moov"``.
    :param body: position of its contents, in bytes from the beginning of the file.
    :param end: position behind it.
    :param open_ended: it has no size of its own, but goes on to the end of what it is in.
    """

    name: bytes
    body: int
    end: int
    open_ended: bool = False

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
        self.announced = announced
        self.present = present
        super().__init__(f"{announced} bytes are announced, {present} are there")


def boxes(read: Reader, start: int, end: int) -> Iterator[Box]:
    """
    Walk the boxes between two positions; what is left behind the last, less than a head, is not told.

    :param read: reads the file.
    :param start: bytes from the beginning of the file.
    :param end: the same.
    :raises CutOffError: a box goes on beyond the end.
    :raises BrokenBoxError: a box is smaller than its own head.
    """
    position = start
    while position + SMALLEST <= end:
        head = read(position, 16)
        size, body = int.from_bytes(head[:4], "big"), position + SMALLEST
        open_ended = size == 0
        if size == 1:  # too large for four bytes
            size, body = int.from_bytes(head[8:16], "big"), position + 16
        elif open_ended:
            size = end - position
        if position + size < body:
            raise BrokenBoxError(f"a box at byte {position} is smaller than its own head")
        if position + size > end:
            raise CutOffError(position + size, end)
        yield Box(head[4:8], body, position + size, open_ended)
        position += size


def movie_seconds(header: bytes) -> float:
    """
    Return the length in a movie header (``mvhd``, or ``mehd`` has its like); 0 if it stands elsewhere.

    :param header: the contents of the box.
    """
    long = header[:1] == b"\1"
    scale, length = (header[20:24], header[24:32]) if long else (header[12:16], header[16:20])
    per_second, units = int.from_bytes(scale, "big"), int.from_bytes(length, "big")
    unknown = units == (1 << 8 * len(length)) - 1
    return units / per_second if per_second and not unknown else 0.0
