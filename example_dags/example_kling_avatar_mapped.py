"""
One clip for each row of a list. A bad row fails alone; the others go on.

``map_index_template`` names the rows in the UI. Give the task a pool with ``include_deferred`` of the size of
your account's parallel tasks, so that no row is sent before there is room for it.
"""

from __future__ import annotations

from importlib.resources import files

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarOperator

SAMPLES = files("airflow_provider_kling_avatar") / "simulator" / "assets"


@task
def clips() -> list[dict[str, str]]:
    """Stand for a query or a file: the fields of each clip."""
    face, voice = str(SAMPLES / "presenter.jpg"), str(SAMPLES / "greeting.mp3")
    return [
        {"image": face, "audio": voice, "prompt": "A calm presenter."},
        {"image": face, "audio": voice, "prompt": "A cheerful presenter."},
    ]


@task
def list_urls(results: list[dict[str, str]]) -> int:
    """Stand for whatever comes next."""
    return len([result["video_url"] for result in results])


with DAG(
    dag_id="kling_avatar_mapped",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    tags=["kling", "example"],
    doc_md=__doc__,
) as dag:
    avatars = KlingAvatarOperator.partial(
        task_id="avatar", mode="std", map_index_template="{{ task.prompt }}"
    ).expand_kwargs(clips())
    list_urls(avatars.output)
