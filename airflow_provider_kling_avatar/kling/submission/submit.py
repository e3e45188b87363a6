"""
Sends the one paid call of a piece of work, once over all tries.

What an earlier try may have bought is found out by `recovery`; this module only sends, and finds out what became of
a call whose answer was lost.
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
    StateUnavailableError,
    UnaskableSubmissionError,
    UnknownSubmissionError,
)
from airflow_provider_kling_avatar.kling.submission.recovery import (
    CANNOT_BE_ASKED,
    NAMESAKE,
    Recovery,
    Reuse,
    Stop,
    Submit,
)
from airflow_provider_kling_avatar.kling.submission.request import speech_body
from airflow_provider_kling_avatar.kling.submission.speech import (
    Spoken,
    check_age,
    earlier_speech,
    length_problem,
    speak,
)
from airflow_provider_kling_avatar.kling.submission.state import Policies, Record, StateStore, Try, load, save

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_kling_avatar.kling.client import KlingClient
    from airflow_provider_kling_avatar.kling.models import VideoTask
    from airflow_provider_kling_avatar.kling.submission.identity import TaskIdentity
    from airflow_provider_kling_avatar.kling.submission.request import Prepared

log = logging.getLogger(__name__)

LOOKS = 3
"""How often the vendor is asked for a task whose creation broke off: it may show up a little late."""
PAUSE_SECONDS = 2.0
"""Between those looks."""
SENDINGS = 2
"""How often one name is sent in one try, where the vendor takes a name only once."""

UNKNOWN = {"mode": None}
"""What is known of how a clip was ordered that is found by the vendor's list alone, made from other inputs."""

_TAKEN = re.compile(r"(?i)external_task_id|duplicat|already|exist|unique|conflict|repeat")
"""Words of a refusal that may mean: there is a task of this name."""


