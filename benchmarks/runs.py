"""
Starts one fresh process per measurement, one after the other, and gives back its figures.

Knows environments, files and processes. What is measured, `measure` knows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_settings import clean_environment
from processes import ManagedProcess, stop_all, tail

from benchmarks import ROOT
from benchmarks.figures import Figures
from benchmarks.waiters import WAITERS

if TYPE_CHECKING:
    from benchmarks.figures import Case
    from benchmarks.vendor_client import Times


class RunError(Exception):
    """A measurement failed; the message holds the end of its log."""


def measure(case: Case, times: Times, folder: Path, url: str) -> Figures:
    """
    Run one measurement.

    :param times: when the vendor's tasks end.
    :param folder: for logs, and for Airflow's home; the caller removes it.
    :param url: the vendor.
    :raises RunError: it failed.
    """
    path = folder / f"{len(list(folder.glob('*.log'))):03}-{case.waiter}-{case.tasks}"
    given, found, log = (Path(f"{path}.{ending}") for ending in ("spec.json", "json", "log"))
    given.write_text(json.dumps(asdict(case) | {"url": url, "times": asdict(times)}))
    settings = {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    }
    process = ManagedProcess(
        path.name,
        [sys.executable, "-m", "benchmarks.measure", str(given), str(found)],
        log=log,
        env=clean_environment(Path(sys.executable), settings | WAITERS[case.waiter].environment(url)),
        cwd=ROOT,
    )
    try:
        process.start()
        status = process.wait(times.last + 400)
    except subprocess.TimeoutExpired:
        status = -1
    finally:
        stop_all([process], grace=2)
    if status or not found.exists():
        raise RunError(f"{path.name} ended with status {status}\n{tail(log)}")
    return Figures(**json.loads(found.read_text()))
