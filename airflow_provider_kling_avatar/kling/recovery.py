"""
Decides what a try has to do about a clip that an earlier try may have bought: attach, collect, submit or stop.

Only asks, never pays. What is known comes, in this order, from a memory that outlives the try, from the vendor
asked by our name for the clip, and from the vendor's list. A source that cannot be read is an error, never "nothing
there".
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args

from airflow_provider_kling_avatar.kling.calls import route_is_right
from airflow_provider_kling_avatar.kling.errors import (
    ChangedInputError,
    ConfigurationError,
    InvalidRequestError,
    KlingError,
    NotFoundError,
    RefusedError,
    UnaskableSubmissionError,
    UnknownSubmissionError,
    WrongRouteError,
)
from airflow_provider_kling_avatar.kling.model import TaskState, VideoTask
from airflow_provider_kling_avatar.kling.polling import Finished, Verdict, error_of

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.kling.client import KlingClient
    from airflow_provider_kling_avatar.kling.identity import Work
    from airflow_provider_kling_avatar.kling.preparation import Prepared

log = logging.getLogger(__name__)

OnUnknownSubmission = Literal["fail", "resubmit"]
OnChangedInput = Literal["submit_new", "fail"]
OnRerun = Literal["reuse", "regenerate"]

CHOICES = {
    "on_unknown_submission": get_args(OnUnknownSubmission),
    "on_changed_input": get_args(OnChangedInput),
    "on_rerun": get_args(OnRerun),
}
"""The words each policy may have, the default first."""

CANNOT_BE_ASKED = (InvalidRequestError, NotFoundError, RefusedError, WrongRouteError)
"""What a gateway answers that does not know tasks by our name: no trouble that passes."""
MAX_NUMBERS = 100
"""So many submissions of one piece of work end the search for the next free number."""
MAX_BEFORE = 20
"""So many earlier inputs of a task are remembered."""


class Memory(Protocol):
    """
    A small store that outlives a try. `recall` of what was never remembered gives an empty dict.

    Both raise `StateUnavailableError` if the store cannot be reached.
    """

    def recall(self) -> dict[str, Any]:
        """Return what was remembered last."""
        ...

    def remember(self, record: dict[str, Any]) -> None:
        """Store a small JSON object, replacing the last one, before returning."""
        ...


@dataclass(frozen=True, slots=True)
class Policies:
    """
    What the user wants where there is a choice.

    :param on_unknown_submission: neither memory nor vendor can tell whether an earlier try paid: ``fail``, or
        ``resubmit`` and risk paying twice.
    :param on_changed_input: the inputs differ from those of the clip that was submitted: ``submit_new`` pays for
        another clip, ``fail`` stops.
    :param on_rerun: the task has succeeded and is run again: ``reuse`` its clip, or ``regenerate`` a new one.
    """

    on_unknown_submission: OnUnknownSubmission = "fail"
    on_changed_input: OnChangedInput = "submit_new"
    on_rerun: OnRerun = "reuse"

    def __post_init__(self) -> None:
        """
        Refuse words that mean nothing: one that was misspelt must not decide about money.

        :raises InvalidRequestError: names the words there are.
        """
        for name, words in CHOICES.items():
            value = getattr(self, name)
            if value not in words:
                raise InvalidRequestError(
                    f"{name} must be {' or '.join(map(repr, words))}, not {value!r}", field=name
                )


@dataclass(frozen=True, slots=True)
class Try:
    """
    What is known of the try that is running.

    :param first: no earlier try can have sent anything.
    :param asked_anew: a schedule or a person asked for it (a first run, a clear); it is no mere retry.
    :param round: the same for a try and its retries, another one after each clear.
    :param refused: the vendor has just refused this work for want of a slot, so nothing of it is open.
    """

    first: bool
    asked_anew: bool = False
    round: int = 0
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Attach:
    """An earlier try's clip is still being made: wait for it. ``name`` is ours for it, if the API keeps one."""

    task: VideoTask
    name: str | None
    number: int


@dataclass(frozen=True, slots=True)
class Collect:
    """An earlier try's clip is there: go straight to the result."""

    task: VideoTask
    name: str | None
    number: int


@dataclass(frozen=True, slots=True)
class Submit:
    """Nothing is there to go on with: pay, under this number."""

    number: int


@dataclass(frozen=True, slots=True)
class Stop:
    """It cannot be known, or must not be paid again: fail this try with a message that says what to check."""

    error: KlingError


NextStep: TypeAlias = Attach | Collect | Submit | Stop


