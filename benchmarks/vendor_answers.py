"""
What the fake vendor says: rows of a Kling list, single tasks, and the small answers that the peers' triggers read.

Everything is built beforehand, so that an answer costs a look-up and a list of 500 rows one join. Knows no socket
and no client.
"""

from __future__ import annotations

import heapq
import json
import random
import secrets
from dataclasses import dataclass
from typing import Any

TASKS_PATH = "/v1/videos/avatar/image2video"
BASE_ID = 831_420_000_000_000_000
"""Kling's ids are numbers of 18 digits, the newest the highest."""
OLD_TASKS = 2000
"""Finished long ago, behind those that are waited for: an account has a past."""
_OLDER = 1_000_000


@dataclass(frozen=True)
class Plan:
    """
    Which tasks there are, and when they end.

    :param tasks: how many are waited for.
    :param first: seconds after the beginning when the earliest may end.
    :param last: seconds after the beginning when the latest may end.
    :param seed: of the random numbers: the same seed, the same ends.
    """

    tasks: int
    first: float = 20.0
    last: float = 60.0
    seed: int = 7

    def ends(self) -> list[float]:
        """Return when each task ends, in seconds after the beginning, spread evenly by chance."""
        chance = random.Random(self.seed)  # noqa: S311 - the same at each run is what is wanted
        return [chance.uniform(self.first, self.last) for _ in range(self.tasks)]


def task_id(index: int) -> str:
    """Return the vendor's id of a task of the plan."""
    return str(BASE_ID + index)


class Account:
    """
    The tasks of one run, and the answers about them at any moment.

    :param plan: the tasks.
    :param begin: Unix seconds from which the plan counts.
    """

    def __init__(self, plan: Plan, begin: float) -> None:
        self.plan, self.begin = plan, begin
        self.done_at = [begin + seconds for seconds in plan.ends()]
        self._running: list[bytes] = []
        self._ended: list[bytes] = []
        for index, done in enumerate(self.done_at):
            created = min(begin, done - 1) - 1 + index * 1e-5  # within a second, the newest last
            self._running.append(_row(task_id(index), created, None))
            self._ended.append(_row(task_id(index), created, done - created))
        chance = random.Random(plan.seed + 1)  # noqa: S311 - as above
        self._old = [
            _row(str(BASE_ID - _OLDER - age), begin - 600 - age * 30, chance.uniform(plan.first, plan.last))
            for age in range(OLD_TASKS)
        ]
        self._now = list(self._running)
        self._order = [(done, index) for index, done in enumerate(self.done_at)]
        heapq.heapify(self._order)

    def row(self, index: int, now: float) -> bytes:
        """Return one task as it is at a moment (Unix seconds)."""
        return (self._ended if self.done_at[index] <= now else self._running)[index]

    def page(self, number: int, size: int, now: float) -> bytes:
        """Return a page of the list, the newest first; ``number`` counts from 1."""
        while self._order and self._order[0][0] <= now:
            _, index = heapq.heappop(self._order)
            self._now[index] = self._ended[index]
        stop = len(self._now) - (number - 1) * size
        rows = self._now[max(stop - size, 0) : stop][::-1] if stop > 0 else []
        if len(rows) < size:
            begin = max(-stop, 0)
            rows = rows + self._old[begin : begin + size - len(rows)]
        return b",".join(rows)


def _row(identifier: str, created: float, seconds: float | None) -> bytes:
    """Return a task as Kling describes it; ``seconds`` is how long it took, ``None`` while it runs."""
    row: dict[str, Any] = {
        "task_id": identifier,
        "task_status": "processing" if seconds is None else "succeed",
        "task_status_msg": "",
        "task_info": {"external_task_id": f"af-{int(identifier) % 10**9:024x}"},
        "task_result": {},
        "watermark_info": {"enabled": False},
        "created_at": int(created * 1000),
        "updated_at": int((created + (seconds or 1.0)) * 1000),
    }
    if seconds is not None:
        name = f"{int(identifier) % 10**9:032x}"
        row["task_result"] = {"videos": [_video(name)]}
        row["final_unit_deduction"] = "4.8"
        row["final_balance_deduction"] = {"quota": "0.672", "list_price": "0.672"}
    return json.dumps(row, separators=(",", ":")).encode()


_SIGNATURE = secrets.token_hex(64)


def _video(name: str) -> dict[str, str]:
    signed = f"?x-kcdn-pid=112452&pkey={_SIGNATURE}&expires=1797999999&source=api"
    return {
        "id": name,
        "url": f"https://v21-kling.example.com/bs2/upload-ylab-stunt-sgp/muse/output/{name}/raw_video.mp4{signed}",
        "watermark_url": f"https://v21-kling.example.com/bs2/upload-ylab-stunt-sgp/muse/wm/{name}.mp4{signed}",
        "duration": "12.041",
    }


def _dbt(status: int) -> bytes:
    """Return as much of a dbt Cloud run as its trigger reads; 3 is running, 10 is success."""
    run = {"id": 0, "account_id": 1, "job_definition_id": 50, "status": status, "is_complete": status == 10}
    answer = {"status": {"code": 200, "is_success": True, "user_message": "Success!"}, "data": run}
    return json.dumps(answer).encode()


def _batch(status: str) -> bytes:
    """Return a batch with all that OpenAI's client insists on."""
    batch = {
        "id": "batch_0",
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "file-abc123",
        "completion_window": "24h",
        "status": status,
        "output_file_id": "file-def456" if status == "completed" else None,
        "created_at": 1795000000,
        "request_counts": {"total": 100, "completed": 10, "failed": 0},
    }
    return json.dumps(batch).encode()


DBT_RUNNING, DBT_DONE = _dbt(3), _dbt(10)
BATCH_RUNNING, BATCH_DONE = _batch("in_progress"), _batch("completed")
