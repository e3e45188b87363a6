"""
Measures audio by its content.

It knows four formats and how their headers lie. It must not know any vendor's limits.

Everything is walked to the end instead of left to a tag reader (tinytag was tried), because those believe headers
or guess from the first frames, and a wrong length either refuses good audio or pays for a bad clip: VBR MP3
without a table came out up to three times as long, MP3s joined end to end as long as the first, WAV written to a pipe
(as speech services do) as 134218 s, mu-law WAV as 0 s, half a file as a whole one, raw AAC as an MP3 of no length.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Final, TypeAlias

from airflow_provider_kling_avatar.kling.errors import MediaError
from airflow_provider_kling_avatar.kling.media.mp4 import BrokenBoxError, CutOffError, boxes, movie_seconds
from airflow_provider_kling_avatar.kling.media.rules import AudioInfo, looks_like, misfit

_REMEDY = "save it as MP3, WAV, M4A or AAC"


def measure_audio(data: bytes) -> AudioInfo:
    """
    Measure an audio file; its format comes from the content, never from a name.

    :raises MediaError: it is empty, no audio of a known format, damaged, or does not tell its length.
    """
    if not data:
        raise MediaError("the file is empty (0 bytes); check the task that should have written it")
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        name, seconds = "wav", _wav_seconds(data)
    elif data[4:8] == b"ftyp":
        name, seconds = _mp4(data)
    else:
        name, seconds = _stream(data)
    return AudioInfo(name, seconds, len(data))


# ------------------------------------------------------------------------------------------------- WAV

_UNKNOWN_SIZE = 0x7FFF0000
"""Bytes. Writers that cannot seek back leave 0 or about the largest number there is."""


def _wav_seconds(data: bytes) -> float:
    bytes_per_second = 0
    position = 12
    while position + 8 <= len(data):
        name, size = (
            data[position : position + 4],
            int.from_bytes(data[position + 4 : position + 8], "little"),
        )
        body = position + 8
        if name == b"fmt " and len(data) >= body + 16:
            bytes_per_second = _wav_rate(data[body : body + 16])
        elif name == b"data":
            present = len(data) - body
            if present < size < _UNKNOWN_SIZE:
                raise _cut_off(f"{size} bytes of sound are announced, {present} are there")
            if not bytes_per_second:
                break
            return (present if size == 0 or size > present else size) / bytes_per_second
        position = body + size + size % 2
    raise MediaError(f"the WAV file is damaged: it lacks its format or its sound; {_REMEDY}")


def _wav_rate(fmt: bytes) -> int:
    """Return bytes per second; from rate and block for plain samples, since hand-made headers get the sum wrong."""
    tag, rate = int.from_bytes(fmt[:2], "little"), int.from_bytes(fmt[4:8], "little")
    per_second, block = int.from_bytes(fmt[8:12], "little"), int.from_bytes(fmt[12:14], "little")
    return rate * block if tag in (1, 3) else per_second


# ------------------------------------------------------------------------------------------------- MP4

_VIDEO_TRACK = re.compile(rb"hdlr.{8}vide", re.DOTALL)
_CODEC = re.compile(rb"stsd.{12}([ -~]{4})", re.DOTALL)
"""The first entry of a track's table of sample descriptions."""


def _mp4(data: bytes) -> tuple[str, float]:
    index = _boxes(data).get(b"moov", b"")
    codecs = {match.decode("ascii").strip() for match in _CODEC.findall(index)}
    seconds = movie_seconds(_boxes(index).get(b"mvhd", b""))
    if not codecs or not seconds:
        raise misfit(f"the file has no sound, or does not tell its length: {looks_like(data)}; {_REMEDY}")
    if _VIDEO_TRACK.search(index):
        return "mp4 video", seconds
    return ("m4a" if "mp4a" in codecs else f"mp4 with {' and '.join(sorted(codecs))} sound"), seconds


def _boxes(data: bytes) -> dict[bytes, bytes]:
    """
    Return the contents of each box by its name.

    :raises MediaError: the last box is not all there, though the length stands in another and looks right.
    """
    found: dict[bytes, bytes] = {}
    try:
        for box in boxes(BytesIO(data), 0, len(data)):
            found.setdefault(box.name, data[box.body : box.end])
    except CutOffError as error:
        raise _cut_off(str(error)) from None
    except BrokenBoxError:
        raise MediaError(f"the MP4 file is damaged; {_REMEDY}") from None
    return found


# -------------------------------------------------------------------------------- streams of frames


@dataclass(frozen=True, slots=True)
class _Frame:
    """One frame: its `size` in bytes, its playing time as `samples` at `rate`; `promised` frames by its header."""

    size: int
    samples: int
    rate: int
    promised: int = 0


