"""The example Dags: read as Airflow reads them, without a word of complaint."""

from __future__ import annotations

import importlib.util
import json
import re
import warnings
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarOperator

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "example_dags").glob("*.py"))
AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:2])


def serialization():
    from airflow.serialization import serialized_objects

    return getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DAGS = {
    f"{page.stem} {number}": block
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    )
    if "@dag" in block
}
"""The whole Dags that pages show."""


@pytest.mark.parametrize("block", DAGS.values(), ids=DAGS)
def test_a_whole_dag_of_a_page_is_one_where_it_is_read(block, tmp_path, no_connection):
    path = tmp_path / "of_a_page.py"
    # What README and quick start say of Airflow 2.11.
    path.write_text(block if AIRFLOW >= (3,) else block.replace("airflow.sdk", "airflow.decorators"))
    module = load(path)
    name = re.search(r"^@dag.*\ndef (\w+)", block, re.MULTILINE)[1]

    assert vars(module)[name]().task_ids
    assert block.rstrip().endswith(f"{name}()")


def test_an_event_of_another_kind_does_not_keep_the_clips_of_a_run_from_being_landed():
    """Anybody can make one by a button in the UI; it has no payload, or not ours."""
    module = load(ROOT / "example_dags" / "example_kling_on_ready_clip.py")
    of_a, of_number = {"payload": {"task_id": "a"}}, {"payload": {"task_id": 179594308363130703}}
    odd = [{}, None, {"payload": "x"}, {"payload": {"id": "b"}}, {"payload": {"task_id": ["b"]}}]
    extras = [of_a, *odd, of_number, of_a]
    events = {module.READY_CLIPS.uri: [SimpleNamespace(extra=extra) for extra in extras]}

    assert module.new_clips.function(triggering_asset_events=events) == ["a", "179594308363130703"]
    assert module.new_clips.function() == []


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_read_without_warnings_and_goes_to_the_database_and_back(path, no_connection):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = load(path)
    dags = [value for value in vars(module).values() if isinstance(value, DAG)]

    assert [str(w.message) for w in caught if "example_dags" in w.filename or "kling" in w.filename] == []
    assert dags
    for dag in dags:
        assert dag.doc_md
        assert "kling" in dag.tags
        assert serialization().from_dict(json.loads(json.dumps(serialization().to_dict(dag)))).task_ids


@pytest.fixture
def news(no_connection):
    return load(EXAMPLES[0].with_name("example_kling_news.py"))


def test_the_news_dag_asks_a_person_where_airflow_can(news):
    asked = "approve" in news.dag.task_ids

    assert asked is (AIRFLOW >= (3, 1))
    assert news.dag.get_task("publish").upstream_task_ids == {"overview"} | ({"approve"} if asked else set())


def test_each_row_of_the_sample_table_gives_the_fields_of_one_clip(news):
    params = {name: news.dag.params[name] for name in ("table", "media")}
    clips = news.rows.function(**params, folder="s3://bucket/news/today")

    assert [clip["output_path"] for clip in clips] == [
        f"s3://bucket/news/today/{name}.mp4" for name in ("weather", "market", "greeting")
    ]
    for clip in clips:
        assert Path(clip["image"]).is_file()
        assert set(clip) - {"image", "output_path"} in ({"text", "voice_id"}, {"audio"})
        assert Path(clip.get("audio", clip["image"])).is_file()
        KlingAvatarOperator(task_id="video", **clip)


def test_the_overview_tells_what_was_made_and_what_it_cost(news):
    video = {"file": "s3://b/a.mp4", "duration": 2.5, "currency": "USD", "estimated_cost": "0.14"}

    report = news.overview.function(
        [{}, {}, {}], [video | {"actual_cost": "0.15"}, video | {"actual_cost": None}]
    )

    assert report["files"] == ["s3://b/a.mp4", "s3://b/a.mp4"]
    assert report["summary"].split("\n\n")[:3] == [
        "2 of 3 videos",
        "estimated: 0.28 USD",
        "deducted: 0.15 USD, and 1 unknown",
    ]


def test_an_overview_of_nothing_fails(news):
    with pytest.raises(AirflowFailException, match="no video was made"):
        news.overview.function([{}], [])


def test_the_asset_that_the_news_dag_makes_is_the_one_that_is_waited_for(news):
    waiting = load(EXAMPLES[0].with_name("example_kling_on_new_video.py"))

    assert news.NEW_VIDEO == waiting.NEW_VIDEO


def test_no_two_examples_share_a_dag_id():
    ids = [line for path in EXAMPLES for line in path.read_text().splitlines() if "dag_id=" in line]

    assert len(set(ids)) == len(ids)
