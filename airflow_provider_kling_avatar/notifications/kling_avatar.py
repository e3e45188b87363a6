"""
Says in plain words why a clip failed, and hands that to whoever carries messages.

Knows what each error means for the money and for the person who reads of it. Knows nothing of mail or chat: the
sender is given.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_provider_kling_avatar.clip_summary import said_of_payment
from airflow_provider_kling_avatar.compat import BaseNotifier, context_merge, own_xcom
from airflow_provider_kling_avatar.kling import errors
from airflow_provider_kling_avatar.kling.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import Context

CONTEXT_KEY = "kling_failure"
"""Under which other notifiers find the message in their templates."""

WHAT_TO_DO: dict[type[errors.KlingError], str] = {
    errors.KlingError: "Read the task's log, then clear the task.",
    errors.InvalidRequestError: "Correct the input and clear the task.",
    errors.UnsupportedError: "Leave that field out, or use a connection to an API that has it.",
    errors.ConfigurationError: "Correct the connection and clear the task.",
    errors.AuthenticationError: "Check key and host in the connection (each region has its own), then clear the task.",
    errors.TokenTimeError: "Set the clock of the worker, then clear the task.",
    errors.AccountError: "Top up or renew the account at the vendor, then clear the task.",
    errors.PermissionDeniedError: "Have the vendor allow this model and address for the account, then clear the task.",
    errors.ContentRejectedError: "Change the picture, the voice or the words: the same is refused again.",
    errors.RefusedError: "Ask the vendor what the code means, quoting the request id.",
    errors.WrongRouteError: "Check host and path_prefix in the connection.",
    errors.RateLimitedError: "Clear the task later, or let fewer tasks run at once.",
    errors.NoFreeSlotError: "Clear the task later, or give it a pool of the size that the account allows.",
    errors.UnaskableSubmissionError: "Look for the clip in the vendor's console before anything is sent again.",
    errors.StateUnavailableError: "Make the state reachable again, then clear the task.",
    errors.ChangedInputError: "Put the old inputs back, or set on_changed_input='submit_new' to pay for another clip.",
    errors.TaskFailedError: "Clear the task to have the clip made anew, which is paid for.",
    errors.TaskRejectedError: "Change the picture, the voice or the words: the same is rejected again.",
    errors.CostLimitError: "Shorten the text or the recording, or raise the limit, then clear the task.",
    errors.CostUndecidedError: "Clear the task: the other rows have decided by then.",
    errors.LandingError: "Repair that, then clear the task: the clip is only fetched again.",
    errors.OutputPathError: "Correct output_path or the rights there, then clear the task.",
    errors.OutputExistsError: "Give each clip a path of its own, or set on_existing='replace', then clear the task.",
    errors.NoWatermarkError: "Leave watermarked out, then clear the task.",
    errors.TaskTimeoutError: "Clear the task: it goes on waiting for the same clip.",
    errors.TaskLostError: "Clear the task: it looks for the same clip again.",
}
"""By the class of the error; one that is not named has its base class's advice."""

UNEXPECTED = "Read the task's log. A clear is safe: the vendor is asked for the clip before anything is paid."


class KlingFailureNotifier(BaseNotifier):
    """
    Tell somebody why a clip failed: what happened, the vendor's reason, whether it was paid, what to do.

    Give it to ``on_failure_callback`` of a task or a Dag. Works for every task; it knows most about those of this
    package.

    .. code-block:: python

        KlingFailureNotifier(send_to_the_newsroom)
        KlingFailureNotifier(SlackWebhookNotifier(text="{{ kling_failure }}"))

    :param send: gets the message as its only argument; or another notifier, whose templates find the message as
        ``{{ kling_failure }}``. By default the message is only logged.
    """

    template_fields = ()

    def __init__(self, send: Callable[[str], object] | BaseNotifier | None = None) -> None:
        super().__init__()
        self.send = send

    def notify(self, context: Context) -> None:
        """Word the message and hand it on."""
        message = failure_message(context)
        if self.send is None:
            self.log.error("%s", message)
        elif isinstance(self.send, BaseNotifier):
            context_merge(context, {CONTEXT_KEY: message})
            self.send(context)
        else:
            self.send(message)


def failure_message(context: Context) -> str:
    """
    Say in a few lines why a task failed; holds no secret.

    :param context: of the failed task. Its ``exception`` is the error where the task's own process tells of it; a
        text, or nothing, where the worker died and Airflow tells of it elsewhere.
    """
    error = context.get("exception")
    task_id = None
    with suppress(Exception):  # where the worker died there may be no XCom to ask
        task_id = own_xcom(context, "task_id")
    lines = {
        "Failed": _where(context["ti"]),
        "Why": _why(error),
        "At the vendor": f"task {task_id}" if task_id else "no task is known",
        "Paid": said_of_payment(error, task_id),
        "What to do": _what_to_do(error),
    }
    log_url = getattr(context["ti"], "log_url", None)
    if log_url:
        lines["Log"] = log_url
    return "\n".join(f"{name}: {text}" for name, text in lines.items())


def _where(ti: Any) -> str:
    """Name the task and its try as the UI does."""
    name = f"{ti.dag_id}.{ti.task_id}"
    if ti.map_index is not None and ti.map_index >= 0:
        name += f" [{getattr(ti, 'rendered_map_index', None) or ti.map_index}]"
    return f"{name}, run {ti.run_id}, try {ti.try_number}"


def _why(error: BaseException | str | None) -> str:
    """Name the error and quote what it says, with the vendor's code and request id."""
    if error is None:
        return (
            "the task's process was lost before it could say (killed, out of memory, or its worker is gone)"
        )
    if isinstance(error, BaseException):
        return f"{type(error).__name__}: {redact(error)}"
    return redact(error)


def _what_to_do(error: BaseException | str | None) -> str:
    """Return the advice for the error's class, or for the nearest of its bases."""
    for kind in type(error).__mro__:
        if kind in WHAT_TO_DO:
            advice = WHAT_TO_DO[kind]
            field = getattr(error, "field", None)
            return f"{advice} The field is {field}." if field else advice
    return UNEXPECTED


__all__ = ["KlingFailureNotifier", "failure_message"]
