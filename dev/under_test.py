"""
Run pytest so that it can be stopped like everything else here, with an AIRFLOW_HOME of its own.

    python dev/under_test.py [--beside "NAME COMMAND ..."] [PYTEST_ARGUMENT ...]

pytest dies on SIGTERM without ending what its fixtures started; SIGINT makes it clean up. What is named by ``--beside``
runs meanwhile, of the processor time that tests leave which mostly wait. It is shown after pytest's output, and its
failure is ours.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from processes import ManagedProcess, interruptible, signals_held, stop_all

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "build" / "reports"
GIVE_WAY = 'echo 19 2>/dev/null >/proc/self/autogroup; exec nice -n 19 "$@"'
"""Linux may weigh sessions first, by the first number, and then the processes within each, by the second."""
LIMIT = 30 * 60  # seconds that what is beside may take when pytest is over


def run_pytest(arguments: list[str]) -> int:
    """Run pytest and return its exit status."""
    with tempfile.TemporaryDirectory(prefix="test-") as home:
        env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        env |= {"AIRFLOW_HOME": home}
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
        with signals_held():  # also makes the child hear SIGINT, see there
            pytest = subprocess.Popen([sys.executable, "-m", "pytest", *arguments], env=env)
        try:
            return pytest.wait()
        except KeyboardInterrupt:
            pytest.send_signal(signal.SIGINT)
            pytest.wait(30)
            raise


def run_beside(words: str, arguments: list[str]) -> int:
    """
    Run pytest and something else beside it; return the exit status of the one that failed, or 0.

    :param words: a name, and the command that is called so.
    """
    name, *command = shlex.split(words)
    log = REPORTS / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    beside = ManagedProcess(name, ["sh", "-c", GIVE_WAY, "sh", *command], log=log, cwd=ROOT)
    try:
        beside.start()
        status, over = run_pytest(arguments), time.monotonic()
        beside_status = beside.wait(LIMIT)
    finally:
        stop_all([beside])
    later = time.monotonic() - over
    print(
        f"\n{name}, run meanwhile, ended with status {beside_status}, {later:.0f} s after pytest:\n"
        f"{log.read_text().rstrip()}",
        flush=True,
    )
    return status or beside_status


if __name__ == "__main__":
    with interruptible():
        given = sys.argv[1:]
        sys.exit(run_beside(given[1], given[2:]) if given[:1] == ["--beside"] else run_pytest(given))
