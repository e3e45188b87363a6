"""
From the end at the vendor until a worker has the task again, in a real Airflow with its own triggerer.

Starts one of this environment, with the benchmark's Dag and the fake vendor. Two runs of the same shape: clips of
ours, then tasks whose trigger knows the moment, which is Airflow's own share.
"""

from __future__ import annotations

import shutil
import statistics
from typing import TYPE_CHECKING, Any

from local_airflow import LocalAirflow

from benchmarks import ROOT
from benchmarks.vendor_answers import BASE_ID
from benchmarks.vendor_client import Times, VendorClient
from benchmarks.waiters import WAITERS

if TYPE_CHECKING:
    from pathlib import Path

TASKS = 8
FIRST, LAST = 15.0, 45.0
"""Seconds from submission to the end: far enough apart that two workers keep up."""
ASSETS = ROOT / "airflow_provider_kling_avatar" / "simulator" / "assets"


def measure(folder: Path, url: str) -> dict[str, Any]:
    """
    Run both Dags.

    :param folder: for the Dag file and Airflow's home.
    :param url: the vendor.
    :returns: seconds from the end to the resumption: ``ours`` and ``exact``, median and longest.
    """
    dags = folder / "dags"
    dags.mkdir()
    shutil.copy(ROOT / "benchmarks" / "resume_dag.py", dags)
    vendor = VendorClient(url)
    vendor.begin(0, Times(FIRST, LAST))
    env = WAITERS["ours-list"].environment(url) | {
        "BENCH_TASKS": str(TASKS),
        "BENCH_FIRST": str(FIRST),
        "BENCH_LAST": str(LAST),
        "BENCH_IMAGE": str(ASSETS / "presenter.jpg"),
        "BENCH_AUDIO": str(ASSETS / "greeting.mp3"),
    }
    with LocalAirflow(dags, home=folder / "resume", env=env) as airflow:
        exact = [value["resumed"] - value["moment"] for value in _results(airflow, "bench_exact", "exact")]
        clips = _results(airflow, "bench_ours", "clip")
    ends = vendor.done_at()
    ours = [value["resumed"] - ends[int(value["kling_task_id"]) - BASE_ID] for value in clips]
    return {
        name: {"median": statistics.median(found), "longest": max(found), "tasks": len(found)}
        for name, found in (("ours", ours), ("exact", exact))
    }


def _results(airflow: LocalAirflow, dag_id: str, prefix: str) -> list[dict[str, Any]]:
    """Run a Dag to its end, and return what its tasks returned."""
    run_id = airflow.trigger(dag_id)
    state = airflow.wait_for_run(dag_id, run_id, timeout=300)
    if state != "success":
        raise RuntimeError(f"{dag_id} ended as {state}\n{airflow.log_tails('triggerer', lines=20)}")
    return [airflow.xcom(dag_id, run_id, f"{prefix}_{number}") for number in range(TASKS)]
