"""
Tell what a plain Airflow makes of the installed provider, and what a Dag pays for importing it, as one line of JSON.

Run by `dev/release_check.py` with the interpreter of that Airflow, isolated (`-I`), so that nothing of this checkout
can be imported by mistake.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

MODULES = ("get_provider_info", "operators.kling_avatar", "sensors.kling_avatar", "decorators.kling_avatar")
"""What a Dag imports, and what each Airflow process reads at its start."""
TIMED = """
import time, warnings
warnings.simplefilter("ignore")
from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseSensorOperator
begin = time.perf_counter()
import airflow_provider_kling_avatar.{module}
print(time.perf_counter() - begin)
"""
"""What any provider's modules rest on is not ours to answer for."""


def milliseconds(module: str) -> int:
    """Return how long a process takes to import one of our modules, the best of three."""
    command = [sys.executable, "-I", "-c", TIMED.format(module=module)]
    told = [subprocess.check_output(command, text=True) for _ in range(3)]
    return round(1000 * min(float(text.split()[-1]) for text in told))


def main() -> None:
    """Print what is seen."""
    warnings.simplefilter("ignore")  # Airflow's own, which are many
    from airflow.providers_manager import ProvidersManager

    import airflow_provider_kling_avatar as package

    manager = ProvidersManager()
    provider, hook = manager.providers["airflow-provider-kling-avatar"], manager.hooks["kling_avatar"]
    seen = {
        "from": package.__file__,
        "version": provider.version,
        "hook": hook and hook.hook_class_name,
        "documentation": provider.data.get("documentation-url"),
        "milliseconds": {module: milliseconds(module) for module in MODULES},
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
