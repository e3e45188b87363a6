"""
What operator and sensor share once a task was waited for: the verdict, the result.

Everything here runs on a worker.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_kling_avatar.clip_summary import tell, tell_ready
from airflow_provider_kling_avatar.compat import clip_page
from airflow_provider_kling_avatar.kling.errors import (
    CLIP_IS_SAFE,
    InvalidRequestError,
    KlingError,
    LandingError,
    NoSuchTaskError,
    NotFoundError,
    TaskLostError,
)
from airflow_provider_kling_avatar.kling.polling.decide import (
    ONE_LOOK,
    Finished,
    Verdict,
    decide,
    error_for,
    say_durations,
)
from airflow_provider_kling_avatar.lineage import report_clip
from airflow_provider_kling_avatar.links.kling_avatar import LINK_XCOM_KEY
from airflow_provider_kling_avatar.manifest import Costs, VideoManifest, video_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_kling_avatar.cost_limits import CostLimits
    from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
    from airflow_provider_kling_avatar.kling.models import EndpointName, VideoTask
    from airflow_provider_kling_avatar.kling.polling.wait import Log
    from airflow_provider_kling_avatar.landing import Landing, OnExisting


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
        Finished(
            Verdict(event["verdict"]),
            event.get("reason"),
            event.get("code"),
            # Not in the events of triggers that were deferred by an earlier version.
            event.get("queued"),
            event.get("rendering"),
        ),
    )


def log_durations(log: Log, task_id: str, finished: Finished) -> None:
    """Log how long the vendor took, as the trigger saw it: the triggerer's part of the log says nothing of it."""
    if finished.queued is not None and finished.rendering is not None:
        log.info(
            "task %s: %s, %s", task_id, finished.verdict, say_durations(finished.queued, finished.rendering)
        )


def look(hook: KlingAvatarHook, endpoint: EndpointName, task_id: str) -> VideoTask:
    """
    Ask for a task; and the list, where an answer would end the waiting although it may be about something else.

    :raises KlingError: it cannot be known, or the vendor has no such task.
    """
    from airflow_provider_kling_avatar.kling.client import DOUBTFUL

    try:
        return hook.get_task(task_id, endpoint)
    except DOUBTFUL as error:
        if not error.permanent:
            raise
        listed = hook.get_conn().find_listed(task_id, endpoint)
        if listed is None:
            raise found_elsewhere(hook, endpoint, task_id) or error from None
        hook.log.info("the list of tasks shows it, although asking for it ended in: %s", error)
        return listed


def found_elsewhere(hook: KlingAvatarHook, endpoint: EndpointName, task_id: str) -> NotFoundError | None:
    """
    Look where else a task may be that an endpoint does not know: at the other one, and in the lists of both.

    :returns: the error that says where it is; ``None`` if it is nowhere to be seen. A wrong endpoint is permanent. What
        the endpoint's own list shows is there, so that a retry may find it.
    """
    client = hook.get_conn()
    other: EndpointName = "image_to_video" if endpoint == "avatar" else "avatar"
    if other in client.config.dialect.endpoints:
        with suppress(KlingError):
            client.get_task(task_id, other, attempts=1)
            return NoSuchTaskError(
                f"task {task_id} was made at the endpoint {other}, and {endpoint} does not know it: set "
                f"endpoint={other!r}",
            )
        if client.find_listed(task_id, other):
            return NoSuchTaskError(
                f"the API's list of {other} tasks shows task {task_id}, and {endpoint} does not know it: set "
                f"endpoint={other!r}"
            )
    if client.find_listed(task_id, endpoint):
        return NotFoundError(
            f"the API's list of {endpoint} tasks shows task {task_id}, but asking for it finds nothing: if that stays "
            "so, check query_path in the connection's extra"
        )
    return None


def look_once_more(
    hook: KlingAvatarHook, endpoint: EndpointName, task_id: str, finished: Finished
) -> tuple[Finished | None, VideoTask | None]:
    """
    Ask once more for a task that the triggerer gave up.

    It may be ready by now, and the worker may reach what the triggerer does not.

    :return: the verdict, a better one if there is one by now, and the task if it was seen; ``None`` in place of the
        verdict if the task is there, which the triggerer did not find: then it is to be waited for.
    :raises KlingError: the reason is a permanent one, such as a wrong key: it must not pass for a lost task.
    """
    if finished.verdict not in (Verdict.LOST, Verdict.TIMEOUT, Verdict.NOT_FOUND):
        return finished, None
    try:
        task = look(hook, endpoint, task_id)
    except KlingError as error:
        if error.permanent:
            raise
        return finished, None
    decision = decide(task, now=time.time(), limits=ONE_LOOK)
    if not isinstance(decision, Finished):
        return None if finished.verdict is Verdict.NOT_FOUND else finished, None
    return msgspec.structs.replace(decision, queued=finished.queued, rendering=finished.rendering), task


@dataclass(frozen=True, slots=True)
class ResultContext:
    """
    What whoever delivers a clip knows of how it was ordered, and where it shall go.

    :param mode: as asked for.
    :param submit_request_id: the vendor's id of the answer to the submission.
    :param landing: puts the file where the user wants it.
    :param inputs: image and audio as they were given, for lineage.
    :param estimate: what it was thought to cost, see `cost_limits.pushed_estimate`.
    """

    mode: str | None = None
    submit_request_id: str | None = None
    landing: Landing | None = None
    inputs: tuple[object, ...] = ()
    estimate: Mapping[str, Any] | None = None


