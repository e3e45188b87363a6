"""A trigger that fires at a moment. Airflow's own looks once a second; this one is for measuring."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Exactly(BaseTrigger):
    """
    Fire at a moment.

    :param moment: Unix seconds; also the event's payload.
    """

    def __init__(self, moment: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's trigger base is not typed
        self.moment = moment

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the argument."""
        return "benchmarks.resume_trigger.Exactly", {"moment": self.moment}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire."""
        await asyncio.sleep(max(self.moment - time.time(), 0))
        yield TriggerEvent(self.moment)
