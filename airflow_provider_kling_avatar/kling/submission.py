"""
Sends the one paid call of a piece of work, and finds it again on any later try.

Decides between attach (the vendor has it), submit (the vendor certainly does not, or failed the last one) and
stop (nobody can say). A source that cannot be read is an error, never "nothing there".
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from airflow_provider_kling_avatar.kling.errors import (
    Accepted,
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
from airflow_provider_kling_avatar.kling.preparation import speech_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_kling_avatar.kling.client import KlingClient
    from airflow_provider_kling_avatar.kling.identity import Work
    from airflow_provider_kling_avatar.kling.preparation import Prepared

log = logging.getLogger(__name__)

OnUnknownSubmission = Literal["fail", "resubmit"]

CANNOT_BE_ASKED = (InvalidRequestError, NotFoundError, RefusedError, WrongRouteError)
"""What a gateway answers that does not know tasks by our name: no trouble that passes."""
MAX_NUMBERS = 100
"""So many failed submissions of one piece of work end the search for the next free number."""
LOOKS_AFTER_UNKNOWN = 3
"""How often the vendor is asked for a task whose creation broke off: it may show up a little late."""
PAUSE_SECONDS = 2.0
"""Between those looks."""


class Memory(Protocol):
    """A small store that outlives a try. `recall` of what was never remembered gives an empty dict."""

    def recall(self) -> dict[str, Any]:
        """Return what was remembered last."""
        ...

    def remember(self, record: dict[str, Any]) -> None:
        """Store a small JSON object, replacing the last one, before returning."""
        ...


@dataclass(frozen=True, slots=True)
class Submission:
    """
    The task that stands for a piece of work.

    :param task: as the vendor described it just now.
    :param external_task_id: our name for it, ``None`` where the API keeps none.
    :param is_new: True if this try paid for it; False if an earlier one had.
    """

    task: VideoTask
    external_task_id: str | None
    is_new: bool


def submit_once(client: KlingClient, prepared: Prepared) -> VideoTask:
    """
    Submit a prepared request without any memory of earlier tries: what a person's script wants.

    :raises KlingError: ``error.accepted`` tells whether the vendor may have taken it.
    """
    body = dict(prepared.body)
    if prepared.speech:
        dialect = client.config.dialect
        spoken = client.synthesize(speech_body(prepared.speech, dialect))
        body[dialect.endpoint(prepared.endpoint).fields["audio_id"].name] = spoken.audio_id
    return client.submit(prepared.endpoint, body)


class Submitter:
    """
    Brings one prepared request to the vendor exactly once.

    :param client: the worker's client.
    :param prepared: what is to be paid for.
    :param work: what it is part of; names it.
    :param memory: outlives the try, where Airflow has such a store.
    :param first_try: True only if no earlier try can have sent anything.
    :param asked_anew: True if a schedule or a person asked for this try (a first run, a clear), and not a mere
        retry: only then is a clip paid for again that the vendor has rejected.
    :param on_unknown_submission: where neither memory nor the vendor can tell: fail, or risk paying twice.
    :param sleep: how to wait; replaced in tests.
    """

    def __init__(
        self,
        client: KlingClient,
        prepared: Prepared,
        work: Work,
        *,
        memory: Memory | None,
        first_try: bool,
        asked_anew: bool = False,
        on_unknown_submission: OnUnknownSubmission = "fail",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.client = client
        self.prepared = prepared
        self.work = work
        self.memory = memory
        self.first_try = first_try
        self.asked_anew = asked_anew
        self.on_unknown_submission = on_unknown_submission
        self.sleep = sleep
        self._named = client.config.dialect.takes(prepared.endpoint, "external_task_id")

    def run(self) -> Submission:
        """
        Return the task of this work: an earlier one if there is one, else a new one.

        :raises UnknownSubmissionError: it cannot be found out whether an earlier call was taken; nothing was paid.
        :raises KlingError: what the vendor or the way to it said.
        """
        found, number = self._find()
        return found or self._submit(number)

    # ------------------------------------------------------------- looking

    def _find(self) -> tuple[Submission | None, int]:
        """Look for an earlier task of this work; return it, or the number of the submission to make."""
        record = self._recall()
        number = int(record.get("number", 0))
        failed: VideoTask | None = None
        if record.get("task_id"):
            failed = self._remembered(record["task_id"])
            if failed and failed.state is not TaskState.FAILED:
                return self._attach(failed, record.get("name")), 0
            number = number + 1 if failed else 0
        if self.first_try and not record:
            return None, number
        # Its task failed, the vendor refused it, or nothing was ever sent: so nobody needs to be asked.
        nothing_open = bool(failed or record.get("refused") or (self.memory and not record))
        if self._named:
            return self._find_by_name(number, failed, nothing_open=nothing_open)
        if not nothing_open:
            self._refuse_unless_allowed()
        self._check_failure(failed)
        return None, number

    def _find_by_name(
        self, number: int, failed: VideoTask | None, *, nothing_open: bool
    ) -> tuple[Submission | None, int]:
        """Walk the numbers of this work until one is not there; ``failed`` is the task of the one before."""
        while number < MAX_NUMBERS:
            name = self._name(number)
            try:
                found = self.client.find_task(name, self.prepared.endpoint)
            except CANNOT_BE_ASKED as error:
                if not nothing_open:
                    self._refuse_unless_allowed(error)
                found = None
            if found is None:
                self._check_failure(failed)
                return None, number
            if found.state is not TaskState.FAILED:
                return self._attach(found, name), number
            log.info("submission %d (%s) failed at the vendor: %s", number, name, found.reason)
            failed = found
            number += 1
        raise ConfigurationError(f"{MAX_NUMBERS} submissions of this work have failed: giving up")

    def _check_failure(self, failed: VideoTask | None) -> None:
        """
        Refuse to pay again by itself for what the vendor has rejected.

        :raises TaskRejectedError: the last submission was rejected for its content or input.
        """
        if failed is None or self.asked_anew:
            return
        error = error_of(failed.task_id, Finished(Verdict.FAILED, failed.reason, failed.reason_code))
        if error.permanent:
            raise error

    def _remembered(self, task_id: str) -> VideoTask | None:
        try:
            return self.client.get_task(task_id, self.prepared.endpoint)
        except NotFoundError:
            log.warning("the vendor no longer has task %s that an earlier try created", task_id)
            if not self._named:
                self._refuse_unless_allowed()
            return None

    def _refuse_unless_allowed(self, cause: KlingError | None = None) -> None:
        if self.on_unknown_submission == "resubmit":
            log.warning(
                "an earlier try may have paid already; submitting again, as on_unknown_submission says"
            )
            return
        raise UnaskableSubmissionError(
            f"an earlier try may have created and paid for this clip, and the api {self.client.config.dialect.name!r} "
            f"cannot be asked for it{f' ({cause})' if cause else ''}. "
            "Look into the vendor's console; if there is no such task, run this task again "
            "with on_unknown_submission='resubmit'"
        ) from cause

    def _attach(self, task: VideoTask, name: str | None) -> Submission:
        log.info(
            "an earlier try created this clip already: task %s (%s), %s; nothing is paid again",
            task.task_id,
            name or "unnamed",
            task.status or task.state.value,
        )
        return Submission(task, name, is_new=False)

    # ------------------------------------------------------------- sending

    def _submit(self, number: int) -> Submission:
        name = self._name(number) if self._named else None
        body = dict(self.prepared.body)
        if name:
            fields = self.client.config.dialect.endpoint(self.prepared.endpoint).fields
            body[fields["external_task_id"].name] = name
        record: dict[str, Any] = {"fingerprint": self.prepared.fingerprint, "number": number, "name": name}
        body.update(self._speak(record))
        self._remember(record)
        is_new = True
        try:
            task = self.client.submit(self.prepared.endpoint, body)
        except KlingError as error:
            found = self._after_failure(error, name)
            if found is None:
                self._remember({**record, "refused": True})
                raise
            task = found
            is_new = error.accepted is Accepted.MAYBE  # a name that was refused as taken is an earlier try's
        self._remember({**record, "task_id": task.task_id})
        return Submission(task, name or task.external_task_id, is_new=is_new)

    def _speak(self, record: dict[str, Any]) -> dict[str, str]:
        """Turn text into an audio id, unless an earlier try has one."""
        speech = self.prepared.speech
        if speech is None:
            return {}
        dialect = self.client.config.dialect
        earlier = self._recall()
        if earlier.get("audio_id") and earlier.get("fingerprint") == self.prepared.fingerprint:
            audio_id = str(earlier["audio_id"])
            log.info("an earlier try had this text spoken already: audio %s", audio_id)
        else:
            spoken = self.client.synthesize(speech_body(speech, dialect))
            audio_id = spoken.audio_id
            log.info("text spoken: audio %s, %s s", audio_id, spoken.duration)
            self._check_length(spoken.duration)
        record["audio_id"] = audio_id
        return {dialect.endpoint(self.prepared.endpoint).fields["audio_id"].name: audio_id}

    def _check_length(self, seconds: float | None) -> None:
        rules = self.client.config.dialect.media_annotation(self.prepared.endpoint, "audio")
        shortest, longest = rules.get("min_seconds"), rules.get("max_seconds")
        if seconds is None:
            return
        if (shortest and seconds < shortest) or (longest and seconds > longest):
            raise InvalidRequestError(
                f"text gives {seconds:g} s of speech, but a clip takes {shortest} to {longest} s: "
                f"{'lengthen the text or lower voice_speed' if seconds < (shortest or 0) else 'shorten the text'}",
                field="text",
                source=rules.get("source", ""),
            )

    def _after_failure(self, error: KlingError, name: str | None) -> VideoTask | None:
        """
        Ask for the task after a submission that ended in an error; ``None`` if the error stands as it is.

        :raises UnknownSubmissionError: the vendor may have taken it, and cannot or did not tell.
        """
        if error.accepted is Accepted.NO:
            # A refusal may also be the vendor's way of saying that it has a task of this name already.
            return self._namesake(error, name) if name else None
        log.warning("the submission broke off (%s): asking the vendor whether it has the task", error)
        looks = LOOKS_AFTER_UNKNOWN if name else 0
        problem: KlingError = error
        for look in range(looks):
            if look:
                self.sleep(PAUSE_SECONDS)
            try:
                found = self.client.find_task(name or "", self.prepared.endpoint)
            except KlingError as not_told:
                problem = not_told
                continue
            if found is not None:
                log.info("the vendor has it: task %s", found.task_id)
                return found
        next_step = (
            f"the next try asks for {name!r} before it sends anything"
            if name
            else "look into the vendor's console before you run this task again"
        )
        kind = UnknownSubmissionError if name else UnaskableSubmissionError
        raise kind(
            f"it is not known whether the vendor took the clip ({problem}); nothing is sent again blindly: {next_step}",
            code=error.code,
            http_status=error.http_status,
            request_id=error.request_id,
        ) from error

    def _namesake(self, error: KlingError, name: str) -> VideoTask | None:
        """
        Return the task because of which the vendor refused the name; ``None`` if it refused something else.

        :raises UnknownSubmissionError: the vendor has such a task but cannot be asked for it.
        """
        if not isinstance(error, InvalidRequestError | RefusedError):
            return None
        try:
            found = self.client.find_task(name, self.prepared.endpoint)
        except KlingError:
            found = None
        if found is None and (name in str(error) or "external_task_id" in str(error).lower()):
            raise UnaskableSubmissionError(
                f"the vendor has a task named {name!r} already, but cannot be asked for it by that name: "
                "look for it in the vendor's console and wait for it with KlingAvatarSensor; "
                f"nothing was paid again ({error})",
                code=error.code,
                http_status=error.http_status,
                request_id=error.request_id,
            ) from error
        return found

    # -------------------------------------------------------------- naming

    def _name(self, number: int) -> str:
        fields = self.client.config.dialect.endpoint(self.prepared.endpoint).fields
        own = self.prepared.body.get(fields["external_task_id"].name)
        if own:
            return own if number == 0 else f"{own}-{number}"
        return self.work.name(self.prepared.fingerprint, number)

    def _recall(self) -> dict[str, Any]:
        record = self.memory.recall() if self.memory else {}
        return record if record.get("fingerprint") == self.prepared.fingerprint else {}

    def _remember(self, record: dict[str, Any]) -> None:
        if self.memory:
            self.memory.remember(record)
