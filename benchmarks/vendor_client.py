"""Starts the fake vendor, and talks to its controls. Knows nothing of what is measured."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import urllib.parse
import urllib.request
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from processes import ManagedProcess, free_ports, stop_all, tail

from benchmarks import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Times:
    """
    When tasks end, and how long the vendor's answers take.

    :param first: seconds after the beginning when the earliest may end.
    :param last: seconds after the beginning when the latest may end.
    :param latency: seconds.
    :param seed: of the ends.
    """

    first: float = 20.0
    last: float = 60.0
    latency: float = 0.05
    seed: int = 7


class VendorClient:
    """
    The vendor's controls.

    :param url: where it listens.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by way of a proxy

    def begin(self, tasks: int, times: Times, *, starts_in: float = 0.0) -> float:
        """
        Make a new account.

        :param tasks: how many.
        :param starts_in: seconds from now when time begins.
        :returns: when that is, in Unix seconds.
        """
        options = {"tasks": tasks, "starts_in": starts_in} | asdict(times)
        begin: float = self._ask(f"begin?{urllib.parse.urlencode(options)}")["begin"]
        return begin

    def counts(self) -> dict[str, Any]:
        """Return how many requests came since the beginning, and the processor seconds they cost the vendor."""
        counts: dict[str, Any] = self._ask("counts")
        return counts

    def done_at(self) -> list[float]:
        """Return when each task ends, in Unix seconds."""
        ends: list[float] = self._ask("done_at")
        return ends

    def _ask(self, what: str) -> Any:
        with self._opener.open(f"{self.url}/bench/{what}", timeout=60) as response:
            return json.load(response)


@contextlib.contextmanager
def running_vendor(folder: Path) -> Iterator[str]:
    """
    Run a vendor; yields its address.

    :param folder: for its log.
    :raises SystemExit: it does not answer.
    """
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    process = ManagedProcess(
        "vendor",
        [sys.executable, "-m", "benchmarks.vendor", str(port)],
        log=folder / "vendor.log",
        cwd=ROOT,
    )
    try:
        process.start()
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                VendorClient(url).counts()
                break
            if not process.running or time.monotonic() > deadline:
                raise SystemExit(f"the vendor does not answer\n{tail(process.log)}")
            time.sleep(0.1)
        yield url
    finally:
        stop_all([process])
