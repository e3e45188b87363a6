"""
The Dags of `gallery_site`: copied into its Dags folder, not imported by anybody.

What people may read of them comes from outside, since tests put markup there.
"""

from __future__ import annotations

import json
import os
from importlib.resources import files

from airflow.sdk import DAG

from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarOperator

SAMPLES = files("airflow_provider_kling_avatar") / "simulator" / "assets"
SITE = json.loads(os.environ["GALLERY_SITE"])
OURS = {"newsroom": {"DAGs": {"can_read"}}}
WANTED = {
    "image": str(SAMPLES / "presenter.jpg"),
    "audio": str(SAMPLES / "greeting.mp3"),
    "prompt": SITE["prompt"],
    "retries": 0,
    "poll_interval": 1,
}


def clip(task_id: str, folder: str, **options: object) -> KlingAvatarOperator:
    """Return a task that makes a clip and lands it in a folder of the site."""
    path = f"{SITE['folder']}/{folder}/{task_id}-{{{{ run_id }}}}.mp4"
    return KlingAvatarOperator(task_id=task_id, output_path=path, **WANTED | options)


with DAG("newsroom_clips", schedule=None, dag_display_name=SITE["title"], access_control=OURS):
    clip("morning", "newsroom")
    clip("evening", "newsroom", kling_conn_id="never_ready")
    KlingAvatarOperator.partial(task_id="rejected", kling_conn_id="rejects", **WANTED).expand(
        output_path=[f"{SITE['folder']}/newsroom/rejected.mp4"]
    )

with DAG("board_clips", schedule=None):
    clip("results", "board", deferrable=False)

with DAG("forged_clips", schedule=None, access_control=OURS):
    clip("forged", "newsroom", deferrable=False)
