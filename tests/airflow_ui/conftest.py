"""
One Airflow with logins and clips, one browser, and a session for each user. Each page is searched for what must not be.

Playwright and FAB are only in the environments that `make test-ui` makes; elsewhere these tests are not even collected.
"""

from __future__ import annotations

import importlib.util
import os
import re
from typing import TYPE_CHECKING

import pytest
from browser import MISSING, TIMEOUT, find_browser, log_in, open_browser
from gallery_site import ADMIN, EDITOR, GallerySite, Texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

if importlib.util.find_spec("playwright") is None:
    collect_ignore_glob = ["test_*.py"]

ATTACK = "<script>window.ranIn{0}=1</script><img src=x onerror='window.ranIn{0}=1'>"
HOSTILE = Texts(
    title=f"Newsroom {ATTACK.format('Title')}",
    prompt=f"A calm presenter {ATTACK.format('Prompt')}",
    reason=f"Refused by content moderation {ATTACK.format('Reason')}",
)
RAN = "Object.keys(window).filter(name => name.startsWith('ranIn'))"


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Iterator[GallerySite]:
    if find_browser() is None:
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(f"REQUIRE_SERVICES=1, but there is {MISSING}")
        pytest.skip(f"THE PAGES WERE NOT TESTED: there is {MISSING}")
    with GallerySite(tmp_path_factory.mktemp("site"), HOSTILE) as running:
        yield running
        running.airflow.stop()
        assert running.airflow.survivors() == []


@pytest.fixture(scope="session")
def browser(site) -> Iterator[Browser]:
    from playwright.sync_api import expect

    expect.set_options(timeout=TIMEOUT)
    with open_browser() as running:
        yield running


@pytest.fixture(scope="session")
def admin(browser, site) -> BrowserContext:
    return log_in(browser, site.airflow.url, ADMIN)


@pytest.fixture(scope="session")
def editor(browser, site) -> BrowserContext:
    return log_in(browser, site.airflow.url, EDITOR)


@pytest.fixture
def open_page(site) -> Iterator[Callable[[BrowserContext, str], Page]]:
    """Open a page in a session; when the test is over, none has run a script of others or met an error of ours."""
    pages: list[Page] = []
    errors: list[str] = []

    def note(message) -> None:
        is_answer = re.search(
            "the server responded with a status of 40[34]", message.text
        )  # the page explains it
        if message.type == "error" and "kling" in f"{message.location} {message.text}" and not is_answer:
            errors.append(message.text)

    def start(session: BrowserContext, path: str) -> Page:
        page = session.new_page()
        pages.append(page)
        page.on("console", note)
        page.on("pageerror", lambda error: errors.append(str(error)) if "kling" in str(error.stack) else None)
        page.goto(path)
        return page

    yield start
    ran = [page.evaluate(RAN) for page in pages]
    for page in pages:
        page.close()
    assert not any(ran)
    assert errors == []