def landing_of(output_path: str | None, on_existing: OnExisting, *, watermarked: bool) -> Landing | None:
    """
    Return what lands a clip at a place of the user's; ``None`` if it shall stay at the vendor's.

    :raises InvalidRequestError: a template rendered to nothing: whoever names a place wants the file there.
    """
    if output_path is None:
        return None
    if not isinstance(output_path, str) or output_path.strip() in ("", "None"):
        raise InvalidRequestError(
            f"output_path came as {output_path!r}: give a path or a storage URI such as s3://conn_id@bucket/prefix/, "
            "or leave it out; if it comes from an upstream task, that task returned nothing",
            field="output_path",
        )
    from airflow_provider_kling_avatar.landing import Landing

    return Landing(output_path, on_existing=on_existing, watermarked=watermarked)


@contextmanager
def before_sending(*, is_unsent: bool) -> Iterator[None]:
    """
    Let what is wrong with a place say that nothing was sent, where that is known.

    :param is_unsent: this try has sent nothing yet.
    """
    try:
        yield
    except LandingError as error:
        if not is_unsent:
            raise
        raise error.before_sending() from error.__cause__


@dataclass(slots=True)
class StorageThenCostLimits:
    """
    Asked before anything is paid; see `kling.submission.submit.Approval`. A clip that could not land is not ordered.

    :param landing: refuses a place that holds another file.
    :param cost_limits: the limits of cost.
    :param is_unsent: this try has sent nothing yet.
    """

    landing: Landing
    cost_limits: CostLimits
    is_unsent: bool

    def before_speech(self) -> None:
        """
        Let a text be spoken for a clip that has a place.

        :raises OutputExistsError: it has none.
        """
        with before_sending(is_unsent=self.is_unsent):
            self.landing.check_free()
        self.cost_limits.before_speech()
        self.is_unsent = False

    def before_clip(self, spoken_seconds: float | None) -> None:
        """
        Let a clip be paid for that has a place.

        :param spoken_seconds: see `kling.submission.submit.Approval`.
        :raises OutputExistsError: it has none.
        """
        with before_sending(is_unsent=self.is_unsent):
            self.landing.check_free()
        self.cost_limits.before_clip(spoken_seconds)


def deliver(
    context: Context,
    hook: KlingAvatarHook,
    endpoint: EndpointName,
    task_id: str,
    finished: Finished,
    task: VideoTask | None = None,
    *,
    result_context: ResultContext | None = None,
) -> VideoManifest:
    """
    Land the clip of a task that was waited for, push its ``video_url`` and return its manifest.

    :param task: the task as it was just seen; asked for again if not given, since its URLs are signed anew.
    :param result_context: how it was ordered, if that is known here.
    :raises LandingError: the file is not there, nor half of it; the clip is safe.
    :raises KlingError: the verdict was a bad one, or the result cannot be read.
    """
    if finished.verdict is Verdict.NOT_FOUND and (found := found_elsewhere(hook, endpoint, task_id)):
        raise found
    if finished.verdict is not Verdict.SUCCEEDED:
        raise error_for(task_id, finished)
    if task is None or task.video is None:
        task = hook.get_task(task_id, endpoint)
    video = task.video
    if video is None:
        raise TaskLostError(
            f"task {task_id} succeeded but the vendor gives no video URL: ask its support. {CLIP_IS_SAFE}"
        )
    result_context = result_context or ResultContext()
    push(context, video_url=video.url)  # whatever becomes of the landing
    hook.log.info(
        "video ready: task %s%s, %s s, %s units deducted",
        task.task_id,
        f", video {video.id}" if video.id not in (None, task.task_id) else "",
        video.duration,
        task.units or "unknown",
    )
    landed = None
    if result_context.landing:
        tell(context, "landing")
        landed = result_context.landing.land(hook, endpoint, task)
    manifest = video_manifest(
        task,
        video,
        api=hook.config.dialect.name,
        endpoint=endpoint,
        finished=finished,
        mode=result_context.mode,
        landed=landed,
        costs=_costs(hook, task, result_context.estimate),
        submit_request_id=result_context.submit_request_id,
    )
    push(context, file=manifest["file"], file_uri=manifest["file_uri"])
    tell_ready(context, manifest)
    report_clip(context, hook, manifest, result_context.inputs)
    return manifest


def _costs(hook: KlingAvatarHook, task: VideoTask, estimate: Mapping[str, Any] | None) -> Costs:
    """Return what a task was thought to cost, if that is known here, and what it did, as far as the vendor says."""
    from airflow_provider_kling_avatar.cost_limits import cost_of
    from airflow_provider_kling_avatar.kling.pricing import amount_text, plain

    actual = cost_of(task, hook.config)
    if actual is not None:
        hook.log.info(
            "cost: %s %s, by the vendor's answer",
            amount_text(actual.amount),
            actual.currency or "(no currency)",
        )
    currency = actual.currency if actual is not None else estimate and estimate["currency"]
    return Costs(
        estimated=estimate["amount"] if estimate and estimate["currency"] == currency else None,
        actual=plain(actual.amount) if actual is not None else None,
        currency=currency or None,
    )


def push(context: Context, **values: object) -> None:
    """Push each value to XCom under its name; what is ``None`` is left out, since Airflow 3.0 fails over it."""
    for key, value in values.items():
        if value is not None:
            context["ti"].xcom_push(key=key, value=value)


def push_link(context: Context, hook: KlingAvatarHook, task_id: str | None) -> None:
    """
    Leave the address for the extra link where it can be read without a network.

    It leads to the clip's page in Airflow's UI; where that has none, to a page of the vendor's if the connection names
    one. Never to the API, which answers no browser.

    :param task_id: the vendor's id; ``None`` while there is none.
    """
    template = hook.config.task_link
    of_vendor = template.replace("{task_id}", task_id) if template and task_id else ""
    # Airflow asks for the link after each run and logs an error if there is none.
    push(context, **{LINK_XCOM_KEY: clip_page(context["ti"]) or of_vendor})
