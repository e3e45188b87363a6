"""
A budget that many spend from at once, without anybody who keeps it: each tells the others what it wants, then looks.

Whoever means to spend says so first and looks afterwards. Of all who go on, the last to have said so sees all others,
so that the sum of those who go on never exceeds the budget. Who does not fit beside the others gives way to those
before it in line, and gives up only once what was granted leaves no room for it.
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

PATIENCE_SECONDS = 60.0
"""How long to wait for others to decide. They need a second; one that was killed while it asked never does."""
PAUSE_SECONDS = 0.5


class Share(msgspec.Struct, frozen=True):
    """
    What one of many wants of the budget.

    :param place: its place in line; the lower goes first.
    :param amount: at most so much.
    :param stage: how far it has come.
    """

    place: int
    amount: Decimal
    stage: Stage

    def as_json(self) -> dict[str, Any]:
        """Return it as the others read it; the amount as a decimal text."""
        return {"place": self.place, "amount": plain(self.amount), "stage": self.stage}

    @classmethod
    def from_json(cls, value: Any) -> Share | None:
        """Read what another one told; ``None`` if it is nothing of the kind."""
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError:
            return None


def claim(
    place: int,
    amount: Decimal,
    cap: Decimal,
    *,
    tell: Callable[[Share], None],
    told: Callable[[], Iterable[Share]],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Decimal:
    """
    Get one's share of the budget; return what is spoken for after that.

    :param place: one's own place in line.
    :param amount: what is wanted at most.
    :param cap: the budget.
    :param tell: tells the others one's own share, in place of what was told before.
    :param told: returns what everybody has told last: whatever was told before it is asked.
    :raises CostLimitError: what others were granted leaves no room.
    :raises CostUndecidedError: others have asked for the rest and do not decide.
    """
    give_up_at = clock() + PATIENCE_SECONDS
    stage: Stage = "asked"
    tell(Share(place, amount, stage))
    while True:
        others = [share for share in told() if share.place != place]
        granted = _sum(other for other in others if other.stage == "granted")
        asked = [other for other in others if other.stage == "asked"]
        if granted + amount > cap:
            tell(Share(place, amount, "withdrawn"))
            raise CostLimitError(
                f"this clip may cost {amount_text(amount)}, and {amount_text(granted)} of max_cost_per_run "
                f"{plain(cap)} are spoken for by other rows of this run; no clip was ordered. Raise "
                "max_cost_per_run and clear this row, or leave it"
            )
        if stage == "asked" and granted + _sum(asked) + amount <= cap:
            tell(Share(place, amount, "granted"))
            return granted + amount
        if clock() > give_up_at:
            tell(Share(place, amount, "withdrawn"))
            raise CostUndecidedError(
                f"other rows have asked for the rest of max_cost_per_run {plain(cap)} and have not decided within "
                f"{PATIENCE_SECONDS:.0f} s (rows {', '.join(str(other.place) for other in asked) or 'unknown'}); "
                "no clip was ordered, the next try asks again"
            )
        before = _sum(other for other in asked if other.place < place)
        wanted: Stage = "asked" if granted + before + amount <= cap else "waiting"
        if wanted != stage:
            stage = wanted
            tell(Share(place, amount, stage))
            if stage == "asked":
                continue
        sleep(PAUSE_SECONDS)


def _sum(shares: Iterable[Share]) -> Decimal:
    return sum((share.amount for share in shares), Decimal(0))
