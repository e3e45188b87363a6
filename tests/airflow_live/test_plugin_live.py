"""The plugin that brings the pages, in an API server of each Airflow: where the UI takes no pages, there is nothing."""

from importlib.metadata import version

import pytest
from local_airflow import LocalAirflow

AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:2])


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    with LocalAirflow(tmp_path_factory.mktemp("dags")) as running:
        yield running


def test_the_pages_are_there_where_the_ui_takes_them_and_break_nothing_elsewhere(airflow):
    plugins = {plugin["name"]: plugin for plugin in airflow.api.request("GET", "/plugins")["plugins"]}
    apps = plugins["kling_clips"].get("react_apps") or []

    assert len(apps) == (3 if AIRFLOW >= (3, 1) else 0)
    assert not plugins["kling_clips"].get("flask_blueprints")
    if AIRFLOW >= (3, 1):
        assert airflow.api.request("GET", "/plugins/importErrors")["import_errors"] == []
    log = "".join(component.log.read_text() for component in airflow.components.values())
    assert "Failed to import plugin" not in log
    assert "already registered" not in log
