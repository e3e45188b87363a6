"""
The simulator as a process of its own, which can be killed and started again where it was.

Knows how to start it and how to ask it. What it stands for is described in docs/simulator.md.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import requests
from processes import ManagedProcess, free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class SimulatorProcess:
    """
    One simulator on a port that stays the same over restarts.

    :param folder: for its state and its log.
    :param render_seconds: of a clip, by its own clock.
    :param accounts: their names and API keys, beside the default one.
    :param slots: how many clips each account may have in the making; the simulator's own default if not given.
    """

    def __init__(
        self,
        folder: Path,
        *,
        render_seconds: float,
        accounts: Mapping[str, str] | None = None,
        slots: int | None = None,
    ) -> None:
        self.render_seconds = render_seconds
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "airflow_provider_kling_avatar.simulator"]
        command += ["--port", str(self.port), "--state-dir", str(folder / "simulator")]
        command += ["--queue-seconds", "0", "--render-seconds", str(render_seconds)]
        command += [f"--account={name}:{key}" for name, key in (accounts or {}).items()]
        command += [f"--slots={slots}"] if slots else []
        self.process = ManagedProcess("simulator", command, log=folder / "simulator.log")

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process.start()
        deadline = time.monotonic() + 60
        while True:
            try:
                self._call("GET", "health")
            except requests.RequestException as error:
                if time.monotonic() > deadline or not self.process.running:
                    log = self.process.log.read_text()
                    raise RuntimeError(f"the simulator did not start: {log}") from error
                time.sleep(0.2)
            else:
                return

    def billed(self) -> list[dict[str, Any]]:
        """Return the rows of the ledger, oldest first."""
        rows: list[dict[str, Any]] = self._call("GET", "ledger")["entries"]
        return rows

    def advance(self, seconds: float) -> None:
        """Move its clock ahead."""
        self._call("POST", "clock", {"advance": seconds})

    def _call(self, method: str, page: str, body: Any = None) -> Any:
        with requests.Session() as session:
            session.trust_env = False  # it is on this machine, whatever proxy the environment names
            answer = session.request(method, f"{self.url}/simulator/{page}", json=body, timeout=30)
            answer.raise_for_status()
            return answer.json()
