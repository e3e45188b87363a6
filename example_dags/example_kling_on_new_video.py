"""
Runs whenever the news Dag has stored new videos: it is scheduled on their asset.

The event's ``extra`` holds the manifest: the file, its size and checksum, duration, cost. One run may be told of
several videos.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Asset, task

NEW_VIDEO = Asset("kling://news/videos")
"""As in `example_kling_news.py`."""


@task
def announce(**context: Any) -> list[str]:
    """Stand for whatever is done with a new video: it has the file and all that is known of it."""
    # Airflow 2 calls assets datasets.
    events = context.get("triggering_asset_events") or context.get("triggering_dataset_events") or {}
    manifests = [event.extra for of_one_asset in events.values() for event in of_one_asset]
    for manifest in manifests:
        logging.getLogger(__name__).info(
            "new video: %s, %s s, sha256 %s, cost %s %s",
            *(manifest[key] for key in ("file", "duration", "sha256", "actual_cost", "currency")),
        )
    return [manifest["file"] for manifest in manifests]


with DAG(
    dag_id="kling_on_new_video",
    schedule=[NEW_VIDEO],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),  # Airflow 2 wants one
    catchup=False,
    max_active_runs=1,
    tags=["kling", "example"],
    doc_md=__doc__,
) as dag:
    announce()
