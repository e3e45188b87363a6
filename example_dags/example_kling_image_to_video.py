"""A picture becomes a short video. The sensor is the same; it is only told what kind of task it waits for."""

from __future__ import annotations

from importlib.resources import files

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_kling_avatar.operators.kling_avatar import KlingImageToVideoSubmitOperator
from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor

SAMPLES = files("airflow_provider_kling_avatar") / "simulator" / "assets"

with DAG(
    dag_id="kling_image_to_video",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    tags=["kling", "example"],
    params={"image": Param(str(SAMPLES / "presenter.jpg"), type="string")},
    doc_md=__doc__,
) as dag:
    submit = KlingImageToVideoSubmitOperator(
        task_id="submit",
        image="{{ params.image }}",
        prompt="She turns her head and smiles.",
        negative_prompt="blur",
        duration=5,
        cfg_scale=0.6,
    )
    KlingAvatarSensor(task_id="wait", kling_task_id=submit.output, endpoint="image_to_video")
