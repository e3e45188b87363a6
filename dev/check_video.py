"""
Check that a file is a talking-head video as promised: H.264 and AAC, as long as the speech, playable to the end.

    python dev/check_video.py VIDEO AUDIO [--report REPORT.xml]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import av
import totals


def seconds_of(path: Path) -> float:
    """Return the length of a media file's sound, by decoding all of it."""
    with av.open(str(path)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def check(video: Path, audio: Path) -> str:
    """
    Check a video against the speech it was made from.

    :returns: one line about the video.
    :raises ValueError: something is not as promised.
    """
    with av.open(str(video)) as container:
        codecs = {stream.type: stream.codec_context.name for stream in container.streams}
        if codecs.get("video") != "h264" or codecs.get("audio") != "aac":
            raise ValueError(f"{video}: expected H.264 and AAC, found {codecs}")
        stream = container.streams.video[0]
        promised, width, height = stream.frames, stream.width, stream.height
        rate = float(stream.average_rate or 0)
        frames = sum(1 for _ in container.decode(video=0))
    if not frames or not rate or (promised and frames != promised):
        raise ValueError(
            f"{video}: {promised} frames promised at {rate} per second, {frames} could be decoded"
        )
    wanted = seconds_of(audio)
    for what, seconds in (("picture", frames / rate), ("sound", seconds_of(video))):
        if abs(seconds - wanted) > 0.1 * wanted:
            raise ValueError(f"{video}: the {what} lasts {seconds:.2f} s, the speech {wanted:.2f} s")
    return f"H.264 {width}x{height} + AAC, {frames} frames, {frames / rate:.2f} s (speech {wanted:.2f} s)"


def main() -> int:
    """Run from the command line; the result is the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("video", type=Path)
    parser.add_argument("audio", type=Path)
    parser.add_argument("--report", type=Path, help="where to write the outcome as JUnit XML")
    options = parser.parse_args()
    error = None
    try:
        print(f"{options.video}: {check(options.video, options.audio)}")
    except (ValueError, OSError) as trouble:  # PyAV's errors are OSError or ValueError
        error = str(trouble)
        print(f"FAILED {error}")
    if options.report:
        totals.write(options.report, "demo", error)
    return int(error is not None)


if __name__ == "__main__":
    sys.exit(main())
