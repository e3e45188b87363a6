"""
Runs whenever a clip of the account has become ready, whoever has made it: lands the file and publishes it.

A watcher in the triggerer looks at the account's list and makes an event for each clip. One run may be told of several.
Needs Airflow 3.0 or newer; on Airflow 2 nothing starts this Dag. See docs/ready-clips.md.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Asset, Param, task

from airflow_provider_kling_avatar.operators.kling_video_download import KlingVideoDownloadOperator


def ready_clips() -> Asset:
    """Return the asset that has an event for each clip that is ready."""
    uri = "kling://clips/ready"
    try:
        from airflow.sdk import AssetWatcher
    except ImportError:  # Airflow 2
        return Asset(uri)
    from airflow_provider_kling_avatar.triggers.kling_clips import KlingClipsTrigger

    trigger = KlingClipsTrigger(kling_conn_id="kling_avatar_default", state="succeeded")
    return Asset(uri, watchers=[AssetWatcher(name="kling_clips", trigger=trigger)])


READY_CLIPS = ready_clips()


@task
def new_clips(**context: Any) -> list[str]:
    """Return the ids of the clips that this run was started for, each once."""
    events = context.get("triggering_asset_events") or {}
    payloads = [(event.extra or {}).get("payload") for of_one in events.values() for event in of_one]
    ids = [payload.get("task_id") for payload in payloads if isinstance(payload, dict)]
    # An event that somebody made by hand in the UI may name no clip: it must not keep the others from being landed.
    return list(dict.fromkeys(str(task_id) for task_id in ids if isinstance(task_id, str | int)))


@task
def publish(landed: dict[str, Any]) -> str:
    """Stand for whatever is done with a new video. A clip may be told of twice, so this should bear that."""
    logging.getLogger(__name__).info("new video: %s, %s s", landed["file"], landed["duration"])
    return str(landed["file"])


with DAG(
    dag_id="kling_on_ready_clip",
    schedule=[READY_CLIPS],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),  # Airflow 2 wants one
    catchup=False,
    # Far more than there will be at once: what comes while a Dag has as many runs waits for the next event.
    max_active_runs=64,
    params={"output": Param("~/kling-clips", type="string", description="a folder, also one in a bucket")},
    tags=["kling", "example"],
    doc_md=__doc__,
) as dag:
    land = KlingVideoDownloadOperator.partial(
        task_id="land", output_path="{{ params.output }}/", retries=3
    ).expand(kling_task_id=new_clips())
    publish.expand(landed=land.output)
