"""
A face and a voice become a talking-head video; the next task keeps the file.

Three tasks: submit (pays, on a worker), wait (in the triggerer, no worker held), save (uses the URL).
Trigger it with your own ``image`` and ``audio`` (paths, URLs or storage URIs) as run parameters.
"""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarSubmitOperator
from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor

SAMPLES = files("airflow_provider_kling_avatar") / "simulator" / "assets"


@task
def save(result: dict[str, Any], output_dir: str) -> str:
    """Download the video, since its URL is signed and does not live long; keep the facts beside it."""
    import requests

    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    video = folder / "avatar.mp4"
    with requests.get(result["video_url"], stream=True, timeout=(10, 60)) as response:
        response.raise_for_status()
        with video.with_suffix(".part").open("wb") as part:
            shutil.copyfileobj(response.raw, part)
    video.with_suffix(".part").replace(video)
    facts = {key: value for key, value in result.items() if not key.endswith("url")}
    (folder / "result.json").write_text(json.dumps({**facts, "file": str(video)}, indent=2) + "\n")
    return str(video)


with DAG(
    dag_id="kling_avatar_news",
    schedule=None,
    catchup=False,
    tags=["kling", "example"],
    params={
        "image": Param(str(SAMPLES / "presenter.jpg"), type="string", description="The face"),
        "audio": Param(str(SAMPLES / "greeting.mp3"), type="string", description="The voice"),
        "output_dir": Param("/tmp/kling-avatar", type="string", description="Where the video goes"),  # noqa: S108  # an example
    },
    doc_md=__doc__,
) as dag:
    submit = KlingAvatarSubmitOperator(
        task_id="submit",
        image="{{ params.image }}",
        audio="{{ params.audio }}",
        mode="std",
    )
    wait = KlingAvatarSensor(task_id="wait", kling_task_id=submit.output)
    save(wait.output, "{{ params.output_dir }}")
