"""What the clips of a Dag cost, by day and by run, out of the summaries that tasks have left. Pure."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from math import inf
from typing import TYPE_CHECKING, Any

from airflow_provider_kling_avatar.clip_summary import told_after
from airflow_provider_kling_avatar.gallery.texts import shown_text
from airflow_provider_kling_avatar.kling.pricing import decimal_of, plain

if TYPE_CHECKING:
    from collections.abc import Iterable


class Sum:
    """What some clips cost together, each currency by itself."""

    def __init__(self) -> None:
        self.clips = 0
        self.began_at: float | None = None
        self.estimated: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.actual: defaultdict[str, Decimal] = defaultdict(Decimal)

    def add(self, summary: dict[str, Any]) -> None:
        """Add a clip."""
        self.clips += 1
        began_at = summary["began_at"]
        self.began_at = began_at if self.began_at is None else min(began_at, self.began_at)
        currency = shown_text(summary.get("currency")) or ""
        for name, amounts in (("estimated_cost", self.estimated), ("actual_cost", self.actual)):
            if (amount := _amount(summary.get(name))) is not None:
                amounts[currency] += amount

    def as_dict(self) -> dict[str, Any]:
        """Return the number of clips and both costs, as decimal texts by currency, which is empty if not known."""
        return {
            "clips": self.clips,
            "estimated": {currency: plain(amount) for currency, amount in self.estimated.items()},
            "actual": {currency: plain(amount) for currency, amount in self.actual.items()},
        }


def costs_of(summaries: Iterable[tuple[str, Any]], since: float = 0.0) -> dict[str, Any]:
    """
    Return ``days``, ``runs`` (both newest first) and ``total``.

    A clip counts once, whichever tasks sent it, waited for it and fetched it: in the run and by the day (UTC) in which
    the first of them began.

    :param summaries: run id and summary of each task instance that has one. What no vendor has taken is left out.
    :param since: Unix seconds; a clip that began before is left out.
    """
    clips: dict[str, dict[str, Any]] = {}
    run_of: dict[str, str] = {}
    readable = [(run_id, summary) for run_id, summary in summaries if _is_clip(summary)]
    for run_id, summary in sorted(
        readable, key=lambda found: (found[1].get("step") or 0, found[1]["began_at"])
    ):
        clip = summary["kling_task_id"]
        known = clips.get(clip, {"began_at": inf})
        if summary["began_at"] < known["began_at"]:
            run_of[clip] = run_id
        began_at = min(summary["began_at"], known["began_at"])
        clips[clip] = told_after(known, {**summary, "began_at": began_at})
    days: defaultdict[str, Sum] = defaultdict(Sum)
    runs: defaultdict[str, Sum] = defaultdict(Sum)
    total = Sum()
    for clip, summary in clips.items():
        if summary["began_at"] < since:
            continue
        day = datetime.fromtimestamp(summary["began_at"], UTC).date().isoformat()
        for one in (days[day], runs[run_of[clip]], total):
            one.add(summary)
    by_beginning = sorted(runs.items(), key=lambda run: run[1].began_at or 0.0, reverse=True)
    return {
        "days": [{"day": day, **days[day].as_dict()} for day in sorted(days, reverse=True)],
        "runs": [
            {"run_id": run_id, "began_at": one.began_at, **one.as_dict()} for run_id, one in by_beginning
        ],
        "total": total.as_dict(),
    }


def _is_clip(summary: object) -> bool:
    return (
        isinstance(summary, dict)
        and isinstance(summary.get("kling_task_id"), str)
        and isinstance(summary.get("began_at"), int | float)
        and 0 <= summary["began_at"] < 2**33
        and isinstance(summary.get("step", 0), int)
    )


def _amount(text: object) -> Decimal | None:
    return decimal_of(text) if isinstance(text, str) else None
