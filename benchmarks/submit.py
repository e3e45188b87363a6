"""
What it costs a worker to submit a picture of 10 MB: through our hook, and as a bare POST of the same body.

    python -m benchmarks.submit SPEC.json FIGURES.json

Each in a process of its own; both read the file and encode it. Knows how a worker calls, not what comes of it.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.loop_watch import MemoryWatch, processor_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

SMALLEST, LARGEST = 9_500_000, 10_000_000
"""Bytes: just below what Kling takes."""


def make_picture(path: Path, *, pixels: tuple[int, int] = (4000, 3000), small: bool = False) -> None:
    """
    Write a JPEG: as large as Kling takes, or a small one for the warm-up.

    :raises RuntimeError: no quality gives the wanted size.
    """
    from PIL import Image

    size = (640, 480) if small else pixels
    noise = Image.merge("RGB", [Image.effect_noise(size, sigma) for sigma in (48, 40, 32)])
    for quality in (75,) if small else range(95, 40, -1):
        noise.save(path, "JPEG", quality=quality)
        if small or SMALLEST <= path.stat().st_size <= LARGEST:
            return
    raise RuntimeError(f"no JPEG quality gives a picture of {SMALLEST} to {LARGEST} bytes")


def _ours(url: str) -> Callable[[Path], None]:
    del url  # in the connection
    from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
    from airflow_provider_kling_avatar.kling.models import AvatarRequest

    hook = KlingAvatarHook("kling_bench")

    def submit(picture: Path) -> None:
        hook.submit_avatar(AvatarRequest(image=str(picture), audio_id="831420000000000000", mode="std"))

    return submit


def _bare(url: str) -> Callable[[Path], None]:
    import requests

    session = requests.Session()
    session.headers["Authorization"] = "Bearer sk-benchmark"

    def submit(picture: Path) -> None:
        image = base64.b64encode(picture.read_bytes()).decode()
        body = {"image": image, "audio_id": "831420000000000000", "mode": "std"}
        session.post(f"{url}/v1/videos/avatar/image2video", json=body, timeout=60).raise_for_status()

    return submit


def main() -> None:
    """Run from the command line."""
    spec = json.loads(Path(sys.argv[1]).read_text())
    import airflow  # noqa: F401 - configures logging, as on a worker

    submit = {"ours": _ours, "bare": _bare}[spec["who"]](spec["url"])
    submit(Path(spec["small"]))  # what is loaded on first use is loaded now
    memory, begin = MemoryWatch(), processor_seconds()
    submit(Path(spec["large"]))
    found = {"cpu": processor_seconds() - begin, "memory": memory.peak_added()}
    Path(sys.argv[2]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
