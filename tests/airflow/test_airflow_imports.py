"""Parsing a Dag must not load what only running one needs; measured in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

MODULES = [
    "airflow_provider_kling_avatar.decorators.kling_avatar",
    "airflow_provider_kling_avatar.get_provider_info",
    "airflow_provider_kling_avatar.operators.kling_avatar",
    "airflow_provider_kling_avatar.operators.kling_video_download",
    "airflow_provider_kling_avatar.sensors.kling_avatar",
    "airflow_provider_kling_avatar.triggers.kling_avatar",
    "airflow_provider_kling_avatar.triggers.kling_slot",
    "airflow_provider_kling_avatar.links.kling_avatar",
    "airflow_provider_kling_avatar.hooks.kling_avatar",
    "airflow_provider_kling_avatar.notifications.kling_avatar",
]
HEAVY = {
    "PIL",
    "aiohttp",
    "airflow_provider_kling_avatar.simulator",
    "av",
    "fastapi",
    "jsonschema",
    "jwt",
    "requests",
    "tenacity",
    "uvicorn",
}
MOST_DATACLASSES = 60
"""So many dataclasses of ten fields cost as much as importing all of ours may: a machine's speed is nobody's doing."""

# Loads what any provider's modules rest on, once; then forks a child for each question, so that each starts there.
SCRIPT = """
import dataclasses, gc, importlib, json, os, sys, time, warnings

warnings.simplefilter("ignore")
from airflow.providers.common.compat.sdk import (
    BaseHook, BaseOperator, BaseOperatorLink, BaseSensorOperator, DecoratedOperator, ObjectStoragePath, XCom,
)
from airflow.providers.common.compat.connection import get_async_connection
from airflow.triggers.base import BaseTrigger

# Installed packages are compiled once, not at each start: whatever this checkout has, ours is compiled beforehand.
sys.pycache_prefix, sys.dont_write_bytecode = sys.argv[2], False


def ask(modules, importlib=importlib):
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        with os.fdopen(reader) as pipe:
            answer = json.load(pipe)
        os.waitpid(child, 0)
        return answer
    before = set(sys.modules)
    gc.disable()  # a collection of all that Airflow holds costs 100 ms, falls where it likes, and is not ours
    wall, cpu = time.perf_counter(), time.process_time()
    for module in modules:
        importlib.import_module(module)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    with os.fdopen(writer, "w") as pipe:
        json.dump({"wall": wall, "cpu": cpu, "new": sorted(set(sys.modules) - before)}, pipe)
    os._exit(0)


class Yardstick:  # makes a dataclass of ten fields at each import
    def import_module(self, number):
        fields = [(f"field_{n}", int, dataclasses.field(default=n)) for n in range(10)]
        dataclasses.make_dataclass(f"Yardstick{number}", fields, frozen=True)


modules = json.loads(sys.argv[1])
print(json.dumps({
    "each": {module: ask([module])["new"] for module in modules},
    "runs": [ask(modules) for _ in range(9)],
    "yardsticks": [ask(range(20), Yardstick()) for _ in range(9)],
}))
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(MODULES), str(tmp_path_factory.mktemp("bytecode"))],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("module", MODULES)
def test_importing_a_module_loads_nothing_heavy_that_airflow_has_not_loaded_itself(measured, module):
    new = measured["each"][module]

    assert module in new or module.endswith("get_provider_info"), "Airflow has read that by itself"
    assert [name for name in new if name in HEAVY or name.partition(".")[0] in HEAVY] == []
    assert [name for name in new if name.startswith("airflow_provider_kling_avatar.simulator")] == []


def test_the_providers_metadata_is_read_without_airflow():
    """Every Airflow process reads it at its start, before anything else of ours."""
    script = (
        "import sys; from airflow_provider_kling_avatar.get_provider_info import get_provider_info as g; g();"
        "print([m for m in sys.modules if m.partition('.')[0] == 'airflow'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_importing_everything_a_dag_may_import_is_quick(measured):
    """In processor time, the least of nine: on a busy machine anything else says more about the neighbours."""
    ours = min(run["cpu"] for run in measured["runs"])
    dataclass = min(run["cpu"] for run in measured["yardsticks"]) / 20
    print(f"import: {ours * 1000:.1f} ms of processor time, as {ours / dataclass:.0f} dataclasses")  # noqa: T201

    assert ours <= MOST_DATACLASSES * dataclass
