"""
Create `.venvs/bench`: the newest Airflow, the newest providers we compare with, and this project.

    python3 -m benchmarks.make_environment

Needs nothing but a Python. Knows what has to be installed; how, `dev/environment.py` knows.
"""

from __future__ import annotations

import hashlib
import time
import tomllib
from typing import TYPE_CHECKING

from environment import find_uv, python_for, run, uv_environment
from processes import interruptible
from versions import NEWEST

import benchmarks  # makes the tools below importable

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = benchmarks.ROOT / ".venvs" / "bench"
STAMP = FOLDER / ".complete"

PEERS = ("dbt-cloud", "common-ai")
"""The official providers whose triggers wait for something far away, as ours does. Their newest versions."""
PACKAGES = (
    "--editable",
    ".",
    f"apache-airflow=={NEWEST.airflow}",
    *(f"apache-airflow-providers-{peer}" for peer in PEERS),
    "openai",
    "uvloop",
)


def fingerprint(python: str) -> str:
    """Return a digest of everything that the environment's content follows from, except the date."""
    project = tomllib.loads((benchmarks.ROOT / "pyproject.toml").read_text())["project"]
    parts = [python, *PACKAGES, str(benchmarks.ROOT), repr(project["dependencies"])]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def ensure() -> Path:
    """
    Make sure that the environment is there; return its interpreter.

    :raises SystemExit: it could not be made; the message says why.
    """
    python, interpreter = python_for(NEWEST), FOLDER / "bin" / "python"
    wanted = fingerprint(python)
    if interpreter.exists() and STAMP.exists() and STAMP.read_text() == wanted:
        return interpreter
    begin = time.monotonic()
    print(f"Creating .venvs/bench with Airflow {NEWEST.airflow} and the newest peers ...", flush=True)
    STAMP.unlink(missing_ok=True)  # an interrupted installation must not pass for a complete one
    run("creating the environment", [python, "-m", "venv", "--clear", str(FOLDER)])
    install = [find_uv(), "pip", "install", "--quiet", "--python", str(interpreter), *PACKAGES]
    run("uv", install, uv_environment())
    STAMP.write_text(wanted)
    print(f".venvs/bench is ready after {time.monotonic() - begin:.0f} s", flush=True)
    return interpreter


if __name__ == "__main__":
    with interruptible():
        ensure()