class Recovery:
    """
    Finds out what became of earlier submissions of one piece of work.

    :param client: the worker's client.
    :param prepared: what is to be paid for.
    :param work: what it is part of; names it.
    :param memory: outlives the try, where there is such a store.
    :param this_try: what Airflow says of the try.
    :param policies: what the user wants where there is a choice.
    """

    def __init__(
        self,
        client: KlingClient,
        prepared: Prepared,
        work: Work,
        *,
        memory: Memory | None,
        this_try: Try,
        policies: Policies,
    ) -> None:
        self.client = client
        self.prepared = prepared
        self.work = work
        self.memory = memory
        self.this_try = this_try
        self.policies = policies
        self.inputs = work.inputs(prepared.fingerprint)
        self.is_named = client.config.dialect.takes(prepared.endpoint, "external_task_id")
        self.record: dict[str, Any] = {}
        self.before: dict[str, int] = {}
        """Other inputs that were submitted -> the number of their last submission."""

    def next_step(self) -> NextStep:
        """Return what this try has to do. Asks the memory and the vendor; pays nothing."""
        try:
            self._recall()
            return self._next_step()
        except KlingError as error:
            return Stop(error)

    def name(self, number: int) -> str | None:
        """Return the name under which the vendor knows a submission; ``None`` where the API keeps none."""
        if not self.is_named:
            return None
        if self._own_name:
            # Not merely "-1": the user's own name for something else may well be that.
            return self._own_name if number == 0 else f"{self._own_name}-again-{number}"
        return self.work.name(self.prepared.fingerprint, number)

    @property
    def _own_name(self) -> str | None:
        """The user's own ``external_task_id``."""
        if not self.is_named:
            return None
        fields = self.client.config.dialect.endpoint(self.prepared.endpoint).fields
        own: str | None = self.prepared.body.get(fields["external_task_id"].name)
        return own or None

    # ------------------------------------------------------------- the memory

    def _recall(self) -> None:
        """
        Read the record of these inputs, and which others were submitted before.

        :raises ChangedInputError: the last submission was of other inputs, and the user wants to know.
        """
        if self.memory is None:
            if self.policies.on_changed_input == "fail":
                raise ConfigurationError(
                    "on_changed_input='fail' needs something that remembers the inputs: "
                    "Airflow 3.3 or newer, or a state_path"
                )
            return
        record = self.memory.recall()
        inputs = record.get("inputs")
        self.before = dict(record.get("before") or {})
        if not record or inputs == self.inputs:
            self.record = record
            return
        if record.get("refused") and not record.get("number"):  # of those inputs nothing was ever taken
            return
        earlier = record.get("task_id") or f"without a known id, named {record.get('name')}"
        if self.policies.on_changed_input == "fail":
            raise ChangedInputError(
                f"the inputs or the connection differ from those of an earlier submission (task {earlier}); nothing "
                "was sent. Restore them, or pay for another clip with on_changed_input='submit_new'"
            )
        log.warning(
            "the inputs or the connection differ from those of an earlier submission (task %s): "
            "submitting a new clip, as on_changed_input says",
            earlier,
        )
        self.before[str(inputs)] = int(record.get("number", 0))
        self.before = dict(list(self.before.items())[-MAX_BEFORE:])

    # ------------------------------------------------------------- the decision

    def _next_step(self) -> NextStep:
        number = int(self.record.get("number", self._first_number()))
        failed: VideoTask | None = None
        if self.record.get("task_id"):
            found = self._remembered(self.record["task_id"])
            if found and found.state is not TaskState.FAILED:
                return self._go_on_with(found, self.record.get("name"), number)
            failed = found
            number = self.number_after(number) if failed else self._first_number()
        if self.this_try.first and not self.record and self.inputs not in self.before:
            return Submit(number)
        if self.is_named:
            return self._ask_by_name(number, failed)
        if not self._nothing_open(failed):
            self._refuse_unless_allowed()
        self._check_failure(failed)
        return Submit(number)

    def _first_number(self) -> int:
        """
        Return the number at which the submissions of these inputs begin.

        Our own names differ with the inputs. A user's name does not, so that other inputs need another number.
        """
        known = self.before.get(self.inputs)
        if known is not None or not self._own_name:
            return known or 0
        return max(self.before.values(), default=-1) + 1

    def number_after(self, number: int) -> int:
        """Return the next number, past those that the same name has for other inputs."""
        others = {last for inputs, last in self.before.items() if inputs != self.inputs}
        number += 1
        while self._own_name and number in others:
            number += 1
        return number

    def _nothing_open(self, failed: VideoTask | None) -> bool:
        """Tell whether it is certain, without asking, that no clip of this work is alive."""
        if failed or self.record.get("refused"):
            return True
        if self.record:
            return False
        if self.this_try.refused:
            return True
        return self.memory is not None and self.inputs not in self.before

    def _remembered(self, task_id: str) -> VideoTask | None:
        try:
            return self.client.get_task(task_id, self.prepared.endpoint)
        except NotFoundError as error:
            if not route_is_right(error):  # a proxy's, perhaps: nothing is known of the task
                self._refuse_unless_allowed(error)
            if "delivered_in" in self.record and self.policies.on_rerun == "reuse":
                raise NotFoundError(
                    f"task {task_id} was delivered and the vendor no longer has it; nothing is paid again unasked: "
                    "clear with on_rerun='regenerate' for a new clip",
                    code=error.code,
                    http_status=error.http_status,
                ) from error
            log.warning("the vendor no longer has task %s that an earlier try created", task_id)
            if not self.is_named:
                self._refuse_unless_allowed()
            return None

    def _ask_by_name(self, number: int, failed: VideoTask | None) -> NextStep:
        """Walk the numbers of this work until one is not there; ``failed`` is the task of the one before."""
        alive: tuple[VideoTask, int] | None = None
        while number < MAX_NUMBERS:
            found = self._find(number, nothing_open=bool(alive) or self._nothing_open(failed))
            if found is None:
                if alive:
                    return self._go_on_with(alive[0], self.name(alive[1]), alive[1])
                self._check_failure(failed)
                return Submit(number)
            if found.state is TaskState.FAILED:
                log.info(
                    "submission %d (%s) failed at the vendor: %s", number, self.name(number), found.reason
                )
                failed, alive = found, None
            elif self.policies.on_rerun == "reuse":
                return self._go_on_with(found, self.name(number), number)
            else:
                alive = found, number  # a later one may have been made since, after a clear
            number = self.number_after(number)
        raise ConfigurationError(f"{MAX_NUMBERS} submissions of this work have failed: giving up")

    def _find(self, number: int, *, nothing_open: bool) -> VideoTask | None:
        try:
            return self.client.find_task(self.name(number) or "", self.prepared.endpoint)
        except CANNOT_BE_ASKED as error:
            if not nothing_open:
                self._refuse_unless_allowed(error)
            return None

    def _go_on_with(self, task: VideoTask, name: str | None, number: int) -> NextStep:
        """Return how to go on with a clip that did not fail."""
        if self._is_wanted_anew(task):
            log.info(
                "the clip was delivered (task %s, %s); making a new one, as on_rerun says",
                task.task_id,
                name or "unnamed",
            )
            return Submit(self.number_after(number))
        log.info(
            "an earlier try created this clip already: task %s (%s), %s; nothing is paid again",
            task.task_id,
            name or "unnamed",
            task.status or task.state.value,
        )
        return (Collect if task.state is TaskState.SUCCEEDED else Attach)(task, name, number)

    def _is_wanted_anew(self, task: VideoTask) -> bool:
        """
        Tell whether a task that has done its work was cleared for a new clip.

        With a memory that is certain: the clip was delivered in an earlier round. Without one a clip counts as
        delivered once it is ready, in the first try after a clear.
        """
        if self.policies.on_rerun == "reuse":
            return False
        if self.memory is not None and self.record:
            return bool(self.record.get("delivered_in", self.this_try.round) != self.this_try.round)
        return task.state is TaskState.SUCCEEDED and self.this_try.asked_anew and not self.this_try.first

    def _check_failure(self, failed: VideoTask | None) -> None:
        """
        Refuse to pay again by itself for what the vendor has rejected.

        :raises TaskRejectedError: the last submission was rejected for its content or input.
        """
        if failed is None or self.this_try.asked_anew:
            return
        error = error_of(failed.task_id, Finished(Verdict.FAILED, failed.reason, failed.reason_code))
        if error.permanent:
            raise error

    def _refuse_unless_allowed(self, cause: KlingError | None = None) -> None:
        if self.policies.on_unknown_submission == "resubmit":
            log.warning(
                "an earlier try may have paid already; submitting again, as on_unknown_submission says"
            )
            return
        dialect = self.client.config.dialect
        if isinstance(cause, NotFoundError) and not route_is_right(cause):
            known_route = dialect.unique_external_id or self.record.get("task_id")
            if known_route:  # it has answered there, or its page says that it does: this may pass
                raise UnknownSubmissionError(
                    "an earlier try may have created and paid for this clip, and its address says only 'not found' "
                    f"({cause}); nothing was sent, the next try asks again",
                    code=cause.code,
                    http_status=cause.http_status,
                ) from cause
        raise UnaskableSubmissionError(
            f"an earlier try may have created and paid for this clip, and the api {dialect.name!r} "
            f"cannot be asked for it{f' ({cause})' if cause else ''}. "
            "Look into the vendor's console; if there is no such task, run this task again "
            "with on_unknown_submission='resubmit'"
        ) from cause
