"""Makes the film: a still picture and the audio it came with become a playable H.264 + AAC file.

It knows PyAV and picture sizes. It must not know tasks, states or HTTP. A file appears at its path whole or
not at all, and starts with its index, so a player can begin before the end has arrived.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import av
from PIL import Image, ImageDraw, ImageOps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal
    from pathlib import Path

    from av import Packet
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

    AnyPacket = Packet[Any]

LOOKS: Final = {"std": (1280, 24), "pro": (1920, 48), "4k": (3840, 48)}
"""Mode -> (longest side in pixels, frames per second), as resellers describe the real output."""

_FRAMES = 3000
"""More would keep a client waiting for minutes; long films get fewer a second, and nothing moves anyway."""

_FEWEST_FPS = 5
_KEYFRAME_SECONDS = 10
_AUDIO_RATE = 44_100
_WATERMARK = "KLING SIMULATOR"


@dataclass(frozen=True, kw_only=True)
class Film:
    """What is to be rendered."""

    image: Path
    audio: Path | None
    """None: a silent film."""
    seconds: Decimal
    mode: str
    aspect_ratio: str | None = None
    """`16:9` and the like: the picture is padded to it, never cut."""
    watermark: bool = False


def render(film: Film, target: Path) -> None:
    """Write the film at `target`. About a second of work for ten seconds of film."""
    partial = target.with_suffix(f".{os.urandom(4).hex()}.partial")
    longest, fps = LOOKS[film.mode]
    fps = max(_FEWEST_FPS, min(fps, int(_FRAMES / film.seconds)))
    picture = _picture(film, longest)
    try:
        with av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"}) as output:
            video = output.add_stream(
                "libx264", rate=fps, options={"preset": "ultrafast", "tune": "stillimage"}
            )
            video.width, video.height, video.pix_fmt = picture.width, picture.height, "yuv420p"
            video.codec_context.gop_size = fps * _KEYFRAME_SECONDS
            sound: list[AnyPacket] = []
            if film.audio is not None:
                with av.open(str(film.audio)) as source:
                    sound = list(_sound(output, source))
            _mux(output, _pictures(video, picture, fps, film.seconds), sound)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _picture(film: Film, longest: int) -> Image.Image:
    with Image.open(film.image) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    picture.thumbnail((longest, longest))  # keeps the proportions and never enlarges
    width, height = picture.size
    if film.aspect_ratio:
        across, down = (int(part) for part in film.aspect_ratio.split(":"))
        width, height = max(width, height * across // down), max(height, width * down // across)
        shrink = max(1.0, width / longest, height / longest)
        picture = ImageOps.contain(picture, (int(width / shrink), int(height / shrink)))
        picture = ImageOps.pad(picture, (int(width / shrink), int(height / shrink)))
    # H.264 in yuv420p needs even sides.
    picture = picture.crop((0, 0, max(2, picture.width // 2 * 2), max(2, picture.height // 2 * 2)))
    if film.watermark:
        size = max(12, picture.width // 30)
        ImageDraw.Draw(picture).text((size, picture.height - 2 * size), _WATERMARK, "white", font_size=size)
    return picture


def _sound(output: OutputContainer, source: InputContainer) -> Iterator[AnyPacket]:
    """Encode all of the audio; it is small, and the film is cut to go with it."""
    stream = output.add_stream("aac", rate=_AUDIO_RATE)
    stream.layout = "stereo"
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=_AUDIO_RATE, frame_size=1024)
    time = 0
    for incoming in (*source.decode(source.streams.audio[0]), None):
        for frame in resampler.resample(incoming):
            # Counted here, because some inputs start at a time other than zero.
            frame.pts, frame.time_base = time, Fraction(1, _AUDIO_RATE)
            time += frame.samples
            yield from stream.encode(frame)
    yield from stream.encode(None)


def _pictures(video: VideoStream, picture: Image.Image, fps: int, seconds: Decimal) -> Iterator[AnyPacket]:
    # Converted once and sent again and again with a new time: nothing moves.
    # PyAV's stubs leave this one untyped.
    rgb: av.VideoFrame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
    frame = rgb.reformat(format="yuv420p")
    for number in range(max(1, round(seconds * fps))):
        frame.pts, frame.time_base = number, Fraction(1, fps)
        yield from video.encode(frame)
    yield from video.encode(None)


def _mux(output: OutputContainer, pictures: Iterator[AnyPacket], sound: list[AnyPacket]) -> None:
    """Write both streams in the order of time, so that a player need not jump about."""
    waiting = iter(sound)
    next_sound = next(waiting, None)
    for packet in pictures:
        while next_sound is not None and _moment(next_sound) <= _moment(packet):
            output.mux(next_sound)
            next_sound = next(waiting, None)
        output.mux(packet)
    for left in (next_sound, *waiting):
        if left is not None:
            output.mux(left)


def _moment(packet: AnyPacket) -> Fraction:
    return (packet.dts or 0) * (packet.time_base or Fraction(0))
