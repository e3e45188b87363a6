"""
What a task leaves in XCom about its clip for people to look at: one small JSON object, the summary.

Tasks write it as their clip goes on, `gallery` reads it. Nothing that decides anything reads it, and nothing here
ever fails a task.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypedDict

from airflow_provider_kling_avatar.compat import change_xcom_from_trigger, own_xcom
from airflow_provider_kling_avatar.kling import errors
from airflow_provider_kling_avatar.kling.errors import KlingError
from airflow_provider_kling_avatar.kling.redact import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_kling_avatar.compat import BaseTrigger
    from airflow_provider_kling_avatar.kling.models import VideoTask
    from airflow_provider_kling_avatar.manifest import VideoManifest

log = logging.getLogger(__name__)

CLIP_XCOM_KEY = "kling_clip"
SUMMARY_SCHEMA = "kling-avatar-clip/1"
SENDS, WAITS, FETCHES = 1, 2, 3
"""What a task does for its clip (``step``): of several tasks of a run, the last step tells how the clip stands."""
LONGEST_REASON = 500
"""Characters."""
LONGEST_TELLING = 30.0
"""Seconds that a trigger gives it, with waiting for the triggers before it."""

FROM_MANIFEST = (
    "external_task_id",
    "video_id",
    "api",
    "endpoint",
    "mode",
    "file_uri",
    "size",
    "duration",
    "queued_seconds",
    "rendering_seconds",
    "landing_seconds",
    "estimated_cost",
    "actual_cost",
    "currency",
    "units",
    "request_id",
    "submit_request_id",
    "created_at",
    "updated_at",
)
"""What a summary has under the same name as the manifest, which says what each is."""


class ClipSummary(TypedDict, total=False):
    """The summary's own fields; beside them stand those of `FROM_MANIFEST`. No URL of the vendor's is in it."""

    schema: str
    """Names this shape and its version."""
    state: str
    """``waiting_for_slot``, ``submitted``, ``queued``, ``rendering``, ``landing``, ``ready`` or ``failed``."""
    state_since: float
    """Unix seconds."""
    began_at: float
    """Unix seconds when this try began with the clip."""
    step: int
    """1: this task sends the clip, 2: waits for it too, 3: only fetches it."""
    kling_task_id: str
    """The vendor's id of the task."""
    reason: str
    """Why it failed."""
    paid: str
    """What is certain about the money of a clip that failed, as a sentence."""


def tell(context: Context, state: str | None, **facts: object) -> None:
    """
    Say how the clip of the running task stands by now; what was said before and is not said anew stays.

    :param state: see `ClipSummary`; ``None`` for as it was, or queued.
    :param facts: further fields; those that are ``None`` are left out.
    """
    try:
        known = own_xcom(context, CLIP_XCOM_KEY)
        summary = _changed(known, state, facts)
        if summary != known:
            context["ti"].xcom_push(key=CLIP_XCOM_KEY, value=summary)
    except Exception as error:  # noqa: BLE001  # only people look at it
        log.debug("the summary of the clip was not left: %s", type(error).__name__)


async def tell_from_trigger(trigger: BaseTrigger, state: str) -> None:
    """
    Say how the queued clip of a waiting task stands by now, where this Airflow lets a trigger do so.

    :param state: see `ClipSummary`.
    """

    def change(summary: Any) -> dict[str, Any] | None:
        # Of no other: by the time that this is written, the task may have gone on, or have been cleared.
        is_queued = isinstance(summary, dict) and summary.get("state") == "queued"
        return _changed(summary, state, {}) if is_queued else None

    try:
        async with asyncio.timeout(LONGEST_TELLING):  # the clip's own news and deadline wait behind this
            await change_xcom_from_trigger(trigger, CLIP_XCOM_KEY, change)
    except Exception as error:  # noqa: BLE001  # only people look at it
        log.debug("the summary of the clip was not left: %s", type(error).__name__)


def tell_ready(context: Context, manifest: VideoManifest) -> None:
    """Say that the clip is there, with what its manifest says, the vendor's links left out."""
    facts: Mapping[str, Any] = manifest
    tell(context, "ready", kling_task_id=manifest["task_id"], **{name: facts[name] for name in FROM_MANIFEST})


def tell_given_up(context: Context, error: BaseException) -> None:
    """Say that Airflow itself gives the try up, and why, unless that was said when our own error was met."""
    summary = None
    with suppress(Exception):
        summary = own_xcom(context, CLIP_XCOM_KEY)
    if not (isinstance(summary, dict) and summary.get("state") == "failed"):
        tell_failed(context, error.__cause__ if isinstance(error.__cause__, KlingError) else error)


def tell_failed(context: Context, error: BaseException) -> None:
    """Say that the try has failed, why, and what is certain about the money."""
    reason = redact(error)
    if len(reason) > LONGEST_REASON:
        reason = f"{reason[: LONGEST_REASON - 1]}…"
    task_id = None
    with suppress(Exception):  # not even a failure to ask may take the place of the error
        sent = own_xcom(context, "task_id")  # a task that only waits or fetches knows nothing of the money
        task_id = sent if sent == _vendors_id(context) else None
    tell(context, "failed", reason=reason, paid=said_of_payment(error, task_id))


def tell_seen(context: Context, seen: VideoTask | KlingError) -> None:
    """Say how the clip stands that was looked at and is not finished, if it was seen."""
    if not isinstance(seen, KlingError):
        tell(context, "queued" if seen.state.is_queued else "rendering")


def said_of_payment(error: BaseException | str | None, task_id: object) -> str:
    """
    Say what is certain about the money after a try failed.

    :param task_id: the vendor's id of the clip, if this try had one.
    """
    if isinstance(error, errors.TaskFailedError):
        return "the vendor took the clip and failed it; whether that is billed, its documents do not say"
    if isinstance(error, errors.NoSuchTaskError):
        return "not known; the vendor does not know that task"
    if isinstance(error, errors.LandingError) and not task_id:
        return "by this try no clip; one that was made is safe at the vendor, and a clear only fetches it"
    if task_id:
        return "yes, for that task; a retry or a clear picks it up again and pays nothing more"
    if isinstance(error, KlingError) and error.accepted is errors.Accepted.NO:
        return "no clip, by this try"
    return "not known; a retry or a clear asks the vendor before it sends anything"


def told_after(known: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return what is known of a clip after more was said of it, by the same task or a later one of the run.

    What does not hold any more is left out: amounts in another currency; of a clip that goes on or is there, why it
    failed before; of one that waits for a slot, the id of the one that the vendor took and failed for want of it.
    """
    told = {**known, **said}
    outdated = set() if told.get("state") == "failed" else {"reason", "paid"}
    if told.get("state") == "waiting_for_slot":
        outdated.add("kling_task_id")
    if "currency" in known and told["currency"] != known["currency"]:
        outdated |= {"estimated_cost", "actual_cost"} - set(said)
    return {name: value for name, value in told.items() if name not in outdated}


def _vendors_id(context: Context) -> object:
    summary = own_xcom(context, CLIP_XCOM_KEY)
    return summary.get("kling_task_id") if isinstance(summary, dict) else None


def _changed(known: object, state: str | None, facts: Mapping[str, object]) -> dict[str, Any]:
    """Return a summary with some of it said anew."""
    now = round(time.time(), 1)
    summary: dict[str, Any] = known if isinstance(known, dict) else {"began_at": now}
    said = {"schema": SUMMARY_SCHEMA, **{name: told for name, told in facts.items() if told is not None}}
    state = state or summary.get("state", "queued")
    if summary.get("state") != state:
        said |= {"state": state, "state_since": now}
    return told_after(summary, said)
