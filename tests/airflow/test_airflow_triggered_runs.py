"""
Every Dag of README, docs and examples can be triggered in every way.

Only a run of a schedule and a backfill surely have a logical date; its variables are missing where there is none, which
is an error in a template.
"""

from __future__ import annotations

import importlib.util
import re
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import DAG

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "example_dags").glob("*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEMPLATES = {
    f"{page.stem} {number}": template
    for page in PAGES
    for number, template in enumerate(
        quoted
        for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        for quoted in re.findall(r'"([^"\n]*\{\{[^"\n]*)"', block)
    )
    if "kling_failure" not in template  # the notifier's own variable
}
DAY = datetime(2026, 11, 28, tzinfo=UTC)
RUN = {
    "params": defaultdict(lambda: "given by whoever triggers"),
    "task": SimpleNamespace(task_id="clip"),
    "dag": SimpleNamespace(dag_id="flow"),
}
DATED = {"logical_date": DAY, "ds": "2026-11-28", "ts": DAY.isoformat(), "data_interval_start": DAY}
WAYS = {
    "the UI": ("manual__2026-11-28T00:00:00+00:00_ab12", DATED),
    "airflow dags trigger": ("manual__2026-11-28T00:00:00+00:00", {}),
    "the REST API, without a logical date": ("by-a-program", {}),
    "an asset": ("asset_triggered__2026-11-28T00:00:00+00:00_cd34", {"triggering_asset_events": {}}),
    "a backfill": ("backfill__2026-11-28T00:00:00+00:00", DATED),
}


def context(way):
    run_id, more = WAYS[way]
    ti = SimpleNamespace(task_id="clip", map_index=-1, xcom_pull=lambda **_: "what another task returned")
    return {**RUN, **more, "run_id": run_id, "dag_run": SimpleNamespace(run_id=run_id), "ti": ti}


def rendered(template, variables, environment=None):
    environment = environment or DAG("flow", schedule=None).get_template_env()
    return environment.from_string(template).render(variables)


def templates_of(task):
    fields = getattr(task, "partial_kwargs", None) or {
        name: getattr(task, name) for name in task.template_fields
    }
    return [value for value in fields.values() if isinstance(value, str) and "{{" in value]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_templates_of_an_example_render_however_it_is_triggered(path, way, no_connection):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dag = module.dag
    variables = context(way) | {"params": dag.params.dump()}

    for task in dag.tasks:
        for template in templates_of(task):
            if "task." not in template:  # names of mapped rows, rendered from the row itself
                assert rendered(template, variables, dag.get_template_env())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_the_templates_in_readme_and_docs_render_however_their_dag_is_triggered(template, way):
    assert rendered(template, context(way))


def test_a_template_that_wants_a_logical_date_would_be_noticed():
    with pytest.raises(Exception, match="'ds' is undefined"):
        rendered("{{ ds }}", context("airflow dags trigger"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_no_example_makes_up_for_missed_runs_or_pays_for_many_at_once(path, no_connection):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    assert module.dag.catchup is False
    pays = path.stem != "example_kling_on_ready_clip"
    assert (module.dag.max_active_runs == 1) is pays


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_dag_of_a_page_makes_up_for_missed_runs(page):
    for arguments in re.findall(r"(?:@dag|\bDAG)\(([^)]*)\)", page.read_text("utf-8")):
        assert "catchup=False" in arguments
        assert "max_active_runs=1" in arguments
