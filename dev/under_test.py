"""
Run pytest so that it can be stopped like everything else here, with an AIRFLOW_HOME of its own.

    python dev/under_test.py [--chaos] [PYTEST_ARGUMENT ...]

pytest dies on SIGTERM without ending what its fixtures started; SIGINT makes it clean up. With ``--chaos`` the chaos
table is made meanwhile, of the processor time that tests leave which mostly wait. It is shown after pytest's output,
and its failure is ours.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from processes import ManagedProcess, interruptible, signals_held, stop_all

ROOT = Path(__file__).resolve().parents[1]
CHAOS = ROOT / "dev" / "chaos.py"
CHAOS_LOG = ROOT / "build" / "reports" / "chaos.log"
GIVE_WAY = 'echo 19 2>/dev/null >/proc/self/autogroup; exec nice -n 19 "$@"'
"""Linux may weigh sessions first, by the first number, and then the processes within each, by the second."""
LIMIT = 30 * 60  # seconds that chaos may take when pytest is over


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


def run_with_chaos(arguments: list[str]) -> int:
    """Run pytest with chaos beside it; return the exit status of the one that failed, or 0."""
    CHAOS_LOG.parent.mkdir(parents=True, exist_ok=True)
    CHAOS_LOG.unlink(missing_ok=True)
    command = ["sh", "-c", GIVE_WAY, "sh", sys.executable, str(CHAOS)]
    chaos = ManagedProcess("chaos", command, log=CHAOS_LOG, cwd=ROOT)
    try:
        chaos.start()
        status = run_pytest(arguments)
        chaos_status = chaos.wait(LIMIT)
    finally:
        stop_all([chaos])
    print(f"\nchaos, made meanwhile, ended with status {chaos_status}:\n{CHAOS_LOG.read_text()}", flush=True)
    return status or chaos_status


if __name__ == "__main__":
    with interruptible():
        words = sys.argv[1:]
        sys.exit(run_with_chaos(words[1:]) if words[:1] == ["--chaos"] else run_pytest(words))
