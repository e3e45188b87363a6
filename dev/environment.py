"""
Create a virtual environment with a given Airflow and this project, unless it is there and up to date.

    python3 dev/environment.py FOLDER [--airflow VERSION] [--extras NAMES]

Needs nothing but a Python: fetches uv, which installs Airflow in seconds where pip takes minutes. pip's settings from
the environment (index, certificates) hold for uv too; if uv fails all the same, pip gets its chance.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import time
from pathlib import Path

from processes import ManagedProcess, stop_all, tail
from versions import MINIMUM_PYTHON, NEWEST, Supported, supported

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".venvs" / "tools"
TOOLS_PINS = ROOT / "dev" / "constraints" / "tools.txt"
"""The versions of uv, and of all that a release is built and checked with."""
STAMP = ".complete"

_UV_NAME_OF = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_CERT": "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE": "SSL_CERT_FILE",
}


def uv_environment() -> dict[str, str]:
    """Return the environment for uv: ours, with pip's settings under the names uv knows."""
    env = dict(os.environ)
    env.pop("VIRTUAL_ENV", None)  # the environment meant is always named
    for pip_name, uv_name in _UV_NAME_OF.items():
        if pip_name in env:
            env.setdefault(uv_name, env[pip_name])
    env.setdefault("UV_NATIVE_TLS", "1")  # companies' own certificate authorities
    env.setdefault("UV_HTTP_TIMEOUT", "120")
    env.setdefault("UV_LINK_MODE", "copy" if os.name == "nt" else "hardlink")
    return env


def run(title: str, command: list[str], env: dict[str, str] | None = None) -> None:
    """
    Run a step of the installation to its end; its output is shown only if it fails.

    As a process that can be ended completely: somebody may lose patience at any moment.

    :raises SystemExit: it failed.
    """
    log = ROOT / ".venvs" / f"install-{os.getpid()}.log"
    log.parent.mkdir(exist_ok=True)
    process = ManagedProcess(
        title, command, log=log, env=env if env is not None else dict(os.environ), cwd=ROOT
    )
    try:
        process.start()
        if process.wait(timeout=1200):
            raise SystemExit(f"{title} failed: {' '.join(command)}\n{tail(log)}")
    finally:
        stop_all([process], grace=2)
        log.unlink(missing_ok=True)


def find_uv() -> str:
    """Return uv: the one on the PATH, else one installed for this checkout."""
    found = shutil.which("uv")
    if found:
        return found
    uv = TOOLS / "bin" / "uv"
    if not uv.exists():
        run("creating the tools' environment", [sys.executable, "-m", "venv", "--clear", str(TOOLS)])
        pip = [str(TOOLS / "bin" / "pip"), "install", "--quiet", "--constraint", str(TOOLS_PINS)]
        run("installing uv", [*pip, "uv"])
    return str(uv)


def python_for(entry: Supported) -> str:
    """
    Return a Python that this Airflow supports: the running one if possible, else one on the PATH.

    :raises SystemExit: there is none.
    """
    if sys.version_info[:2] < MINIMUM_PYTHON:
        raise SystemExit(
            f"Python {MINIMUM_PYTHON[0]}.{MINIMUM_PYTHON[1]} or newer is needed, this is {sys.version.split()[0]} "
            f"({sys.executable}).\nName another one: make PYTHON=python3.12 ..."
        )
    if sys.version_info[:2] <= entry.newest_python:
        # Not the one of an environment we may be running in: its packages are nobody's business.
        return (
            str(Path(sys.base_prefix, "bin", "python3")) if sys.prefix != sys.base_prefix else sys.executable
        )
    for minor in range(entry.newest_python[1], MINIMUM_PYTHON[1] - 1, -1):
        if found := shutil.which(f"python3.{minor}"):
            print(
                f"Airflow {entry.airflow} does not support Python {sys.version.split()[0]}: using {found}",
                flush=True,
            )
            return found
    raise SystemExit(
        f"Airflow {entry.airflow} supports Python up to {'.'.join(map(str, entry.newest_python))}; this is "
        f"{sys.version.split()[0]}, and no older one is on the PATH. Install one (python3.12, python3.11)."
    )


def fingerprint(entry: Supported, python: str, extras: str) -> str:
    """Return a digest of everything the environment's content follows from."""
    constraints = constraints_file(entry, extras)
    parts = [str(entry).encode(), python.encode(), (ROOT / "pyproject.toml").read_bytes(), str(ROOT).encode()]
    parts.append(extras.encode())
    parts.append(constraints.read_bytes() if constraints.exists() else b"")
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def constraints_file(entry: Supported, extras: str = "") -> Path:
    """
    Return where the pinned versions of an environment are written down.

    :param extras: of this project. FAB, which ``ui`` brings, wants older libraries than Airflow alone.
    """
    kind = "ui" if "ui" in extras.split(",") else "airflow"
    return ROOT / "dev" / "constraints" / f"{kind}-{entry.airflow}.txt"


def ensure(folder: Path, airflow: str, extras: str | None = None) -> Path:
    """
    Make sure that the environment is there and up to date.

    :param folder: where it is or shall be.
    :param extras: of this project, separated by commas; by default what the tests need.
    :returns: its interpreter.
    :raises SystemExit: it could not be made; the message says why.
    """
    entry = supported(airflow)
    extras = extras or ("dev,lint" if entry is NEWEST else "dev")
    python, interpreter, stamp = python_for(entry), folder / "bin" / "python", folder / STAMP
    wanted = fingerprint(entry, python, extras)
    if interpreter.exists() and stamp.exists() and stamp.read_text() == wanted:
        return interpreter
    begin = time.monotonic()
    print(f"Creating {_shown(folder)} with Airflow {airflow} ...", flush=True)
    stamp.unlink(missing_ok=True)  # an interrupted installation must not pass for a complete one
    run("creating the environment", [python, "-m", "venv", "--clear", str(folder)])
    what = ["--quiet", "--editable", f".[{extras}]", f"apache-airflow=={airflow}"]
    if constraints_file(entry, extras).exists():
        what += ["--constraint", str(constraints_file(entry, extras))]
    try:
        run("uv", [find_uv(), "pip", "install", "--python", str(interpreter), *what], uv_environment())
    except SystemExit as error:
        print(f"{error}\nTrying pip, which takes longer ...", flush=True)
        run("pip", [str(interpreter), "-m", "pip", "install", *what])
    stamp.write_text(wanted)
    print(f"{_shown(folder)} is ready after {time.monotonic() - begin:.0f} s", flush=True)
    return interpreter


def _shown(folder: Path) -> str:
    """Return a path as people want to read it."""
    return str(folder.relative_to(ROOT)) if folder.is_relative_to(ROOT) else str(folder)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("folder", type=Path)
    parser.add_argument("--airflow", default=NEWEST.airflow, metavar="VERSION")
    parser.add_argument("--extras", metavar="NAMES", help="of this project; by default what the tests need")
    options = parser.parse_args()
    ensure(options.folder.absolute(), options.airflow, options.extras)


if __name__ == "__main__":
    from processes import interruptible

    with interruptible():
        main()
