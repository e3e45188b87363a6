"""The Dags of the crash matrix: a clip in one task, the same with the default patience, and a clip in two tasks."""

import os
from datetime import timedelta

import crash_points
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_kling_avatar.operators.kling_avatar import (
    KlingAvatarOperator,
    KlingAvatarSubmitOperator,
)
from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor

crash_points.arm()

MEDIA = {"image": os.environ["CRASH_FACE"], "audio": os.environ["CRASH_VOICE"]}
COMMON = {
    "default_args": {"retries": 3, "retry_delay": timedelta(seconds=1)},
    "params": {"connection": "kling_default"},
}
CONNECTION = {"kling_conn_id": "{{ params.connection }}"}

with DAG("crash_clip", schedule=None, **COMMON):
    KlingAvatarOperator(task_id="clip", poll_interval=2, **MEDIA, **CONNECTION)

with DAG("crash_patient", schedule=None, **COMMON):
    KlingAvatarOperator(task_id="clip", **MEDIA, **CONNECTION)  # asks as often as the defaults say

with DAG("crash_pair", schedule=None, **COMMON):
    submit = KlingAvatarSubmitOperator(
        task_id="submit", external_task_id="{{ run_id }}", **MEDIA, **CONNECTION
    )
    KlingAvatarSensor(task_id="wait", kling_task_id=submit.output, poke_interval=2, **CONNECTION)
