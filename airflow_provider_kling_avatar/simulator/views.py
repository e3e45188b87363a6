"""A task as its owner may see it now: the row, its state and fresh links, ready to be put into any envelope.

It knows how a row, a moment and a link-maker become one picture. It must not know envelopes or HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.simulator.lifecycle import SUCCEED, State, state_at
from airflow_provider_kling_avatar.simulator.prices import USD_PER_UNIT, plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_kling_avatar.simulator.store import TaskRow


@dataclass(frozen=True, kw_only=True)
class TaskView:
    """What a query may tell about a task."""

    row: TaskRow
    state: State
    url: str | None
    """Where the result is; None until it succeeded, and always for a `no_url` task."""
    watermark_url: str | None
    url_expires: float
    """Unix seconds."""

    @property
    def succeeded(self) -> bool:
        """Whether there is a result."""
        return self.state.status == SUCCEED

    @property
    def units(self) -> Decimal:
        """What has been charged so far, in units: nothing until it succeeded, nothing if it failed.

        Whether real failures are refunded is not documented.
        """
        return Decimal(self.row.units) if self.succeeded else Decimal(0)

    @property
    def usd(self) -> str:
        """The same in dollars."""
        return plain(self.units * USD_PER_UNIT)


def view_of(
    row: TaskRow, now: float, ttl_seconds: float, link: Callable[[str, float], str], *, with_url: bool = True
) -> TaskView:
    """Look at a task at `now`; `link` signs a file name until a time."""
    state = state_at(row, now)
    expires = now + ttl_seconds
    is_there = state.status == SUCCEED and row.outcome != "no_url" and with_url
    suffix = "mp3" if row.endpoint == "speech" else "mp4"
    return TaskView(
        row=row,
        state=state,
        url=link(f"{row.task_id}.{suffix}", expires) if is_there else None,
        watermark_url=link(f"{row.task_id}-watermarked.mp4", expires) if is_there and row.watermark else None,
        url_expires=expires,
    )
