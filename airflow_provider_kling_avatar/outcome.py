"""
What operator and sensor share once a task is being waited for: the trigger, the verdict, the result.

Everything here runs on a worker.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_kling_avatar.kling.errors import KlingError, TaskLostError
from airflow_provider_kling_avatar.kling.polling import Budget, Finished, Verdict, decide, error_of
from airflow_provider_kling_avatar.links.kling_avatar import LINK_XCOM_KEY
from airflow_provider_kling_avatar.results import VideoResult, video_result

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
    from airflow_provider_kling_avatar.kling.model import EndpointName, VideoTask
    from airflow_provider_kling_avatar.triggers.kling_avatar import KlingAvatarTrigger

DEFAULT_TIMEOUT = 7200.0
"""Seconds. Renders of over an hour have been reported; a clip that is given up too early was paid for in vain."""
DEFAULT_POLL_INTERVAL = 10.0
"""Seconds."""
DEFAULT_MAX_FAILED_POLLS = 10

BACKSTOP_SECONDS = 120.0
"""How long after the trigger's own deadline Airflow ends the waiting, should the trigger fail to."""


def seconds(value: float | timedelta) -> float:
    """Return a span in seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def budget(timeout: float | timedelta, poll_interval: float | timedelta, max_failed_polls: int) -> Budget:
    """Return a budget that starts now."""
    return Budget(time.time() + seconds(timeout), seconds(poll_interval), max_failed_polls)


def trigger_for(
    task_id: str, endpoint: EndpointName, kling_conn_id: str, limits: Budget
) -> tuple[KlingAvatarTrigger, timedelta]:
    """Return the trigger to defer to, and Airflow's own time-out behind the trigger's deadline."""
    from airflow_provider_kling_avatar.triggers.kling_avatar import KlingAvatarTrigger

    trigger = KlingAvatarTrigger(
        kling_task_id=task_id,
        kling_conn_id=kling_conn_id,
        endpoint=endpoint,
        poll_interval=limits.poll_interval,
        deadline=limits.deadline,
        max_failed_polls=limits.max_failed_polls,
    )
    left = max(limits.deadline - time.time(), 0)
    return trigger, timedelta(seconds=left + limits.poll_interval + BACKSTOP_SECONDS)


def read_event(event: dict[str, Any] | None) -> tuple[str, EndpointName, Finished]:
    """
    Read what the trigger reported.

    :raises TaskLostError: the trigger ended without a report.
    """
    if not event:
        raise TaskLostError("the trigger ended without a verdict: the next try looks for the task")
    return (
        event["task_id"],
        event.get("endpoint", "avatar"),
        Finished(Verdict(event["verdict"]), event.get("reason"), event.get("code")),
    )


def look_once_more(
    hook: KlingAvatarHook, endpoint: EndpointName, task_id: str, finished: Finished
) -> tuple[Finished, VideoTask | None]:
    """
    Ask for a task that the triggerer lost sight of: the worker may reach what the triggerer does not.

    :return: the verdict, a better one if there is one by now, and the task if it was seen.
    :raises KlingError: the reason is a permanent one, such as a wrong key: it must not pass for a lost task.
    """
    if finished.verdict is not Verdict.LOST:
        return finished, None
    try:
        task = hook.get_task(task_id, endpoint)
    except KlingError as error:
        if error.permanent:
            raise
        return finished, None
    decision = decide(task, now=time.time(), budget=Budget(float("inf"), 1.0, 1))
    return (decision, task) if isinstance(decision, Finished) else (finished, None)


def collect(
    context: Context,
    hook: KlingAvatarHook,
    endpoint: EndpointName,
    task_id: str,
    finished: Finished,
    task: VideoTask | None = None,
) -> VideoResult:
    """
    Return the result of a task that was waited for, and push its ``video_url``.

    :param task: the task as it was just seen; asked for again if not given, since its URLs are signed anew.
    :raises KlingError: the verdict was a bad one, or the result cannot be read.
    """
    if finished.verdict is not Verdict.SUCCEEDED:
        raise error_of(task_id, finished)
    if task is None or task.video is None:
        task = hook.get_task(task_id, endpoint)
    video = task.video
    if video is None:
        raise TaskLostError(
            f"task {task_id} succeeded but the vendor gives no video URL: ask its support", code=None
        )
    result = video_result(task, video, api=hook.config.dialect.name, endpoint=endpoint)
    push(context, video_url=result["video_url"])
    hook.log.info(
        "video ready: task %s, video %s, %s s, %s units deducted",
        result["task_id"],
        result["video_id"],
        result["duration"],
        result["units"] or "unknown",
    )
    return result


def push(context: Context, **values: object) -> None:
    """Push each value to XCom under its name; what is ``None`` is left out, since Airflow 3.0 fails over it."""
    for key, value in values.items():
        if value is not None:
            context["ti"].xcom_push(key=key, value=value)


def push_link(context: Context, hook: KlingAvatarHook, endpoint: EndpointName, task_id: str) -> None:
    """Leave the address for the extra link where it can be read without a network."""
    config = hook.config
    try:
        query = config.base_url + config.dialect.query_path(endpoint, task_id)
    except KlingError:
        return
    link = config.task_link.replace("{task_id}", task_id) if config.task_link else query
    push(context, **{LINK_XCOM_KEY: link})
