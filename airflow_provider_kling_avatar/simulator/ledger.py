"""What it would have cost: one line per accepted request.

It knows how to add up and to write amounts. It must not know prices, requests or answers. An entry has its price from
the moment its task is accepted, so that a clip ordered twice shows at once; what an account has been charged moves as
the vendor's own balance does, when a task succeeds. A failed task is billed nothing here; whether the vendors charge
for failures is not known. The list price is an estimate, never an invoice.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_kling_avatar.simulator.lifecycle import FAILED, SUCCEED, state_at

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.simulator.clock import Clock
    from airflow_provider_kling_avatar.simulator.store import Store, TaskRow


USD_PER_UNIT: Final = Decimal("0.14")
"""One resource-pack unit at list price."""


def plain(value: Decimal) -> str:
    """Write a number without exponent or trailing zeros, as the vendors' string fields have it."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


class Ledger:
    """Everything that was accepted, and its price."""

    def __init__(self, store: Store, clock: Clock, opened_at: float) -> None:
        """Add up the tasks of `store`; `opened_at` (Unix seconds) is when the first one could have been made."""
        self._store = store
        self._clock = clock
        self.opened_at = opened_at

    def entries(self) -> list[dict[str, Any]]:
        """List what was accepted, oldest first; amounts are strings of exact decimals."""
        now = self._clock.now()
        return [self._entry(row, now) for row in self._store.everything()]

    def report(self) -> dict[str, Any]:
        """Describe all entries and their totals."""
        entries = self.entries()
        return {
            "currency": "USD",
            "entries": entries,
            "total": {
                "tasks": len(entries),
                "seconds": plain(sum((Decimal(e["seconds"]) for e in entries), Decimal(0))),
                "units": plain(sum((Decimal(e["units"]) for e in entries), Decimal(0))),
                "amount_usd": plain(sum((Decimal(e["amount_usd"]) for e in entries), Decimal(0))),
            },
        }

    def units_charged(self, account: str) -> Decimal:
        """Add up what was taken from an account so far, in units: only for what has succeeded."""
        now = self._clock.now()
        rows = self._store.of_account(account)
        done = (Decimal(row.units) for row in rows if state_at(row, now).status == SUCCEED)
        return sum(done, Decimal(0))

    def _entry(self, row: TaskRow, now: float) -> dict[str, Any]:
        status = state_at(row, now).status
        units = Decimal(0) if status == FAILED else Decimal(row.units)
        return {
            "task_id": row.task_id,
            "account": row.account,
            "dialect": row.dialect,
            "endpoint": row.endpoint,
            "external_task_id": row.external_task_id,
            "mode": row.mode,
            "seconds": row.seconds,
            "units": plain(units),
            "amount_usd": plain(units * USD_PER_UNIT),
            "created_at": row.created_at,
            "status": status,
        }
