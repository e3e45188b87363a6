"""
Run pytest so that it can be stopped like everything else here, with an AIRFLOW_HOME of its own.

pytest dies on SIGTERM without ending what its fixtures started; SIGINT makes it clean up.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from processes import interruptible, signals_held

if __name__ == "__main__":
    with interruptible(), tempfile.TemporaryDirectory(prefix="test-") as home:
        env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        env |= {"AIRFLOW_HOME": home}
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
        with signals_held():  # also makes the child hear SIGINT, see there
            pytest = subprocess.Popen([sys.executable, "-m", "pytest", *sys.argv[1:]], env=env)
        try:
            status = pytest.wait()
        except KeyboardInterrupt:
            pytest.send_signal(signal.SIGINT)
            pytest.wait(30)
            raise
        sys.exit(status)
