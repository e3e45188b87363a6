"""
Whether a file that is there already is the clip, without fetching all of it again.

A small clip is fetched and compared whole. Of a large one the size is compared, the first and the last megabyte, and
pieces spread over the rest. An MP4's index stands at its beginning or its end and lists the size of every picture, so
a clip that was made anew, even from the same input, differs there; what a crash leaves, which is blocks of zeros or a
missing end, shows at the end or in the pieces. A single byte that was changed on purpose in between does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_kling_avatar.kling.download.http import Clip


SMALL: Final = 8 << 20
"""Bytes. What is not larger is compared whole: a few requests for pieces would take as long."""

_EDGE: Final = 1 << 20
_PIECE: Final = 1 << 16
_PIECES: Final = 14


def pieces_of(size: int) -> list[tuple[int, int]]:
    """Return which stretches of a file of so many bytes are compared, each as (first byte, byte behind the last)."""
    if size <= SMALL:
        return [(0, size)]
    step = (size - 2 * _EDGE) // (_PIECES + 1)
    middle = [_EDGE + number * step for number in range(1, _PIECES + 1)]
    spread = [(at, at + _PIECE) for at in middle]
    return [(0, _EDGE), (size - _EDGE, size), *spread]


def is_same(clip: Clip, read: Callable[[int, int], bytes], size: int) -> bool | None:
    """
    Tell whether a file is this clip.

    :param clip: at the vendor's.
    :param read: reads the file that is there.
    :param size: of that file, in bytes.
    :return: ``None`` if the vendor's server gives no pieces: then the clip has to be fetched whole to be compared.
    :raises DownloadError: the vendor's server cannot be asked.
    """
    if not size:
        return False
    for start, stop in pieces_of(size):
        found = clip.piece(start, stop)
        if found is None:
            return None
        piece, total = found
        if total != size or piece != read(start, stop - start):
            return False
    return True
