"""Stands in for text-to-speech: a soft babble as long as the text would take to say.

It knows speaking rates and how to write an MP3. It must not know tasks or voices. The sound is
not speech, and says so by ear: one short tone per letter, silence for spaces.
"""

from __future__ import annotations

import math
from array import array
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import av

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHARACTERS_PER_SECOND: Final = {"en": 15.0, "zh": 5.0}
"""Ordinary speaking rates; what the real voices do is not documented."""

_RATE = 22_050
_FRAME = 1152
_LOUDNESS = 6000
_PITCH_HZ = {"en": 196.0, "zh": 247.0}


def speak(text: str, path: Path, *, language: str, speed: float) -> None:
    """Write an MP3 at `path` in which `text` is babbled at `speed`."""
    per_character = int(_RATE / (CHARACTERS_PER_SECOND[language] * speed))
    tones = _tones(per_character, _PITCH_HZ[language])
    silence = array("h", bytes(2 * per_character))
    with av.open(str(path), "w", format="mp3") as output:
        stream = output.add_stream("mp3", rate=_RATE)
        stream.layout = "mono"
        stream.bit_rate = 64_000
        time = 0
        for chunk in _frames(tones[ord(c) % len(tones)] if c.isalnum() else silence for c in text):
            frame = av.AudioFrame(format="s16p", layout="mono", samples=len(chunk))
            frame.planes[0].update(chunk.tobytes().ljust(frame.planes[0].buffer_size, b"\0"))
            frame.sample_rate, frame.pts, frame.time_base = _RATE, time, Fraction(1, _RATE)
            time += len(chunk)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def _tones(samples: int, pitch: float) -> list[array[int]]:
    """Make a pentatonic handful of tones that fade in and out, once; a text is then only glued together."""
    scale = (1.0, 9 / 8, 5 / 4, 3 / 2, 5 / 3)
    return [
        array(
            "h",
            (
                int(
                    _LOUDNESS
                    * math.sin(math.pi * i / samples)
                    * math.sin(2 * math.pi * pitch * step * i / _RATE)
                )
                for i in range(samples)
            ),
        )
        for step in scale
    ]


def _frames(chunks: Iterator[array[int]]) -> Iterator[array[int]]:
    """Re-cut chunks of any length into encoder frames."""
    rest = array("h")
    for chunk in chunks:
        rest.extend(chunk)
        while len(rest) >= _FRAME:
            yield rest[:_FRAME]
            rest = rest[_FRAME:]
    if rest:
        yield rest
