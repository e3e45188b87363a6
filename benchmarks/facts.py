"""Where and when it was measured, and with what: enough to judge the figures by, nothing about whose machine it is."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.waiters import WAITERS

LIBRARIES = ("apache-airflow", "aiohttp", "requests", "httpx", "openai")


def collect(rounds: int) -> dict[str, str]:
    """
    Return the facts by their names.

    :param rounds: how often what is measured more than once was measured.
    """
    packages = dict.fromkeys([*(w.package for w in WAITERS.values() if w.package), *LIBRARIES])
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "rounds": str(rounds),
        "machine": f"{os.cpu_count()} x {_processor()}, {_memory_gib():.0f} GiB, {platform.system()}",
        "Python": platform.python_version(),
        "versions": ", ".join(f"{package} {version(package)}" for package in packages),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
