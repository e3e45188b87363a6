"""
A Dag for the benchmark of resumption: clips of ours, and as many tasks whose end is known to the hundredth of a second.

The second kind is Airflow's own share: how long it takes from a trigger's event to a worker that has the task again.
"""

from __future__ import annotations

import os
import time
from typing import Any

from airflow.providers.common.compat.sdk import DAG, BaseOperator

from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarOperator
from benchmarks.resume_trigger import Exactly

TASKS = int(os.environ["BENCH_TASKS"])
FIRST, LAST = float(os.environ["BENCH_FIRST"]), float(os.environ["BENCH_LAST"])


class TimedAvatarOperator(KlingAvatarOperator):
    """Says when a worker had the task again, in Unix seconds."""

    def execute_complete(self, context: Any, event: dict[str, Any] | None = None) -> Any:
        """Note the time first of all."""
        resumed = time.time()
        super().execute_complete(context, event)
        return {"kling_task_id": (event or {})["task_id"], "resumed": resumed}


class TimedExactOperator(BaseOperator):
    """Waits as if for a clip, with a trigger that knows the moment."""

    def __init__(self, *, number: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.number = number

    def execute(self, context: Any) -> None:
        """Defer until the moment; ends are spread as the vendor spreads them."""
        del context
        moment = time.time() + FIRST + (LAST - FIRST) * (self.number * 0.618034 % 1)
        self.defer(trigger=Exactly(moment), method_name="resume")

    def resume(self, context: Any, event: float) -> dict[str, float]:
        """Say when."""
        del context
        return {"moment": event, "resumed": time.time()}


with DAG("bench_ours", schedule=None):
    for number in range(TASKS):
        TimedAvatarOperator(
            task_id=f"clip_{number}",
            kling_conn_id="kling_bench",
            image=os.environ["BENCH_IMAGE"],
            audio=os.environ["BENCH_AUDIO"],
        )

with DAG("bench_exact", schedule=None):
    for number in range(TASKS):
        TimedExactOperator(task_id=f"exact_{number}", number=number)
