"""
Re-encodes a voice so that it fits: only on request, in bounded memory, never for better or worse without a word.

Knows PyAV (the ``media`` extra), which is imported where it is used. Must not know which vendor takes the file.
"""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.kling.errors import MediaError
from airflow_provider_kling_avatar.kling.media.rules import UPPER_TOLERANCE_SECONDS

if TYPE_CHECKING:
    from types import ModuleType

    from airflow_provider_kling_avatar.kling.media.rules import MediaRules

log = logging.getLogger(__name__)

LONGEST_SECONDS = 300.0
"""Decoded at most, where the vendor names no limit."""
BEST_BITS_PER_SECOND = 128_000
"""Speech gains nothing above."""
LEAST_BITS_PER_SECOND = 24_000
"""Below, a voice is no longer worth paying a clip for."""
MARGIN = 0.9
"""Of the size limit: the container, and encoders that overshoot."""
SAMPLE_RATE = 44_100


def transcode(data: bytes, rules: MediaRules) -> bytes:
    """
    Return the same sound as AAC in an M4A file that fits the size limit.

    :param data: the whole file.
    :raises MediaError: PyAV is not installed, it cannot read the file, or the sound is too long.
    """
    try:
        import av
    except ImportError as error:
        raise MediaError(
            "transcode_audio=True needs PyAV: pip install 'airflow-provider-kling-avatar[media]'"
        ) from error
    longest = (rules.max_seconds or LONGEST_SECONDS) + UPPER_TOLERANCE_SECONDS
    try:
        seconds = _seconds(av, data, longest)
        bits = _bits_per_second(seconds, rules.max_bytes)
        smaller = _encode(av, data, bits)
    except (av.error.FFmpegError, ValueError, IndexError) as error:
        raise MediaError(
            f"the file cannot be re-encoded ({type(error).__name__}); save it as MP3, WAV, M4A or AAC"
        ) from error
    log.info(
        "voice re-encoded as transcode_audio says: %.1f s, %d bytes -> %d bytes of AAC at %d kbit/s",
        seconds,
        len(data),
        len(smaller),
        bits // 1000,
    )
    return smaller


def _seconds(av: ModuleType, data: bytes, longest: float) -> float:
    """Decode to the end, or to the limit: headers lie, and so an endless file ends early."""
    seconds = 0.0
    with av.open(io.BytesIO(data)) as source:
        if not source.streams.audio:
            raise MediaError("the file has no sound; give another")
        for frame in source.decode(source.streams.audio[0]):
            seconds += frame.samples / frame.sample_rate
            if seconds > longest:
                raise MediaError(
                    f"the sound is longer than {longest:.0f} seconds: split it into several clips"
                )
    if not seconds:
        raise MediaError("the file has no sound; give another")
    return seconds


def _bits_per_second(seconds: float, max_bytes: int | None) -> int:
    if max_bytes is None:
        return BEST_BITS_PER_SECOND
    bits = min(BEST_BITS_PER_SECOND, int(max_bytes * 8 * MARGIN / seconds) // 1000 * 1000)
    if bits < LEAST_BITS_PER_SECOND:
        raise MediaError(
            f"{seconds:.0f} seconds of sound do not fit into {max_bytes} bytes at a quality worth a clip: shorten it"
        )
    return bits


def _encode(av: ModuleType, data: bytes, bits_per_second: int) -> bytes:
    target = io.BytesIO()
    with (
        av.open(io.BytesIO(data)) as source,
        av.open(target, "w", format="mp4") as sink,
    ):
        sound = source.streams.audio[0]
        layout = "mono" if sound.codec_context.layout.nb_channels == 1 else "stereo"
        stream = sink.add_stream("aac", rate=SAMPLE_RATE, layout=layout, bit_rate=bits_per_second)
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=SAMPLE_RATE)
        for frame in source.decode(sound):
            frame.pts = None  # counted anew: gaps and jumps of a bad file end here
            for piece in resampler.resample(frame):
                sink.mux(stream.encode(piece))
        for piece in resampler.resample(None):
            sink.mux(stream.encode(piece))
        sink.mux(stream.encode(None))
    return target.getvalue()
