"""
The daily news: each row of a table becomes a talking-head video in a bucket, within a budget; a person approves.

The table is a CSV with the columns ``id``, ``headline``, ``face``, ``voice_id``, ``text``, ``audio``: a row is either
spoken (``text`` and ``voice_id``) or has a recording (``audio``). A row that is refused, too expensive or fails does
not stop the others; the newsroom is told why. Before Airflow 3.1, which cannot ask a person, nobody is asked.

Needs a pool: ``airflow pools set kling 5 "parallel Kling tasks" --include-deferred``.
"""

from __future__ import annotations

import csv
import io
import logging
from datetime import timedelta
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowFailException,
    AirflowOptionalProviderFeatureException,
    Asset,
    ObjectStoragePath,
    Param,
    chain,
    task,
)

from airflow_provider_kling_avatar.notifications.kling_avatar import KlingFailureNotifier
from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarOperator

SAMPLES = Path(str(files("airflow_provider_kling_avatar") / "simulator" / "assets"))
NEW_VIDEO = Asset("kling://news/videos")
"""What `example_kling_on_new_video.py` waits for."""


def send_to_newsroom(message: str) -> None:
    """Stand for mail or chat; a notifier of another provider can be given instead."""
    logging.getLogger(__name__).error("to the newsroom:\n%s", message)


def ask_a_person(**arguments: Any) -> list[Any]:
    """Return the task that asks a person, nothing where this Airflow cannot (before 3.1)."""
    try:
        from airflow.providers.standard.operators.hitl import ApprovalOperator
    except (ImportError, AirflowOptionalProviderFeatureException):
        return []
    return [ApprovalOperator(**arguments)]


@task
def rows(table: str, media: str, folder: str) -> list[dict[str, str]]:
    """
    Read the table; return the fields of each clip.

    :param table: the CSV: a path or a storage URI.
    :param media: where faces and recordings lie: a folder or a storage URI.
    :param folder: where the videos go, likewise.
    """
    content = ObjectStoragePath(table).read_text(encoding="utf-8")
    clips = []
    for line in csv.DictReader(io.StringIO(content, newline="")):
        spoken = {"text": line["text"], "voice_id": line["voice_id"]}
        recorded = {"audio": f"{media}/{line['audio']}"}
        clips.append(
            {
                "image": f"{media}/{line['face']}",
                "output_path": f"{folder}/{line['id']}.mp4",
                **(spoken if line["text"] else recorded),
            }
        )
    return clips


def total(videos: list[dict[str, Any]], field: str) -> str:
    """Add up what is known of the cost, and say of how many videos nothing is."""
    known = [Decimal(video[field]) for video in videos if video[field]]
    text = f"{sum(known, Decimal(0))} {videos[0]['currency']}"
    return text if len(known) == len(videos) else f"{text}, and {len(videos) - len(known)} unknown"


@task(trigger_rule="all_done", multiple_outputs=True)
def overview(clips: list[dict[str, str]], videos: list[dict[str, Any]]) -> dict[str, Any]:
    """Say what was made and what it cost, for whoever approves; a clip that failed has told of it already."""
    made = list(videos)
    if not made:
        raise AirflowFailException("no video was made: the logs of the clips tell why")
    lines = [
        f"{len(made)} of {len(clips)} videos",
        f"estimated: {total(made, 'estimated_cost')}",
        f"deducted: {total(made, 'actual_cost')}",
    ]
    lines += [f"{video['file']} ({video['duration']} s)" for video in made]
    return {"summary": "\n\n".join(lines), "files": [video["file"] for video in made]}


@task
def publish(files: list[str]) -> int:
    """Stand for whatever comes next: it has the stored files."""
    return len(files)


with DAG(
    dag_id="kling_news",
    schedule=None,  # "@daily", once it is yours: each run is paid for
    catchup=False,
    max_active_runs=1,
    tags=["kling", "example"],
    default_args={"retries": 3},
    params={
        "table": Param(str(Path(__file__).with_name("example_kling_news.csv")), type="string"),
        "media": Param(
            str(SAMPLES), type="string", description="Folder or storage URI of faces and recordings"
        ),
        "output": Param(
            "/tmp/kling-news",  # noqa: S108  # an example
            type="string",
            description="Folder or storage URI, such as s3://aws_default@bucket/news",
        ),
        "max_cost": Param("2", type="string", description="For one clip, in the price list's currency"),
        "max_cost_per_run": Param("20", type="string", description="For all clips of a run"),
    },
    doc_md=__doc__,
) as dag:
    clips = rows("{{ params.table }}", "{{ params.media }}", "{{ params.output }}/{{ run_id }}")
    videos = KlingAvatarOperator.partial(
        task_id="video",
        mode="std",
        pool="kling",
        max_cost="{{ params.max_cost }}",
        max_cost_per_run="{{ params.max_cost_per_run }}",
        outlets=[NEW_VIDEO],
        on_failure_callback=KlingFailureNotifier(send_to_newsroom),
        map_index_template="{{ task.output_path.rpartition('/')[2] }}",
    ).expand_kwargs(clips)
    report = overview(clips, videos.output)
    approval = ask_a_person(
        task_id="approve",
        subject="Publish the news?",
        body="{{ ti.xcom_pull(task_ids='overview', key='summary') }}",
        response_timeout=timedelta(hours=12),
        defaults="Reject",
    )
    chain(report, *approval, publish(report["files"]))
