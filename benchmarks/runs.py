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
from typing import TYPE_CHECKING, Any

from airflow_settings import clean_environment
from processes import ManagedProcess, stop_all, tail

from benchmarks import ROOT
from benchmarks.figures import Figures
from benchmarks.waiters import WAITERS

if TYPE_CHECKING:
    from benchmarks.measure import Spec


class RunError(Exception):
    """A measurement failed; the message holds the end of its log."""


class Runs:
    """
    Runs measurements.

    :param folder: for logs, and for Airflow's home; the caller removes it.
    :param url: the vendor.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self._count = 0

    def measure(self, spec: Spec) -> Figures:
        """
        Run one measurement of a waiter.

        :raises RunError: it failed.
        """
        env = WAITERS[spec.waiter].environment(self.url)
        if spec.beside:
            env |= WAITERS[spec.beside].environment(self.url)
        name = f"{spec.waiter}-{spec.tasks}"
        return Figures(
            **self.run("benchmarks.measure", name, asdict(spec), env, timeout=spec.times.last + 400)
        )

    def run(
        self, module: str, name: str, spec: Any, env: dict[str, str] | None = None, *, timeout: float = 300
    ) -> Any:
        """
        Run a module that reads a specification from one file and writes figures to another.

        :param module: its name.
        :param name: for messages and files.
        :param spec: anything JSON can hold.
        :param env: further environment variables.
        :param timeout: seconds.
        :raises RunError: it failed.
        """
        self._count += 1
        path = self.folder / f"{self._count:03}-{name}"
        given, found, log = (Path(f"{path}.{ending}") for ending in ("spec.json", "json", "log"))
        given.write_text(json.dumps(spec))
        settings = {
            "AIRFLOW_HOME": str(self.folder / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        }
        process = ManagedProcess(
            name,
            [sys.executable, "-m", module, str(given), str(found)],
            log=log,
            env=clean_environment(Path(sys.executable), settings | (env or {})),
            cwd=ROOT,
        )
        try:
            process.start()
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            status = -1
        finally:
            stop_all([process], grace=2)
        if status or not found.exists():
            raise RunError(f"{name} ended with status {status}\n{tail(log)}")
        return json.loads(found.read_text())
