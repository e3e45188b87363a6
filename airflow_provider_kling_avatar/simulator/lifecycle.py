"""Where a task stands at a given moment, and what its owner may see of it then: pure functions of its row and the time.

It knows the four documented states and the outcomes a fault can ask for. It must not know the store, the
wire or the clock, so nothing has to run in the background for a task to move on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_kling_avatar.simulator.store import TaskRow

SUBMITTED, PROCESSING, SUCCEED, FAILED = "submitted", "processing", "succeed", "failed"


@dataclass(frozen=True)
class State:
    """What the documentation calls a task's status, and since when."""

    status: str
    """One of the four documented words, or the word a fault put there."""
    since: float
    """Unix seconds of the last change."""
    progress: int
    """Percent, for the gateways that show it."""
    reason: str = ""
    """Why it failed; empty otherwise."""

    @property
    def is_final(self) -> bool:
        """Whether it will never change again."""
        return self.status in (SUCCEED, FAILED)

    def in_words(self, words: Mapping[str, str]) -> str:
        """Translate the status; a word that is in no table is one a fault put there, and passed on."""
        return words.get(self.status, self.status)


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


def state_at(row: TaskRow, now: float) -> State:
    """Work out where the task is at `now` (Unix seconds)."""
    started = row.created_at + row.queue_seconds
    over = started + row.render_seconds
    if now < started:
        return State(SUBMITTED, row.created_at, 0)
    if now < over or row.outcome == "stuck":
        share = (now - started) / row.render_seconds if row.render_seconds else 1.0
        word = row.note if row.outcome == "unknown_status" else PROCESSING
        return State(word, started, min(99, int(share * 100)))
    if row.outcome == "failed":
        return State(FAILED, over, 100, row.note)
    return State(SUCCEED, over, 100)


def changes(row: TaskRow) -> tuple[float, ...]:
    """List the moments (Unix seconds) at which the status changes, acceptance included."""
    started = row.created_at + row.queue_seconds
    all_of_them = (row.created_at, started, started + row.render_seconds)
    return all_of_them[:2] if row.outcome == "stuck" else all_of_them


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
