"""
A small Airflow: one component of each kind, on SQLite. Enough for a demonstration and for most tests.

Needs nothing but the Python environment it is installed in.
"""

from __future__ import annotations

from managed_airflow import ManagedAirflow, ManagedAirflowError

LocalAirflowError = ManagedAirflowError


class LocalAirflow(ManagedAirflow):
    """
    One Airflow: scheduler, triggerer, API server and, on 3.x, Dag processor. Takes what `ManagedAirflow` takes.

    ``parallelism`` counts on 3.x only: 2.11 runs one task at a time on SQLite.
    """

    def _commands(self) -> dict[str, list[str]]:
        """Return one component of each kind."""
        quiet = self._no_log_server()
        scheduler, triggerer = ["scheduler", *quiet], ["triggerer", *quiet]
        if self.major == 2:
            return {"scheduler": scheduler, "triggerer": triggerer, "webserver": ["webserver"]}
        return {
            "api-server": ["api-server"],
            "scheduler": scheduler,
            "dag-processor": ["dag-processor"],
            "triggerer": triggerer,
        }
