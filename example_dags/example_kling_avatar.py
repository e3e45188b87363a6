"""
A face and a voice become a talking-head video; the sensor lands the file, the next task works with it.

Three tasks: submit (pays, on a worker), wait (in the triggerer, no worker held; then puts the file where it is wanted),
note (works with it). Trigger it with your own ``image`` and ``audio`` (paths, URLs or storage URIs) as run parameters,
and with an ``output_dir`` in any storage that Airflow knows (``s3://conn_id@bucket/prefix``).
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from airflow.providers.common.compat.sdk import DAG, ObjectStoragePath, Param, task

from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarSubmitOperator
from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor

SAMPLES = files("airflow_provider_kling_avatar") / "simulator" / "assets"


@task
def note(manifest: dict[str, Any], output_dir: str) -> str:
    """Stand for whatever comes next: it has the file, and all that is known of the clip. Keeps that beside the file."""
    # The addresses at the vendor are signed: whoever has them has the video.
    facts = {key: value for key, value in manifest.items() if not key.endswith("url")}
    with (ObjectStoragePath(output_dir) / "result.json").open("w") as file:
        file.write(json.dumps(facts, indent=2) + "\n")
    return str(manifest["file"])


with DAG(
    dag_id="kling_avatar_news",
    schedule=None,
    catchup=False,
    max_active_runs=1,
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
    wait = KlingAvatarSensor(
        task_id="wait",
        kling_task_id=submit.output,
        output_path="{{ params.output_dir }}/avatar.mp4",
        on_existing="replace",  # there is one file, of the latest run
    )
    note(wait.output, "{{ params.output_dir }}")
