"""
A ready-made retry policy for Airflow 3.3 and newer: which error is tried again, and how soon.

Before 3.3 there are no such policies; the errors themselves then say whether a retry can help, and Airflow's
``retry_delay`` says when.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from airflow_provider_kling_avatar.kling import errors as e

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import RetryPolicy

    from airflow_provider_kling_avatar.kling.errors import KlingError

OnTaskFailed = Literal["retry", "fail"]

SOON = timedelta(seconds=10)
LATER = timedelta(minutes=1)
MUCH_LATER = timedelta(minutes=5)

RETRIED: tuple[tuple[type[KlingError], timedelta, str], ...] = (
    (e.TaskTimeoutError, SOON, "the clip may be ready by now: the next try goes on with it, free"),
    (e.TaskLostError, LATER, "the clip may live: the next try asks for it, free"),
    (e.UnknownSubmissionError, LATER, "the next try asks the vendor for the clip before it sends anything"),
    (e.StateUnavailableError, LATER, "nothing new is sent without it: the next try looks again"),
    (e.CostUndecidedError, LATER, "other rows were deciding about the same budget: no clip was ordered"),
    (e.RateLimitedError, MUCH_LATER, "the vendor asks to slow down"),
    (e.NoFreeSlotError, MUCH_LATER, "the account was full for all of slot_timeout"),
    (e.UnavailableError, LATER, "the vendor is down for the moment"),
    (e.ConnectionFailedError, LATER, "the vendor was not reached: nothing was sent"),
    (e.ConnectionLostError, LATER, "the connection broke: the next try asks first"),
    (e.UnreadableAnswerError, LATER, "the answer could not be read: the next try asks first"),
    (e.DamagedVideoError, LATER, "what came was no whole clip: the next try only fetches, free"),
    (e.DownloadError, LATER, "the clip could not be fetched: the next try only fetches, free"),
    (e.StorageError, LATER, "the storage failed or is full: the next try only fetches, free"),
    (e.LandingError, LATER, "the clip did not reach the storage: the next try only fetches, free"),
)
"""What is tried again, after how long, and why. Permanent errors are not in it: Airflow fails at once on them."""


def kling_retry_policy(*, on_task_failed: OnTaskFailed = "retry") -> RetryPolicy | None:
    """
    Return a policy for ``retry_policy=`` of the operators and the sensor; ``None`` before Airflow 3.3.

    It shortens or lengthens ``retry_delay`` by what went wrong. How many retries there are is the Dag's to say.

    :param on_task_failed: the vendor took a clip and failed it, which a retry would pay for anew: ``retry``
        (default), or ``fail``.
    """
    try:
        from airflow.providers.common.compat.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
    except ImportError:
        return None
    rules = [
        RetryRule(exception=kind, action=RetryAction.RETRY, retry_delay=delay, reason=reason)
        for kind, delay, reason in RETRIED
    ]
    if on_task_failed == "fail":
        reason = "the vendor failed the clip; making it anew would be paid again"
        rules.append(RetryRule(exception=e.TaskFailedError, action=RetryAction.FAIL, reason=reason))
    return ExceptionRetryPolicy(rules=rules)
