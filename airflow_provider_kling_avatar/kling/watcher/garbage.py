"""
Keeps Python's garbage collector from walking over a crowd of waiting tasks again and again.

A full collection looks at all that a process holds, and the event loop stands still meanwhile: with 10,000 waiting
tasks for 0.15 s, for every trigger in the process. So while a crowd waits, what has just survived a full collection is
set aside (`gc.freeze`), and the next one looks only at what is newer. Nothing is lost by that: what nobody refers to
any more is freed at once as ever; only cycles among what was set aside wait until it is aired, after an hour at most.
"""

from __future__ import annotations

import contextlib
import contextvars
import gc
import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("airflow_provider_kling_avatar.kling.watcher")

CROWD = 1000
"""So many waiting tasks in a process are a crowd. With fewer, Airflow's own objects are most of what there is."""
AIRED_SECONDS = 3600.0
"""After so long, one full collection looks at everything again."""
SOMEBODY_ELSES = 5000
"""So many objects that are set aside already are somebody else's doing; some hundred are Python's own since 3.12."""

FULL = 2
"""The generation of a full collection. Python 3.14 does without, as long as nobody asks for one."""


class Shelf:
    """
    Where a process sets aside what is not worth looking at again.

    A collection begins in whichever thread happens to need it, so none of this relies on who comes first.

    :param clock: seconds, only ever forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting = 0
        self._is_used = False
        self._is_full = False
        self._since = 0.0

    def arrived(self) -> None:
        """Count one more who waits."""
        self._waiting += 1
        # What somebody else has set aside is not ours to air: then everything stays as it is.
        if self._waiting == CROWD and not self._is_used and gc.get_freeze_count() < SOMEBODY_ELSES:
            self._is_used = True
            self._set_aside()
            gc.callbacks.append(self._on_collection)
            # In an empty context: this is no line for the log of whichever task has come last.
            contextvars.Context().run(
                log.info,
                "%d tasks wait: what the process holds is kept from full garbage collections, for an hour at a time",
                self._waiting,
            )

    def left(self) -> None:
        """Count one less; once nobody waits, everything is as it was before."""
        self._waiting -= 1
        if not self._waiting and self._is_used:
            self._stop()

    def _on_collection(self, phase: str, info: dict[str, int]) -> None:
        if phase != "stop" or not self._is_used:
            return
        if self._is_full and self._clock() - self._since >= AIRED_SECONDS:
            self._is_full = False
            gc.unfreeze()  # the next full collection looks at everything
        elif info["generation"] == FULL:
            if self._is_full:
                self._freeze()
            elif self._waiting >= CROWD:
                self._set_aside()
            else:
                self._stop()

    def _set_aside(self) -> None:
        self._is_full, self._since = True, self._clock()
        self._freeze()

    def _freeze(self) -> None:
        gc.freeze()
        if not self._is_used:  # the last one has left meanwhile, in another thread
            gc.unfreeze()

    def _stop(self) -> None:
        self._is_used = self._is_full = False
        with contextlib.suppress(ValueError):  # another thread was quicker
            gc.callbacks.remove(self._on_collection)
        gc.unfreeze()


SHELF = Shelf()
"""That of this process."""
