"""
Sends the one paid call of a piece of work, once over all tries: `Submitter.run` is the whole way, from top to bottom.

What an earlier try may have bought is found out by `recovery`, which only asks; this module pays, writes down what it
is about to pay for and what came of it, and finds out what became of a call whose answer was lost.
"""

from __future__ import annotations

import logging
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from msgspec.structs import replace

from airflow_provider_kling_avatar.kling.errors import (
    Accepted,
    InvalidRequestError,
    KlingError,
    RefusedError,
    UnaskableSubmissionError,
    UnknownSubmissionError,
)
from airflow_provider_kling_avatar.kling.submission.recovery import (
    CANNOT_BE_ASKED,
    NAMESAKE,
    Recovery,
    Reuse,
)
from airflow_provider_kling_avatar.kling.submission.speech import (
    check_age,
    find_speech,
    length_problem,
    speak,
)
from airflow_provider_kling_avatar.kling.submission.state import note, write_intent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_kling_avatar.kling.client import KlingClient
    from airflow_provider_kling_avatar.kling.models import VideoTask
    from airflow_provider_kling_avatar.kling.submission.request import Prepared
    from airflow_provider_kling_avatar.kling.submission.speech import Spoken
    from airflow_provider_kling_avatar.kling.submission.state import Record, Try

log = logging.getLogger(__name__)

LOOKS = 3
"""How often the vendor is asked for a task whose creation broke off: it may show up a little late."""
LOOK_PAUSE_SECONDS = 2.0
"""Between those looks."""
SENDINGS = 2
"""How often one name is sent in one try, where the vendor takes a name only once."""

_TAKEN = re.compile(r"(?i)external_task_id|duplicat|already|exist|unique|conflict|repeat")
"""Words of a refusal that may mean: there is a task of this name."""


@dataclass(frozen=True, slots=True)
class Submission:
    """
    The task that stands for a piece of work.

    :param task: as the vendor described it just now.
    :param external_task_id: our name for it, ``None`` where the API keeps none.
    :param is_new: True if this try paid for it; False if an earlier one had.
    :param paid_for: what was noted of it when it was paid for, see `Submitter`; `recovery.UNKNOWN` if nothing was and
        it was made from other inputs, empty if nothing was.
    """

    task: VideoTask
    external_task_id: str | None
    is_new: bool
    paid_for: Mapping[str, Any]


class Approval(Protocol):
    """
    Asked before anything is paid; refuses by raising. What an earlier try has paid for is not asked about.

    A refusal leaves no trace in the store: nothing was sent that a later try would have to look for.
    """

    def before_speech(self) -> None:
        """Let a text be spoken, which costs little, for a clip that costs more."""
        ...

    def before_clip(self, spoken_seconds: float | None) -> None:
        """
        Let the clip be paid for.

        :param spoken_seconds: length of the speech, if this try had the text spoken and was told.
        """
        ...


def submit_once(client: KlingClient, prepared: Prepared) -> VideoTask:
    """
    Submit a prepared request without looking for earlier tries: what a person's script wants.

    :raises KlingError: ``error.accepted`` tells whether the vendor may have taken it.
    """
    check_age(prepared.spoken_at)
    dialect = client.config.dialect
    spoken = speak(client, prepared.speech) if prepared.speech else None
    if spoken and (problem := length_problem(spoken.duration, dialect)):
        raise problem
    body = prepared.body_with(dialect, audio_id=spoken.audio_id if spoken else None)
    return client.submit(prepared.endpoint, body)


