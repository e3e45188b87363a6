"""
Words become a voice, the voice and a face become a video.

The first way speaks in a task of its own, so that one voice can serve several faces. The second gives ``text`` to
the avatar: APIs that speak themselves do so, for the others the operator has it spoken first.
"""

from __future__ import annotations

from importlib.resources import files

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_kling_avatar.operators.kling_avatar import (
    KlingAvatarOperator,
    KlingTextToSpeechOperator,
)

SAMPLES = files("airflow_provider_kling_avatar") / "simulator" / "assets"

with DAG(
    dag_id="kling_text_to_avatar",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    tags=["kling", "example"],
    params={
        "image": Param(str(SAMPLES / "presenter.jpg"), type="string"),
        "text": Param("Good morning. Here is the news of the day.", type="string"),
        "voice_id": Param("oversea_male1", type="string"),
    },
    doc_md=__doc__,
) as dag:
    speech = KlingTextToSpeechOperator(
        task_id="speech", text="{{ params.text }}", voice_id="{{ params.voice_id }}"
    )
    KlingAvatarOperator(task_id="avatar_of_speech", image="{{ params.image }}", audio_id=speech.output)
    KlingAvatarOperator(
        task_id="avatar_of_text",
        image="{{ params.image }}",
        text="{{ params.text }}",
        voice_id="{{ params.voice_id }}",
    )
