"""The pytest plugin, as its users have it: in a pytest of their own, with nothing set up for it."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

HERE = Path(__file__).parent
AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:2])
PAGE = (HERE.parent / "docs" / "testing.md").read_text("utf-8")
NAMED_BLOCKS = dict(re.findall(r"`(\w+\.py)`:\n\n```python\n(.+?)```", PAGE, re.DOTALL))
OTHER_BLOCKS = [
    block
    for block in re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL)
    if block not in NAMED_BLOCKS.values()
]
USERS_TESTS = HERE / "users_tests.py"
QUICK_START = (HERE.parent / "docs" / "quickstart.md").read_text("utf-8")
WALK = """
from pathlib import Path

KLING = Path.home() / "kling"


def test_the_clip_of_the_quick_start(kling_run_dag, kling_connection, kling_simulator):
    run = kling_run_dag(KLING / "airflow/dags/first_clip.py")

    assert run.states == {"clip": "success", "show": "success"}
    assert [clip.suffix for clip in (KLING / "clips").iterdir()] == [".mp4"]
"""
"""A walk through the quick start, without what it says of Airflow itself."""


def run_pytest(folder, *arguments, **env):
    """Run pytest as in a new shell; return what it says of each test, by its name without parameters."""
    (folder / "home").mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    report = folder / "report.xml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", *arguments],
        cwd=folder,
        env=kept | {"HOME": str(folder / "home")} | env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    said = {}
    for case in ET.parse(report).iter("testcase"):
        said.setdefault(case.get("name").partition("[")[0], []).extend(
            f"{child.tag}: {child.text}" for child in case
        )
    return said


def sentences_of(text):
    return [node.name for node in ast.parse(text).body if getattr(node, "name", "").startswith("test_")]


# ---------------------------------------------------------------------------------------------- loading


def test_pytest_finds_the_plugin_by_itself():
    [found] = [entry for entry in entry_points(group="pytest11") if entry.name == "kling_avatar"]

    assert found.load().__name__ == "airflow_provider_kling_avatar.testing.plugin"


def test_no_fixture_has_a_name_that_another_plugin_or_a_users_own_may_have():
    """Airflow's own plugin for its providers has a ``run_task``, for one."""
    source = (HERE.parent / "airflow_provider_kling_avatar/testing/plugin.py").read_text("utf-8")
    fixtures = [
        node.name
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and "pytest.fixture" in ast.unparse(node.decorator_list[0])
    ]

    assert len(fixtures) == 7
    assert [name for name in fixtures if not re.match("_?kling_", name)] == []


def test_loading_the_plugin_loads_nothing_but_pytest():
    script = (
        "import sys, json, os, typing, pathlib, pytest; before = set(sys.modules);"
        "import airflow_provider_kling_avatar.testing.plugin; print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    package = "airflow_provider_kling_avatar"
    assert json.loads(done.stdout) == [package, f"{package}.testing", f"{package}.testing.plugin"]


def test_a_suite_that_asks_for_no_fixture_of_ours_does_not_load_airflow_or_the_simulator(tmp_path):
    (tmp_path / "test_theirs.py").write_text(
        "import sys\n"
        "def test_theirs():\n"
        "    names = {name.partition('.')[0] for name in sys.modules}\n"
        "    assert not names & {'airflow', 'requests', 'fastapi', 'uvicorn', 'aiohttp', 'av'}\n"
        "    assert 'airflow_provider_kling_avatar.testing.plugin' in sys.modules\n"
    )
    only_ours = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

    said = run_pytest(tmp_path, "-p", "kling_avatar", **only_ours)

    assert said == {"test_theirs": []}
    assert list((tmp_path / "home").iterdir()) == []


# ---------------------------------------------------------------------------------------------- the page


def walk_to_the_dag(home):
    """Do at this home what the quick start says up to its step 4: a face and a voice, and the Dag's file."""
    [files] = re.findall(r"```bash\n(assets=.+?)```", QUICK_START, re.DOTALL)
    [(name, dag)] = re.findall(
        r"^Save this as `~/(\S+)`.*?```python\n(.+?)```", QUICK_START, re.DOTALL | re.MULTILINE
    )
    [folder] = re.findall(r"`mkdir -p ~/(\S+)`", QUICK_START)
    (home / folder).mkdir(parents=True)
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(
        ["bash", "-e", "-c", files], env=os.environ | {"HOME": str(home), "PATH": tools}, check=True
    )
    if AIRFLOW < (3,):
        dag = dag.replace("airflow.sdk", "airflow.decorators")  # as README says
    (home / name).write_text(dag)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """All Python of the page, in an empty folder, and the quick start's at the home of who runs it."""
    folder = tmp_path_factory.mktemp("page")
    walk_to_the_dag(folder / "home")
    (folder / "test_first_clip.py").write_text(WALK)
    for name, text in NAMED_BLOCKS.items():
        (folder / name).write_text(text)
    for number, text in enumerate(OTHER_BLOCKS):
        (folder / f"test_block_{number}.py").write_text(text)
    return folder, run_pytest(folder)


@pytest.mark.parametrize(
    "sentence",
    [
        sentence
        for text in [NAMED_BLOCKS["test_talking_head.py"], *OTHER_BLOCKS]
        for sentence in sentences_of(text)
    ],
)
def test_each_test_of_the_page_passes_as_printed(page, sentence):
    _, said = page

    assert said[sentence] == []


def test_the_quick_start_leads_to_a_clip(page):
    _, said = page

    assert said["test_the_clip_of_the_quick_start"] == []


def test_the_page_shows_three_tests_and_what_else_can_be_done():
    assert len(sentences_of(NAMED_BLOCKS["test_talking_head.py"])) == 3
    assert len(OTHER_BLOCKS) == 2


def test_a_run_leaves_no_database_at_home(page):
    folder, said = page

    assert said
    assert [path.name for path in (folder / "home").rglob("*.db*")] == []


# ---------------------------------------------------------------------------------------------- users' own tests


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    """A folder in which all was run, with a PostgreSQL that notes who comes."""
    folder = tmp_path_factory.mktemp("users")
    shutil.copy(HERE / "users_secrets.py", folder)
    with socket.create_server(("127.0.0.1", 0)) as database:
        database.setblocking(False)
        env = {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://127.0.0.1:{database.getsockname()[1]}/theirs",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": "users_secrets.FOR_POSTGRESQL",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS_ASYNC": "users_secrets.FOR_POSTGRESQL",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_ENGINE_ARGS": '{"executemany_mode": "values_only"}',
            "AIRFLOW__SECRETS__BACKEND": "users_secrets.RealSecrets",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])),
            "EXAMPLES": str(HERE.parent / "example_dags"),
        }
        yield database, run_pytest(folder, shutil.copy(USERS_TESTS, folder), **env)


@pytest.mark.parametrize("sentence", sentences_of(USERS_TESTS.read_text("utf-8")))
def test_in_users_own_tests(users, sentence):
    _, said = users

    assert said[sentence] == []


def test_a_database_that_airflow_is_set_to_is_not_touched(users):
    database, said = users

    assert said
    with pytest.raises(BlockingIOError):  # nobody has come
        database.accept()
