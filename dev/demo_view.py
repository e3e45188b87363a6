"""What the demo shows on the terminal: headings, steps with their time, task states as they change. Nothing else."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_COLOUR_OF = {
    "success": "32",
    "failed": "31",
    "upstream_failed": "31",
    "up_for_retry": "33",
    "deferred": "35",
    "running": "36",
}
_MEANING_OF = {
    ("submit", "running"): "checks the media, sends the one paid request",
    ("submit", "success"): "the vendor's task id is in XCom",
    ("wait", "deferred"): "no worker is held, the triggerer asks the vendor",
    ("wait", "success"): "the video is ready",
    ("note", "running"): "works with the file",
    ("note", "success"): "the facts lie beside it",
}


class View:
    """
    Lines on a terminal, each with the seconds since the start.

    Without a terminal (CI, a pipe), or with ``NO_COLOR`` set, the same lines in plain text.
    """

    def __init__(self) -> None:
        self.begin = time.monotonic()
        self._plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
        self._shown: dict[str, str] = {}

    def _paint(self, text: str, code: str) -> str:
        return text if self._plain else f"\033[{code}m{text}\033[0m"

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.begin

    def title(self, text: str) -> None:
        """Show a heading."""
        print(f"\n{self._paint(text, '1')}\n", flush=True)

    def step(self, text: str) -> None:
        """Show that something happened."""
        print(f"{self._clock()}  {text}", flush=True)

    def facts(self, facts: Mapping[str, str]) -> None:
        """Show a table of two columns."""
        width = max(map(len, facts))
        for name, value in facts.items():
            print(f"  {self._paint(name.ljust(width), '2')}  {value}")
        print(flush=True)

    def error(self, text: str) -> None:
        """Show what went wrong; on standard error."""
        print(f"\n{self._paint('The demo failed.', '1;31')} {text}", file=sys.stderr, flush=True)

    def states(self, tasks: Mapping[str, str]) -> None:
        """Show the tasks whose state has changed since the last call."""
        order = [task for task, _state in _MEANING_OF]
        for task, state in sorted(
            tasks.items(), key=lambda item: order.index(item[0]) if item[0] in order else 99
        ):
            if self._shown.get(task, "none") == state or state in {"scheduled", "queued"}:
                continue
            self._shown[task] = state
            meaning = _MEANING_OF.get((task, state), "")
            print(
                f"{self._clock()}  {task:8} {self._paint(f'{state:10}', _COLOUR_OF.get(state, '0'))} "
                f"{self._paint(meaning, '2')}".rstrip(),
                flush=True,
            )

    def _clock(self) -> str:
        return self._paint(f"{self.elapsed:6.1f} s", "2")
