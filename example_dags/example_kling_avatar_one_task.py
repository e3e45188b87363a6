"""The shortest way: submit, wait and return the result in one task, without holding a worker."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarOperator

SAMPLES = files("airflow_provider_kling_avatar") / "simulator" / "assets"


@task
def publish(video_url: str, result: dict[str, Any]) -> str:
    """Stand for whatever comes next: it has the URL, and all that is known of the clip."""
    return f"{result['duration']} s of video at {video_url.partition('?')[0]}"


with DAG(
    dag_id="kling_avatar_one_task",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    tags=["kling", "example"],
    params={
        "image": Param(str(SAMPLES / "presenter.jpg"), type="string"),
        "audio": Param(str(SAMPLES / "greeting.mp3"), type="string"),
    },
    doc_md=__doc__,
) as dag:
    avatar = KlingAvatarOperator(
        task_id="avatar",
        image="{{ params.image }}",
        audio="{{ params.audio }}",
        prompt="A friendly presenter looks into the camera.",
    )
    publish(avatar.output["video_url"], avatar.output)
