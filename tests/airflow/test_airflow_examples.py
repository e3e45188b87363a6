"""The example Dags: read as Airflow reads them, without a word of complaint."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import DAG

EXAMPLES = sorted((Path(__file__).parents[2] / "example_dags").glob("*.py"))


def serialization():
    from airflow.serialization import serialized_objects

    return getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_read_without_warnings_and_goes_to_the_database_and_back(path, no_connection):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    dags = [value for value in vars(module).values() if isinstance(value, DAG)]

    assert [str(w.message) for w in caught if "example_dags" in w.filename or "kling" in w.filename] == []
    assert dags
    for dag in dags:
        assert dag.doc_md
        assert "kling" in dag.tags
        assert serialization().from_dict(json.loads(json.dumps(serialization().to_dict(dag)))).task_ids


def test_no_two_examples_share_a_dag_id():
    ids = [line for path in EXAMPLES for line in path.read_text().splitlines() if "dag_id=" in line]

    assert len(set(ids)) == len(ids)
