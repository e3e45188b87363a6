"""
A budget that many rows spend from at once, without anybody who keeps it: each pushes what it wants, then reads all.

Whoever means to spend says so first and looks afterwards. Of all who go on, the last to have said so sees all others,
so that the sum of those who go on never exceeds the budget. Who does not fit beside the others gives way to those
of a lower map index, and gives up only once what was granted leaves no room for it.
"""

from __future__ import annotations

import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from airflow_provider_kling_avatar.kling.errors import CostLimitError, CostUndecidedError
from airflow_provider_kling_avatar.kling.pricing import amount_text, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Stage = Literal["asked", "granted", "waiting", "withdrawn"]
"""``asked``: counts until it is decided. ``granted``: may be paid. ``waiting``: gives way, does not count."""

GIVE_UP_SECONDS = 60.0
"""How long to wait for others to decide. They need a second; one that was killed while it asked never does."""
READ_PAUSE_SECONDS = 0.5


class Share(msgspec.Struct, frozen=True):
    """
    What one row wants of the budget.

    :param map_index: of the row; the lower goes first.
    :param amount: at most so much.
    :param stage: how far it has come.
    """

    map_index: int
    amount: Decimal
    stage: Stage

    def as_json(self) -> dict[str, Any]:
        """Return it as the other rows read it; the amount as a decimal text."""
        return {"map_index": self.map_index, "amount": plain(self.amount), "stage": self.stage}

    @classmethod
    def from_json(cls, value: Any) -> Share | None:
        """Read what another row pushed; ``None`` if it is nothing of the kind."""
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError:
            return None


def claim(
    map_index: int,
    amount: Decimal,
    limit: Decimal,
    *,
    push: Callable[[Share], None],
    read_all: Callable[[], Iterable[Share]],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Decimal:
    """
    Get a row's share of the budget; return what is spoken for after that.

    :param map_index: of the row that asks.
    :param amount: what is wanted at most.
    :param limit: the budget.
    :param push: shows the other rows this one's share, in place of what was pushed before.
    :param read_all: returns what each row has pushed last: whatever was pushed before it is called.
    :raises CostLimitError: what others were granted leaves no room.
    :raises CostUndecidedError: others have asked for the rest and do not decide.
    """
    give_up_at = clock() + GIVE_UP_SECONDS
    stage: Stage = "asked"
    push(Share(map_index, amount, stage))
    while True:
        others = [share for share in read_all() if share.map_index != map_index]
        granted = _sum(other for other in others if other.stage == "granted")
        asked = [other for other in others if other.stage == "asked"]
        if granted + amount > limit:
            push(Share(map_index, amount, "withdrawn"))
            raise CostLimitError(
                f"this clip may cost {amount_text(amount)}, and {amount_text(granted)} of max_cost_per_run "
                f"{plain(limit)} are spoken for by other rows of this run; no clip was ordered. Raise "
                "max_cost_per_run and clear this row, or leave it"
            )
        if stage == "asked" and granted + _sum(asked) + amount <= limit:
            push(Share(map_index, amount, "granted"))
            return granted + amount
        if clock() > give_up_at:
            push(Share(map_index, amount, "withdrawn"))
            raise CostUndecidedError(
                f"other rows have asked for the rest of max_cost_per_run {plain(limit)} and have not decided within "
                f"{GIVE_UP_SECONDS:.0f} s (rows {', '.join(str(other.map_index) for other in asked) or 'unknown'}); "
                "no clip was ordered, the next try asks again"
            )
        before = _sum(other for other in asked if other.map_index < map_index)
        wanted: Stage = "asked" if granted + before + amount <= limit else "waiting"
        if wanted != stage:
            stage = wanted
            push(Share(map_index, amount, stage))
            if stage == "asked":
                continue
        sleep(READ_PAUSE_SECONDS)


def _sum(shares: Iterable[Share]) -> Decimal:
    return sum((share.amount for share in shares), Decimal(0))
