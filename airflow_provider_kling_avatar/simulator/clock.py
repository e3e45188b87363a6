"""The simulator's own time, which tests may move forward instead of sleeping.

It knows the wall clock and an offset. Signed tokens are deliberately not judged by it: a test that jumps
an hour ahead to finish a task should not find its credentials expired.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """Wall-clock seconds plus an offset that only grows."""

    def __init__(self, offset: float = 0.0, remember: Callable[[float], None] | None = None) -> None:
        """Start `offset` seconds ahead; call `remember` with each new offset so that it survives a restart."""
        self._offset = offset
        self._remember = remember

    def now(self) -> float:
        """Answer the current simulated Unix time in seconds."""
        return time.time() + self._offset

    def advance(self, seconds: float) -> float:
        """Jump `seconds` ahead (never back: finished tasks must stay finished) and answer the new time."""
        if seconds < 0:
            raise ValueError("the clock only goes forward")
        self._offset += seconds
        if self._remember is not None:
            self._remember(self._offset)
        return self.now()
