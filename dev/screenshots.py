"""
Take the pictures of the pages that are in the docs, of a real Airflow with real clips of the simulator.

    make screenshots

Writes `docs/images/`; what is there is replaced.
"""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from environment import ROOT, ensure
from processes import interruptible
from versions import NEWEST

if TYPE_CHECKING:
    from gallery_site import GallerySite
    from playwright.sync_api import BrowserContext, Route

IMAGES = ROOT / "docs" / "images"
LARGEST = 200_000
"""Bytes of a picture."""


def take(session: BrowserContext, path: str, name: str, height: int) -> None:
    """
    Write the picture of a page whose videos have shown their first frame.

    :param path: of the page, from Airflow's address on.
    :param height: of the picture, in pixels.
    :raises SystemExit: it is too large for the docs.
    """
    from PIL import Image

    page = session.new_page()
    page.set_viewport_size({"width": 1280, "height": height})
    page.goto(path)
    page.locator(".kling-clips video").first.wait_for()
    page.wait_for_function(
        "[...document.querySelectorAll('.kling-clips video')].every(video => video.readyState >= 2)"
    )
    picture = IMAGES / name
    with Image.open(io.BytesIO(page.screenshot(animations="disabled"))) as shot:
        shot.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(picture, optimize=True)
    page.close()
    size = picture.stat().st_size
    print(f"{picture.relative_to(ROOT)}: {size // 1000} kB", flush=True)
    if size > LARGEST:
        raise SystemExit(f"{name} has {size} bytes, more than {LARGEST}: make it less high")


def take_all(site: GallerySite) -> None:
    """Write all pictures."""
    from browser import log_in, open_browser
    from gallery_site import ADMIN, NEWSROOM

    def as_if_elsewhere(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace(str(site.clips), "/data/clips"))

    dag, run = f"/dags/{NEWSROOM}", f"/runs/of-{NEWSROOM}/tasks/morning"
    with open_browser() as browser:
        for dark in (False, True):
            session = log_in(browser, site.airflow.url, ADMIN, dark=dark)
            session.route("**/kling-avatar/api/**", as_if_elsewhere)  # no reader has this machine's folders
            take(session, "/plugin/kling-clips", "gallery-dark.png" if dark else "gallery.png", 640)
            if not dark:
                take(session, f"{dag}{run}/plugin/kling-clip", "clip.png", 1200)
                take(session, f"{dag}/plugin/kling-dag-clips", "dag.png", 900)


def main() -> int:
    """Run from the command line; the result is the exit status."""
    if importlib.util.find_spec("playwright") is None:
        python = ensure(ROOT / ".venvs" / f"ui-{NEWEST.airflow}", NEWEST.airflow, "dev,ui")
        return subprocess.call([str(python), __file__])
    from gallery_site import BOARD, NEWSROOM, GallerySite

    IMAGES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="pictures-") as folder,
        GallerySite(Path(folder), dags=(NEWSROOM, BOARD)) as site,
    ):
        take_all(site)
    return 0


if __name__ == "__main__":
    with interruptible():
        sys.exit(main())
