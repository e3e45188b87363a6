"""
How much processor time the import of operator modules takes, beyond what Airflow's own bases take.

    python -m benchmarks.imports SPEC.json FIGURES.json

Loads what every provider rests on once, then forks a child for each question, so that each starts there.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import statistics
import sys
import time
import warnings
from pathlib import Path

MODULES = {
    "ours": [
        "airflow_provider_kling_avatar.operators.kling_avatar",
        "airflow_provider_kling_avatar.sensors.kling_avatar",
    ],
    "http": ["airflow.providers.http.operators.http", "airflow.providers.http.sensors.http"],
}
TIMES = 9


def _load_bases() -> None:
    """Import what all providers' modules import."""
    warnings.simplefilter("ignore")
    for name in (
        "airflow.providers.common.compat.sdk",
        "airflow.providers.common.compat.connection",
        "airflow.triggers.base",
    ):
        importlib.import_module(name)
    from airflow.providers.common.compat import sdk

    for name in (
        "BaseHook",
        "BaseOperator",
        "BaseOperatorLink",
        "BaseSensorOperator",
        "ObjectStoragePath",
        "XCom",
    ):
        getattr(sdk, name)  # imported at the first look


def _ask(modules: list[str]) -> dict[str, float]:
    """Import modules in a child; return milliseconds of processor time and how many modules came along."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        with os.fdopen(reader) as pipe:
            answer: dict[str, float] = json.load(pipe)
        os.waitpid(child, 0)
        return answer
    before = len(sys.modules)
    gc.disable()  # a collection of all that Airflow holds costs 100 ms, falls where it likes, and is nobody's here
    begin = time.process_time()
    for module in modules:
        importlib.import_module(module)
    cpu = time.process_time() - begin
    with os.fdopen(writer, "w") as pipe:
        json.dump({"cpu_ms": cpu * 1000, "modules": len(sys.modules) - before}, pipe)
    os._exit(0)


def main() -> None:
    """Run from the command line."""
    _load_bases()
    for modules in MODULES.values():
        _ask(modules)  # compiles them
    found = {}
    for name, modules in MODULES.items():
        answers = [_ask(modules) for _ in range(TIMES)]
        found[name] = {key: statistics.median(answer[key] for answer in answers) for key in answers[0]}
    Path(sys.argv[2]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
