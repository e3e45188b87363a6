"""
A browser that looks at `gallery_site`: Debian's Chromium, driven by Playwright, whose own download is not needed.

Knows how Airflow is logged in to and how its dark mode is chosen, and nothing about our pages.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guarded_airflow import User
    from playwright.sync_api import Browser, BrowserContext

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = (
    "no browser: install Debian's package `chromium` (`make browser` as root), or put a Chrome on the PATH"
)
TIMEOUT = 60_000
"""Milliseconds for what takes less than a second on an idle machine."""


def find_browser() -> str | None:
    """Return where Chromium or Chrome is, ``None`` if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """
    Run a browser without a window.

    :raises FileNotFoundError: there is none.
    """
    from playwright.sync_api import sync_playwright

    program = find_browser()
    if program is None:
        raise FileNotFoundError(MISSING)
    # Root has no sandbox, and containers have little shared memory. It opens pages of this machine only.
    options = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--mute-audio"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=options)
        try:
            yield browser
        finally:
            browser.close()


def log_in(browser: Browser, address: str, user: User, *, dark: bool = False) -> BrowserContext:
    """
    Log in as people do, and return the browser's session.

    :param address: of Airflow; what pages are opened with is relative to it.
    :param dark: have Airflow show its dark pages.
    """
    theme = "dark" if dark else "light"
    session = browser.new_context(
        base_url=address,
        color_scheme="dark" if dark else "light",
        viewport={"width": 1280, "height": 900},
        locale="en-GB",
    )
    session.set_default_timeout(TIMEOUT)
    session.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    page = session.new_page()
    page.goto("/auth/login/")
    page.fill("#username", user.name)
    page.fill("#password", user.password)
    page.click("input[type=submit]")
    page.wait_for_url(lambda url: "/auth/login" not in url)
    page.close()
    return session


def install() -> str | None:
    """Install Chromium if there is no browser and this is a Debian's root; return what is missing otherwise."""
    if find_browser():
        return None
    if os.geteuid() or not shutil.which("apt-get"):
        return MISSING
    for command in (["update", "-qq"], ["install", "-qq", "--yes", "--no-install-recommends", "chromium"]):
        subprocess.run(["apt-get", *command], check=False, stdin=subprocess.DEVNULL)
    return None if find_browser() else MISSING


if __name__ == "__main__":
    sys.exit(install())