@dataclass(frozen=True, slots=True)
class Submission:
    """
    The task that stands for a piece of work.

    :param task: as the vendor described it just now.
    :param external_task_id: our name for it, ``None`` where the API keeps none.
    :param is_new: True if this try paid for it; False if an earlier one had.
    :param paid_for: what was noted of it when it was paid for, see `Submitter`; `UNKNOWN` if nothing was and it was
        made from other inputs, empty if nothing was.
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
    body = dict(prepared.body)
    if prepared.speech:
        dialect = client.config.dialect
        spoken = speak(client, speech_body(prepared.speech, dialect))
        if problem := length_problem(spoken.duration, dialect):
            raise problem
        body[dialect.endpoint(prepared.endpoint).fields["audio_id"].name] = spoken.audio_id
    return client.submit(prepared.endpoint, body)


class Submitter:
    """
    Brings one prepared request to the vendor exactly once.

    :param client: the worker's client.
    :param prepared: what is to be paid for.
    :param work: what it is part of; names it.
    :param store: outlives the try, where there is such a store.
    :param this_try: what Airflow says of the try.
    :param policies: what the user wants where there is a choice.
    :param audio_id: of this text, if this try had it spoken before.
    :param paid_for: tells what shall be remembered of the clip for its result: a small JSON object, asked for when the
        approval has been given. Whoever collects the clip later gets this one, whatever the inputs are by then.
    :param approval: asked right before anything is paid.
    :param sleep: how to wait; replaced in tests.
    """

    def __init__(
        self,
        client: KlingClient,
        prepared: Prepared,
        work: TaskIdentity,
        *,
        store: StateStore | None,
        this_try: Try,
        policies: Policies,
        audio_id: str | None = None,
        paid_for: Callable[[], dict[str, Any]] = dict,
        approval: Approval | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.client = client
        self.prepared = prepared
        self.store = store
        self.audio_id = audio_id
        self.paid_for = paid_for
        self.approval = approval
        self.sleep = sleep
        self.was_refused = False
        """The vendor has certainly refused the clip; not only a question about it, nor a speech."""
        self._may_be_taken = False  # a call of this try may have been accepted
        self.recovery = Recovery(
            client,
            prepared,
            work,
            store=store,
            this_try=this_try,
            policies=policies,
        )

    def run(self) -> Submission:
        """
        Return the task of this work: an earlier one if there is one, else a new one.

        :raises UnknownSubmissionError: it cannot be found out whether an earlier call was taken; nothing was paid.
        :raises KlingError: what the vendor or the way to it said.
        """
        step = self.recovery.next_step()
        if isinstance(step, Stop):
            raise step.error
        if isinstance(step, Submit):
            return self._submit(step)
        record = self._note_found(step)
        return Submission(step.task, step.name, is_new=False, paid_for=record.paid_for)

    # ------------------------------------------------------------- sending

    def _submit(self, step: Submit) -> Submission:
        name = step.name
        body = dict(self.prepared.body)
        fields = self.client.config.dialect.endpoint(self.prepared.endpoint).fields
        if name:
            body[fields["external_task_id"].name] = name
        record = self._new_record(step.number, name)
        check_age(self.prepared.spoken_at)
        spoken = self._speak(record)
        if spoken:
            body[fields["audio_id"].name] = spoken.audio_id
            record = _with_speech(record, spoken)
        if self.approval:
            self.approval.before_clip(spoken.duration if spoken else None)
        record = replace(record, paid_for=self.paid_for())
        save(self.store, record)  # an error here stops the try before anything is paid
        try:
            task, is_new = self._send(body, name)
        except KlingError as error:
            self.was_refused = error.accepted is Accepted.NO and not self._may_be_taken
            if self.was_refused:
                self._note(replace(record, refused=True), "that the vendor refused the clip")
            raise
        self._note(replace(record, task_id=task.task_id), f"that the clip is task {task.task_id}")
        return Submission(task, name or task.external_task_id, is_new=is_new, paid_for=record.paid_for)

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
                self.sleep(PAUSE_SECONDS)
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
        for other in others if self.recovery.own_name else ():  # ours are made of what no other task has
            with suppress(KlingError):
                if self.client.find_task(name, other):
                    return f" (it is a task of the endpoint {other}: names are the account's, choose another one)"
        return ""

    # ------------------------------------------------------------- speaking

    def _speak(self, record: Record) -> Spoken | None:
        """
        Turn text into a voice, unless an earlier try has one.

        :param record: of the clip that is about to be sent.
        :raises InvalidRequestError: the speech is no voice for a clip; it is written down and not paid for again.
        """
        speech, dialect = self.prepared.speech, self.client.config.dialect
        if speech is None:
            return None
        noted = self.recovery.record
        # Another key may be another account's, which has no such audio and would refuse the clip for ever.
        is_of_this_text = (noted.inputs, noted.account) == (record.inputs, record.account)
        spoken = earlier_speech(noted if is_of_this_text else Record(), self.audio_id, time.time())
        if spoken:
            log.info("this text was spoken already: audio %s", spoken.audio_id)
        else:
            if self.approval:
                self.approval.before_speech()
            spoken = speak(self.client, speech_body(speech, dialect))
            # At once, and as a clip that was certainly not taken: none was sent.
            self._note(
                replace(_with_speech(record, spoken), refused=True),
                f"that the text is audio {spoken.audio_id}",
            )
        self.audio_id = spoken.audio_id
        if problem := length_problem(spoken.duration, dialect):
            raise problem
        return spoken

    # ------------------------------------------------------------- remembering

    def _new_record(self, number: int, name: str | None) -> Record:
        return Record(
            round=self.recovery.this_try.round,
            inputs=self.recovery.inputs,
            number=number,
            name=name,
            before=self.recovery.before,
            account=self.recovery.account,
        )

    def _note_found(self, step: Reuse) -> Record:
        """Write down which clip stands for this work in this round, if that is not known; return the record."""
        noted, this_round = self.recovery.record, self.recovery.this_try.round
        if noted.inputs and noted.name == step.name and noted.number == step.number:
            record = replace(noted, task_id=step.task.task_id, round=this_round, refused=False)
        else:
            record = replace(self._new_record(step.number, step.name), task_id=step.task.task_id)
            if self.recovery.is_of_other_inputs:
                record = replace(record, paid_for=UNKNOWN)
        if record != noted:
            self._note(record, f"that the clip is task {step.task.task_id}")
        return record

    def _note(self, record: Record, fact: str) -> None:
        """Write down what the vendor said. Failing the try for want of a note would only make things worse."""
        try:
            noted = load(self.store)
            # Unless another try, which took this one's place, has noted it and more.
            if noted.task_id is None or noted.task_id != record.task_id or noted.round != record.round:
                save(self.store, record)
        except StateUnavailableError as error:
            log.warning("could not note down %s: %s", fact, error)


def _with_speech(record: Record, spoken: Spoken) -> Record:
    """Return the record of a clip with what is kept of its voice: the clip has a ``task_id`` of its own."""
    return replace(record, audio_id=spoken.audio_id, spoken_at=spoken.spoken_at, duration=spoken.duration)