class Submitter:
    """
    Brings one prepared request to the vendor exactly once.

    :param client: the worker's client.
    :param prepared: what is to be paid for.
    :param this_try: of which work, with which store and policies.
    :param spoken: the voice of this text, if this very try had it spoken before.
    :param paid_for: what shall be noted of the clip for its result: a small JSON object, asked for when the
        approval has been given. Whoever delivers the clip later gets this one, whatever the inputs are by then.
    :param approval: asked right before anything is paid.
    :param sleep: how to wait; replaced in tests.
    """

    def __init__(
        self,
        client: KlingClient,
        prepared: Prepared,
        this_try: Try,
        *,
        spoken: Spoken | None = None,
        paid_for: Callable[[], dict[str, Any]] = dict,
        approval: Approval | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.client = client
        self.prepared = prepared
        self.this_try = this_try
        self.spoken = spoken
        """The voice of this text, once there is one."""
        self.paid_for = paid_for
        self.approval = approval
        self.sleep = sleep
        self.was_refused = False
        """The vendor has certainly refused the clip; not only a question about it, nor a speech."""
        self._may_be_taken = False  # a call of this try may have been accepted

    def run(self) -> Submission:
        """
        Return the task of this work: an earlier one if there is one, else a new one.

        :raises UnknownSubmissionError: it cannot be found out whether an earlier call was taken; nothing was paid.
        :raises StateUnavailableError: the store cannot be read or written; nothing was paid.
        :raises KlingError: what the vendor or the way to it said.
        """
        step = Recovery(self.client, self.prepared, self.this_try).next_step()
        if isinstance(step, Reuse):
            task, record = step.task, step.record
            if not step.is_noted:
                self._note(record, f"that the clip is task {task.task_id}")
            return Submission(task, record.external_task_id, is_new=False, paid_for=record.paid_for)

        check_age(self.prepared.spoken_at)
        record = self._with_voice(step.record)
        if self.approval:
            self.approval.before_clip(self.spoken.duration if self.spoken else None)
        record = replace(record, paid_for=self.paid_for())
        write_intent(self.this_try.store, record, step.known)
        task, is_new = self._pay(record)
        self._note(replace(record, task_id=task.task_id), f"that the clip is task {task.task_id}")
        return Submission(
            task, record.external_task_id or task.external_task_id, is_new=is_new, paid_for=record.paid_for
        )

    def _with_voice(self, record: Record) -> Record:
        """
        Return the record with the voice of its text in it: an earlier one, or one that is paid for now.

        :raises InvalidRequestError: the speech is no voice for a clip; it is written down and not paid for again.
        """
        if not self.prepared.speech:
            return record
        spoken = self.spoken or find_speech(record)
        if spoken is None:
            if self.approval:
                self.approval.before_speech()
            spoken = speak(self.client, self.prepared.speech)
            # At once, and as a clip that was certainly not taken: none was sent.
            fact = f"that the text is audio {spoken.audio_id}"
            self._note(replace(spoken.noted_in(record), refused=True), fact)
        self.spoken = spoken
        if problem := length_problem(spoken.duration, self.client.config.dialect):
            raise problem
        return spoken.noted_in(record)

    def _note(self, record: Record, fact: str) -> None:
        """Write down what the vendor has said; see `submission.state.note`."""
        note(self.this_try.store, record, fact)

    # ------------------------------------------------------------- paying

    def _pay(self, record: Record) -> tuple[VideoTask, bool]:
        """Send the clip of a record; return the task and whether this try paid for it."""
        body = self.prepared.body_with(
            self.client.config.dialect, external_task_id=record.external_task_id, audio_id=record.audio_id
        )
        try:
            return self._send(body, record.external_task_id)
        except KlingError as error:
            self.was_refused = error.accepted is Accepted.NO and not self._may_be_taken
            if self.was_refused:
                self._note(replace(record, refused=True), "that the vendor refused the clip")
            raise

    def _send(self, body: dict[str, Any], name: str | None) -> tuple[VideoTask, bool]:
        """
        Pay. Return the task and whether this try paid for it.

        The same name is sent again only where the vendor takes a name once and has just said that it has none.
        """
        for _ in range(SENDINGS):
            try:
                return self.client.submit(self.prepared.endpoint, body), True
            except KlingError as error:
                if error.accepted is Accepted.NO:
                    # A refusal may also be the vendor's way of saying that it has a task of this name already.
                    return self._namesake(error, name), self._may_be_taken
                problem = error
            self._may_be_taken = True
            log.warning("the submission broke off (%s): asking the vendor whether it has the task", problem)
            found, answer = self._look(name)
            if found is not None:
                log.info("the vendor has it: task %s", found.task_id)
                return found, True
            if answer is not None or not self.client.config.dialect.unique_external_id:
                break
            log.info("the vendor does not have it; sending %s again: it takes a name only once", name)
        raise self._unknown(answer or problem, name) from problem

    def _look(self, name: str | None) -> tuple[VideoTask | None, KlingError | None]:
        """
        Ask for a task whose creation broke off, a few times.

        :return: the task; or why it is not known; or neither, if the vendor said each time that it has none.
        """
        if not name:
            return None, UnaskableSubmissionError("the api keeps no name to ask by")
        problem: KlingError | None = None
        for look in range(LOOKS):
            if look:
                self.sleep(LOOK_PAUSE_SECONDS)
            try:
                found = self.client.find_task(name, self.prepared.endpoint)
            except KlingError as error:
                problem = error
            else:
                if found is not None:
                    return found, None
        return None, problem

    def _unknown(self, problem: KlingError, name: str | None) -> UnknownSubmissionError:
        next_step = (
            f"the next try asks for {name!r} before it sends anything"
            if name
            else "look into the vendor's console before you run this task again"
        )
        return (UnknownSubmissionError if name else UnaskableSubmissionError)(
            f"it is not known whether the vendor took the clip ({problem}); nothing is sent again blindly: {next_step}",
            code=problem.code,
            http_status=problem.http_status,
            request_id=problem.request_id,
        )

    def _namesake(self, error: KlingError, name: str | None) -> VideoTask:
        """
        Return the task because of which the vendor refused the name.

        :raises KlingError: `error`, if the vendor refused something else.
        :raises UnknownSubmissionError: the vendor seems to have such a task, but did not show it.
        """
        if name is None or not isinstance(error, InvalidRequestError | RefusedError):
            raise error
        seems_taken = name in error.said or error.http_status == 409 or bool(_TAKEN.search(error.said))
        try:
            found = self.client.find_task(name, self.prepared.endpoint)
        except KlingError:
            found = None
        problem: KlingError | None = None
        if found is None and seems_taken:
            found, problem = self._look(name)
        if found is not None:
            log.warning(NAMESAKE, name, found.task_id)
            return found
        if not seems_taken:
            raise error
        cannot_be_asked = isinstance(problem, CANNOT_BE_ASKED)
        raise (UnaskableSubmissionError if cannot_be_asked else UnknownSubmissionError)(
            f"the vendor seems to have a task named {name!r} already, but does not show it under that name"
            f"{self._other_endpoint(name)}: look for it in the vendor's console. If it lives, "
            "wait for it with KlingAvatarSensor; if it failed, give "
            f"this task an external_task_id of your own; nothing more is sent ({error})",
            code=error.code,
            http_status=error.http_status,
            request_id=error.request_id,
        ) from error

    def _other_endpoint(self, name: str) -> str:
        """Say what else has this name: the vendor keeps names apart by account only, not by what is made."""
        here = {"speech", self.prepared.endpoint}
        others = [endpoint for endpoint in self.client.config.dialect.endpoints if endpoint not in here]
        is_own = self.prepared.own_name(self.client.config.dialect)
        for other in others if is_own else ():  # ours are made of what no other task has
            with suppress(KlingError):
                if self.client.find_task(name, other):
                    return f" (it is a task of the endpoint {other}: names are the account's, choose another one)"
        return ""