_Reader: TypeAlias = Callable[[bytes, int], _Frame | None]
"""Reads the frame header at a position; `None` if there is none."""

_SEARCHED: Final = 1 << 16
"""Bytes of leading junk in which the first frame is looked for: players do so too."""


def _stream(data: bytes) -> tuple[str, float]:
    begin = _skip_id3(data)
    for name, sync, reader in (("aac", _ADTS_SYNC, _adts_frame), ("mp3", _MP3_SYNC, _mp3_frame)):
        start = _next_frame(data, begin, begin + _SEARCHED, sync, reader)
        if start < len(data):
            return name, _walk(data, start, sync, reader)
    raise misfit(f"the file is no audio that can be read: {looks_like(data)}; {_REMEDY}")


def _skip_id3(data: bytes) -> int:
    """Return where the sound begins, behind the tags (title, cover picture) in front of it."""
    position = 0
    while data[position : position + 3] == b"ID3" and len(data) >= position + 10:
        size = 0
        for byte in data[position + 6 : position + 10]:
            size = size << 7 | byte & 0x7F
        position += 10 + size
    return position


def _next_frame(data: bytes, start: int, stop: int, sync: re.Pattern[bytes], reader: _Reader) -> int:
    """Return where a frame begins that another one follows, or the end: a match alone may be chance."""
    for match in sync.finditer(data, start, stop):
        frame = reader(data, match.start())
        if frame is None:
            continue
        end = match.start() + frame.size
        if end == len(data) or reader(data, end):
            return match.start()
    return len(data)


def _walk(data: bytes, start: int, sync: re.Pattern[bytes], reader: _Reader) -> float:
    """Return the seconds of all whole frames, over junk between them (tags of files joined end to end)."""
    seconds, promised, found = 0.0, 0, 0
    position = start
    while position < len(data):
        frame = reader(data, position)
        if frame is None or position + frame.size > len(data):
            position = _next_frame(data, position + 1, len(data), sync, reader)
            continue
        position += frame.size
        promised += frame.promised
        if frame.samples:
            found += 1
            seconds += frame.samples / frame.rate
    # Encoders count the last frame or not; a broken copy lacks more than that.
    if promised - found > max(2, promised // 100):
        raise _cut_off(f"{promised} frames are announced, {found} are there")
    return seconds


_ADTS_SYNC = re.compile(rb"\xff[\xf0\xf1\xf8\xf9]")
_ADTS_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


def _adts_frame(data: bytes, position: int) -> _Frame | None:
    header = data[position : position + 7]
    if len(header) < 7 or not _ADTS_SYNC.match(header):
        return None
    rate_index = header[2] >> 2 & 0b1111
    size = (header[3] & 0b11) << 11 | header[4] << 3 | header[5] >> 5
    if rate_index >= len(_ADTS_RATES) or size <= len(header):
        return None
    return _Frame(size, 1024 * ((header[6] & 0b11) + 1), _ADTS_RATES[rate_index])


_MP3_SYNC = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xeb]")
"""Layer III only: layers I and II are other formats, for which no vendor asks."""
_MP3_RATES = {0b11: (44100, 48000, 32000), 0b10: (22050, 24000, 16000), 0b00: (11025, 12000, 8000)}
_MP3_KILOBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def _mp3_frame(data: bytes, position: int) -> _Frame | None:
    header = data[position : position + 4]
    if len(header) < 4 or not _MP3_SYNC.match(header) or header[2] >> 2 & 0b11 == 0b11:
        return None
    version = header[1] >> 3 & 0b11
    samples = 1152 if version == 0b11 else 576
    rate = _MP3_RATES[version][header[2] >> 2 & 0b11]
    kilobits = _MP3_KILOBITS[version == 0b11][header[2] >> 4]
    size = samples // 8 * kilobits * 1000 // rate + (header[2] >> 1 & 1)
    table = _VBR_TABLE.search(data, position + 4, position + min(size, 52))
    if table is None:
        return _Frame(size, samples, rate)
    # A frame of silence that carries a table of contents; players do not play it.
    promised = data[table.end() : table.end() + 4] if table[2] else b""
    return _Frame(size, 0, rate, promised=int.from_bytes(promised, "big"))


_VBR_TABLE = re.compile(rb"VBRI|(Xing|Info)\0\0\0(?:([\x01\x03\x05\x07\x09\x0b\x0d\x0f])|.)", re.DOTALL)
"""The encoder's table of contents; group 2: flags with the lowest bit set, a count of frames follows."""


def _cut_off(measured: str) -> MediaError:
    return MediaError(f"the audio is cut off: {measured}; copy or save it again")
