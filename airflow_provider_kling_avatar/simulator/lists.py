"""How a list differs from the truth: late, with holes, cut short, or with what is none of the caller's business.

It knows the ways in which lists of real APIs mislead. It must not know rows, states or HTTP: `desk` shows a list
accordingly. A query for one task is never affected.
"""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field
from pydantic.dataclasses import dataclass

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.simulator.settings import SimulatorSettings

LARGEST_PAGE: Final = 500
"""Rows. Source: https://klingai.com/document-api/api/video/avatar, `pageSize`."""


# Checked by pydantic, because changes arrive as JSON from tests in any language.
@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class ListView:
    """What the lists of tasks show."""

    lag_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Tasks are shown as they stood so many seconds of the simulator's clock ago; younger ones are missing."""
    page_cap: Annotated[int, Field(ge=1, le=LARGEST_PAGE)] = LARGEST_PAGE
    """Rows on a page at most, whatever was asked for; pages are counted in this size. Gateways cap so, silently."""
    hidden: frozenset[str] = frozenset()
    """Ids, the vendor's or the caller's, of tasks that are missing, as if deleted from view."""
    everybody: bool = False
    """Whether other accounts' tasks are shown too, as by a gateway that lists all it passed on."""


class Lists:
    """The view in force, which may change while the simulator runs."""

    def __init__(self, settings: SimulatorSettings) -> None:
        """Start as the settings say."""
        self._first = ListView(lag_seconds=settings.list_lag_seconds, page_cap=settings.list_page_cap)
        self._lock = threading.Lock()
        self.view = self._first
        """What lists show now; replaced as a whole, so that one answer never mixes two."""

    def change(self, **changes: Any) -> ListView:
        """Change some of the fields of `ListView`, leave the others; raises ValueError or TypeError for nonsense."""
        with self._lock:
            self.view = ListView(**(asdict(self.view) | changes))
            return self.view

    def reset(self) -> None:
        """Show what the settings say again."""
        with self._lock:
            self.view = self._first
