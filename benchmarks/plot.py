"""One picture of who needs how much. Knows matplotlib, which is imported here only; judges nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.figures import Case

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from benchmarks.figures import Summary
    from benchmarks.plan import Plan

OURS, LIMIT, PEER = "#0b7a75", "#8fbfbc", "#b8b8b8"
ORDER = ("llm", "http", "dbt", "bare-single", "ours-single", "bare-list", "ours-list")
LABELS = {
    "llm": "LLMBatchTrigger",
    "http": "HttpEventTrigger",
    "dbt": "DbtCloudRunJobTrigger",
    "bare-single": "limit: one GET each",
    "ours-single": "KlingAvatarTrigger, no list",
    "bare-list": "limit: one list for all",
    "ours-list": "KlingAvatarTrigger",
}
MEASURES: dict[str, Callable[[Summary], float]] = {
    "processor seconds": lambda one: one.cpu,
    "requests": lambda one: one.requests,
}


def draw(plan: Plan, measured: Mapping[Case, Summary], target: Path) -> None:
    """
    Draw processor seconds and requests of all waiters, a row per size.

    :param target: a PNG file.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    sizes = [size for size in plan.sizes if any(_find(plan, measured, name, size) for name in ORDER)]
    bars = [[name for name in ORDER if _find(plan, measured, name, size)] for size in sizes]
    figure, axes = plt.subplots(
        len(sizes),
        len(MEASURES),
        figsize=(10, 1.0 + sum(0.36 * len(names) + 0.6 for names in bars)),
        height_ratios=[len(names) for names in bars],
        squeeze=False,
        layout="constrained",
    )
    for row, (size, names) in enumerate(zip(sizes, bars, strict=True)):
        for column, (title, pick) in enumerate(MEASURES.items()):
            ax = axes[row][column]
            values = [pick(measured[Case(name, size, plan.interval)]) for name in names]
            drawn = ax.barh([LABELS[name] for name in names], values, color=[_colour(name) for name in names])
            ax.bar_label(drawn, [_shown(value) for value in values], padding=3, fontsize=9)
            ax.set_xscale("log")
            ax.set_xlim(min(values) / 2, max(values) * 4)
            ax.set_title(f"{title}, {size:,} tasks", fontsize=10, loc="left")
            ax.spines[["top", "right"]].set_visible(False)
            if column:
                ax.set_yticklabels([])
    figure.suptitle(
        f"Waiting for tasks that end after {plan.first:g} to {plan.last:g} s, a poll every {plan.interval:g} s, "
        "one process",
        fontsize=11,
    )
    figure.savefig(target, dpi=144, metadata={"Software": None})
    plt.close(figure)


def _find(plan: Plan, measured: Mapping[Case, Summary], name: str, size: int) -> Summary | None:
    return measured.get(Case(name, size, plan.interval))


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def _colour(name: str) -> str:
    return OURS if name.startswith("ours") else LIMIT if name.startswith("bare") else PEER
