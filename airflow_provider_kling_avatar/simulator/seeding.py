"""Tasks in bulk: as old and as far as a test wants them, without anybody having ordered them.

It knows how a short description becomes thousands of rows. It must not know the store or HTTP. What is seeded is
a task like any other: it takes a slot until it ends, and has a line in the ledger and a film.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from airflow_provider_kling_avatar.simulator.dialects import DIALECTS
from airflow_provider_kling_avatar.simulator.ledger import plain
from airflow_provider_kling_avatar.simulator.settings import DEFAULT_ACCOUNT
from airflow_provider_kling_avatar.simulator.store import TaskRow

if TYPE_CHECKING:
    from decimal import Decimal

    from airflow_provider_kling_avatar.simulator.settings import SimulatorSettings

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]

_NOTES: Final = {"failed": "Failure to pass the risk control system", "unknown_status": "reviewing"}


# Checked by pydantic, because orders arrive as JSON from tests in any language.
@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Seed:
    """Some tasks that differ in nothing but id and age. Only `count` is needed."""

    count: Annotated[int, Field(ge=1, le=100_000)]
    """How many."""
    account: str = DEFAULT_ACCOUNT.name
    """Whose they are; it need not be an account that may call."""
    api: str = "kling"
    """The dialect that they came through."""
    endpoint: Literal["avatar", "image_to_video"] = "avatar"
    """What they make."""
    age_seconds: Seconds = 0.0
    """How long ago the newest was accepted."""
    spacing_seconds: Seconds = 0.0
    """How much older each is than the one before it."""
    queue_seconds: Seconds | None = None
    """How long each is `submitted`; None: as the simulator's settings say."""
    render_seconds: Seconds | None = None
    """How long each is then `processing`; None: as the simulator's settings say."""
    outcome: Literal["succeed", "failed", "no_url", "stuck", "unknown_status"] = "succeed"
    """How they end, if they do."""
    note: str | None = None
    """The reason of a failure, or the unknown status word; None: a usual one."""

    def __post_init__(self) -> None:
        """Refuse an API that is not served, or has no such endpoint."""
        if not any(d.name == self.api and self.endpoint in d.paths for d in DIALECTS):
            raise ValueError(f"api {self.api!r} with endpoint {self.endpoint!r} is not served here")


def rows_of(
    seed: Seed, now: float, settings: SimulatorSettings, *, image: str, audio: str, seconds: Decimal
) -> list[TaskRow]:
    """Make the rows, newest first; `image` and `audio` (of so many `seconds`) are file names in the media folder."""
    dialect = next(d for d in DIALECTS if d.name == seed.api and seed.endpoint in d.paths)
    job = dialect.job(seed.endpoint, {})
    like = TaskRow(
        task_id="",
        account=seed.account,
        dialect=dialect.name,
        desk=dialect.desk,
        endpoint=seed.endpoint,
        mode=job.mode,
        seconds=plain(seconds),
        units=plain(job.units(seconds)),
        image=image,
        audio=audio if seed.endpoint == "avatar" else None,
        created_at=now,
        queue_seconds=settings.queue_seconds if seed.queue_seconds is None else seed.queue_seconds,
        render_seconds=settings.render_seconds if seed.render_seconds is None else seed.render_seconds,
        outcome=seed.outcome,
        note=_NOTES.get(seed.outcome, "") if seed.note is None else seed.note,
    )
    newest = now - seed.age_seconds
    moments = (newest - seed.spacing_seconds * place for place in range(seed.count))
    return [replace(like, task_id=dialect.new_task_id(moment), created_at=moment) for moment in moments]
