"""
Decides what a try has to do about a clip that an earlier try may have bought: reuse it, submit, or stop with an error.

Only asks, never pays, and writes nothing. What is known comes, in this order, from a record that outlives the try, from
the vendor asked by our name for the clip, and from the vendor's list. A source that cannot be read is an error, never
"nothing there".
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from msgspec.structs import replace

from airflow_provider_kling_avatar.kling.calls import MAX_PAGE_SIZE
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
from airflow_provider_kling_avatar.kling.models import TaskState, VideoTask
from airflow_provider_kling_avatar.kling.polling.decide import Finished, Verdict, error_for
from airflow_provider_kling_avatar.kling.responses.errors import route_is_right
from airflow_provider_kling_avatar.kling.submission.state import PayingAccount, Record, load

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.kling.client import KlingClient
    from airflow_provider_kling_avatar.kling.submission.request import Prepared
    from airflow_provider_kling_avatar.kling.submission.state import Try

log = logging.getLogger(__name__)

CANNOT_BE_ASKED = (InvalidRequestError, NotFoundError, RefusedError, WrongRouteError)
"""What a gateway answers that does not know tasks by our name: no trouble that passes."""
MAX_NUMBERS = 100
"""So many submissions of one piece of work end the search for the next free number."""
MAX_BEFORE = 20
"""So many earlier inputs of a task are noted."""
NAMESAKE = (
    "the vendor has a task named %r already: going on with it, %s. If it is not this clip, choose another "
    "external_task_id"
)
"""Logged with name and id."""


UNKNOWN = {"mode": None}
"""What is known of how a clip was ordered that is found by the vendor's list alone, made from other inputs."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """
    An earlier try's clip is there, being made or ready: go on with it.

    :param task: as the vendor describes it.
    :param record: what a later try has to know of it.
    :param is_noted: the store has this very record already.
    """

    task: VideoTask
    record: Record
    is_noted: bool


@dataclass(frozen=True, slots=True)
class Submit:
    """
    Nothing is there to go on with: pay.

    :param record: of the submission to be made, with its number and its name; and with the voice that an earlier try
        had the same text spoken by.
    :param known: what the store had when this was decided.
    """

    record: Record
    known: Record


class Change(Enum):
    """In what the inputs, or who pays for them, differ from those of the noted submission."""

    WORDS = "the inputs"
    """Prompt, text, settings, the query of a link."""
    MEDIA = "the image, the audio or what is made of them"
    ACCOUNT = "the connection, its API or its host"


class Recovery:
    """
    Finds out what became of earlier submissions of one piece of work.

    :param client: the worker's client.
    :param prepared: what is to be paid for.
    :param this_try: of which work, with which store and policies.
    """

    def __init__(self, client: KlingClient, prepared: Prepared, this_try: Try) -> None:
        dialect = client.config.dialect
        self.client = client
        self.endpoint = prepared.endpoint
        self.this_try = this_try
        self.policies = this_try.policies
        self.account = PayingAccount.of(client.config, this_try.work)
        self.fingerprint = prepared.fingerprint
        self.input_fingerprint = str(prepared.fingerprint)
        self.is_named = dialect.takes(prepared.endpoint, "external_task_id")
        self.own_name = prepared.own_name(dialect)
        self.takes_a_name_once = self.is_named and dialect.unique_external_id
        self.record = Record()
        """Of the submission to go on with: of these inputs, or of others that this try keeps to."""
        self.before: dict[str, int] = {}
        """Other inputs that were submitted -> the number of their last submission."""
        self._stored = Record()
        self._change: Change | None = None
        """In what the submission to go on with differs from what this try would submit."""
        self._is_known = False  # an earlier try has left at least its mark

    def next_step(self) -> Reuse | Submit:
        """
        Return what this try has to do.

        :raises KlingError: it cannot be known, or must not be paid again: the try has to stop.
        """
        self._load()
        noted = self.record
        if not noted.input_fingerprint:
            is_first = self.this_try.first and not self.before
            return self._first_step() if is_first else self._search(self._first_number())
        clip = self._noted_clip()
        if clip and clip.state is not TaskState.FAILED:
            return self._go_on_with(clip, noted.external_task_id, noted.number)
        if self._change:
            if not clip:
                return self._send_in_its_place()
            self._turn_from(noted, "that one failed")
        elif clip:
            return self._search(self._number_after(noted.number), failed=clip)
        elif not noted.task_id:
            return self._search(noted.number)
        return self._search(self._first_number())

    def name(self, number: int) -> str | None:
        """Return the name under which the vendor knows a submission; ``None`` where the API keeps none."""
        if not self.is_named:
            return None
        if self.own_name:
            # Not merely "-1": the user's own name for something else may well be that.
            return self.own_name if number == 0 else f"{self.own_name}-again-{number}"
        noted = self.record
        if (
            noted.external_task_id
            and not noted.task_id
            and (noted.input_fingerprint, noted.number) == (self.input_fingerprint, number)
        ):
            return noted.external_task_id  # sent in the place of other inputs, see `_send_in_its_place`
        return self.this_try.work.name(self.fingerprint, number)

    def _submit(self, number: int, name: str | None = None) -> Submit:
        """Return that this number is to be paid for, under its own name unless told another one."""
        return Submit(self._new_record(number, name or self.name(number)), self._stored)

    def _new_record(self, number: int, name: str | None) -> Record:
        return Record(
            round=self.this_try.round,
            input_fingerprint=self.input_fingerprint,
            number=number,
            external_task_id=name,
            before=self.before,
            account=self.account,
            **self.record.voice(self.input_fingerprint, self.account),
        )

    # ------------------------------------------------------------- the record

    def _load(self) -> None:
        """
        Read the record, and decide whether it is of the submission to go on with.

        :raises ChangedInputError: it is of other inputs, and the user wants to know.
        """
        if self.this_try.store is None:
            if self.policies.on_changed_input == "fail":
                raise ConfigurationError(
                    "on_changed_input='fail' needs a state store that keeps the inputs: "
                    "Airflow 3.3 or newer, or a state_path"
                )
            return
        self._stored = record = load(self.this_try.store)
        self._is_known = record.version > 0
        self.before = dict(record.before)
        if record.is_mark or not self._is_known:
            return
        self._change = self._change_since(record)
        if self._change is None:
            self.record = record
        elif record.refused and not record.number:  # of those inputs nothing was ever taken
            self._change = None
        elif self.policies.on_changed_input == "fail":
            raise self._changed(record, "on_changed_input says to stop")
        elif self._keeps_to(record):
            self.record = record
        else:
            self._turn_from(
                record, "on_changed_input says so" if self._is_same_round(record) else "it was cleared"
            )

    def _change_since(self, record: Record) -> Change | None:
        if record.account and record.account.is_elsewhere(self.account):
            return Change.ACCOUNT
        if record.input_fingerprint == self.input_fingerprint:
            return None
        same_media = record.fingerprint.media == self.fingerprint.media
        return Change.WORDS if same_media else Change.MEDIA

    def _is_same_round(self, record: Record) -> bool:
        """Tell whether this is a try of the round that wrote a record."""
        # A first try after a delivery is one of a run that was deleted and made again under its id.
        is_made_again = self.this_try.first and record.delivered_in is not None
        return record.round == self.this_try.round and not is_made_again

    def _keeps_to(self, record: Record) -> bool:
        """Tell whether this try goes on with a submission of other inputs; it may have been refused since."""
        return self.policies.on_changed_input == "keep" and self._is_same_round(record) and not record.refused

    def _changed(self, record: Record, why: str) -> ChangedInputError:
        what = (self._change or Change.WORDS).value
        ways = "clear the task, or set" if self.policies.on_changed_input == "keep" else "set"
        return ChangedInputError(
            f"{what} changed since an earlier submission of this run ({record.in_words}), and {why}; this try sends "
            f"nothing. Restore what changed; or {ways} on_changed_input='submit_new', to pay for another clip"
        )

    def _turn_from(self, record: Record, why: str) -> None:
        """Leave a submission of other inputs behind, for a new one."""
        log.warning(
            "%s changed since an earlier submission of this run (%s): submitting a new clip, since %s",
            (self._change or Change.WORDS).value,
            record.in_words,
            why,
        )
        if self._change is not Change.ACCOUNT:
            self.before[record.input_fingerprint] = record.number
            self.before = dict(list(self.before.items())[-MAX_BEFORE:])
        self.record, self._change = Record(), None

    # ------------------------------------------------------------- the decision

    def _first_step(self) -> Reuse | Submit:
        """
        Return what a first try has to do: submit.

        A run that was deleted and made again under its id has the same names. Where a name is taken once, the vendor
        refuses it and the old clip is found; elsewhere it is asked for, once, and only a clear answer counts.
        """
        begin = number = self._first_number()
        if self.is_named and not self.takes_a_name_once:
            while found := self._look_up(self.name(number) or ""):
                if found.state is not TaskState.FAILED:
                    log.warning(NAMESAKE, self.name(number), found.task_id)
                    return self._go_on_with(found, self.name(number), number)
                number = self._number_after(number)
                if number >= MAX_NUMBERS:  # it says so of any name
                    return self._submit(begin)
        return self._submit(number)

    def _look_up(self, name: str) -> VideoTask | None:
        """Ask once for a name, and for one page of the list; trouble is no answer."""
        if self.client.may_ask_by_name(name):
            with suppress(KlingError):
                return self.client.get_task(name, self.endpoint, attempts=1)
        with suppress(KlingError):
            page = self.client.list_tasks(self.endpoint, page_size=MAX_PAGE_SIZE, attempts=1)
            return next((task for task in page if task.external_task_id == name), None)
        return None

    def _first_number(self) -> int:
        """
        Return the number at which the submissions of these inputs begin.

        Our own names differ with the inputs. A user's name does not, so that other inputs need another number.
        """
        known = self.before.get(self.input_fingerprint)
        if known is not None or not self.own_name:
            return known or 0
        return max(self.before.values(), default=-1) + 1

    def _number_after(self, number: int) -> int:
        """Return the next number, past those that the same name has for other inputs."""
        others = {last for inputs, last in self.before.items() if inputs != self.input_fingerprint}
        number += 1
        while self.own_name and number in others:
            number += 1
        return number

    def _nothing_open(self, failed: VideoTask | None) -> bool:
        """Tell whether it is certain, without asking, that no clip of this work is alive."""
        if failed or self.record.refused:
            return True
        if self.record.input_fingerprint:
            return False
        if self.this_try.refused or self.this_try.first:
            return self.input_fingerprint not in self.before
        return self._is_known and self.input_fingerprint not in self.before

    # ------------------------------------------------------------- the noted clip

    def _noted_clip(self) -> VideoTask | None:
        """
        Return the clip of the noted submission as the vendor has it now; ``None`` if there is certainly none.

        :raises KlingError: it cannot be known, or must not be made anew.
        """
        record = self.record
        if self._change is Change.ACCOUNT:
            raise self._changed(record, "only that account can tell what became of it")
        if record.task_id:
            noted = self._clip_of(record.task_id)
        elif (
            record.external_task_id
            and not record.refused
            and (self._change or record.external_task_id != self.name(record.number))
        ):
            noted = self._find(record.external_task_id, nothing_open=False)
        elif self._change:
            self._refuse_unless_allowed()
            noted = None
        else:
            return None  # asked for by name, like all of these inputs
        if noted and self._change is Change.MEDIA and noted.state is not TaskState.FAILED:
            raise self._changed(record, "that clip is paid for")
        return noted

    def _clip_of(self, task_id: str) -> VideoTask | None:
        try:
            noted = self.client.find_task_by_id(task_id, self.endpoint)
        except CANNOT_BE_ASKED as error:
            if isinstance(error, NotFoundError) and route_is_right(error):  # a gateway speaks of its own ids
                noted = None
            else:
                self._refuse_unless_allowed(error)
                return None
        if noted is None:
            self._mind_the_gone(task_id)
        return noted

    def _mind_the_gone(self, task_id: str) -> None:
        """Stop where a clip was there and the vendor has it no longer, unless it is clear what is wanted then."""
        if self.record.delivered_in is not None and self.policies.on_rerun == "reuse":
            raise NotFoundError(
                f"task {task_id} was delivered and the vendor no longer has it; nothing is paid again unasked: "
                "clear with on_rerun='regenerate' for a new clip"
            )
        hint = (
            "; the key has changed since, perhaps to that of another account" if self._is_other_key() else ""
        )
        if self._is_other_key() and self.policies.on_changed_input == "fail":
            self._change = Change.ACCOUNT
            raise self._changed(self.record, f"this account does not know it{hint}")
        if self._is_same_round(self.record) and self.policies.on_unknown_submission == "fail":
            raise UnknownSubmissionError(
                f"an earlier try created task {task_id}, and the account of this connection does not know it{hint}. "
                "It may live on elsewhere, so this try sends nothing: check the connection. If the clip is certainly "
                "gone, clear the task, or run it with on_unknown_submission='resubmit'"
            )
        log.warning("the vendor no longer has task %s that an earlier try created%s", task_id, hint)
        if not self.is_named:
            self._refuse_unless_allowed()

    def _send_in_its_place(self) -> Submit:
        """Return how to send the new inputs in the place of noted ones that certainly led to nothing."""
        is_safe = self.record.external_task_id and self.takes_a_name_once and not self._is_other_key()
        if not is_safe:
            self._refuse_unless_allowed(
                doubt="shows none to this key, but one that is still on its way, or on another account, would be paid "
                "beside the new one"
            )
        log.info(
            "the noted submission (%s) led to nothing: sending the new inputs in its place",
            self.record.in_words,
        )
        if self.record.external_task_id:  # what it finds from now on was not made from the old inputs
            self.before[self.record.input_fingerprint] = self.record.number + 1
        return self._submit(self.record.number, self.record.external_task_id)

    def _is_other_key(self) -> bool:
        return bool(self.record.account and self.record.account.key != self.account.key)

    def _may_live_elsewhere(self) -> bool:
        """Tell whether a submission of unknown end was sent with another key: this account cannot tell of that one."""
        is_open = self.record.input_fingerprint and not self.record.task_id and not self.record.refused
        return bool(is_open) and self._is_other_key()

    # ------------------------------------------------------------- the vendor's word

    def _search(self, number: int, *, failed: VideoTask | None = None) -> Reuse | Submit:
        """
        Ask the vendor for a submission of this number and for later ones.

        :param failed: the clip of the number before, if that failed.
        """
        if self.is_named:
            return self._ask_by_name(number, failed)
        if not self._nothing_open(failed):
            self._refuse_unless_allowed()
        self._check_failure(failed)
        return self._submit(number)

    def _ask_by_name(self, number: int, failed: VideoTask | None) -> Reuse | Submit:
        """Walk the numbers of this work until one is not there; ``failed`` is the task of the one before."""
        alive: tuple[VideoTask, int] | None = None
        first = number
        while number < MAX_NUMBERS:
            name = self.name(number) or ""
            found = self._find(name, nothing_open=bool(alive) or self._nothing_open(failed))
            if found is None:
                if alive:
                    return self._go_on_with(alive[0], self.name(alive[1]), alive[1])
                self._check_failure(failed)
                if number == first and not failed:
                    if kept := self._made_from_other_inputs():
                        return self._go_on_with(kept, kept.external_task_id, number)
                    if self._may_live_elsewhere():
                        self._refuse_unless_allowed()
                return self._submit(number)
            if found.state is TaskState.FAILED:
                log.info("submission %d (%s) failed at the vendor: %s", number, name, found.reason)
                failed, alive = found, None
            elif self.policies.on_rerun == "reuse":
                return self._go_on_with(found, name, number)
            else:
                alive = found, number  # a later one may have been made since, after a clear
            number = self._number_after(number)
        raise ConfigurationError(f"{MAX_NUMBERS} submissions of this work have failed: giving up")

    def _find(self, name: str, *, nothing_open: bool) -> VideoTask | None:
        try:
            return self.client.find_task(name, self.endpoint)
        except CANNOT_BE_ASKED as error:
            if not nothing_open:
                self._refuse_unless_allowed(error)
            return None

    def _made_from_other_inputs(self) -> VideoTask | None:
        """
        Return a clip that an earlier try of this round made from other inputs, where only the vendor's list knows it.

        :raises ChangedInputError: it was made from other media.
        """
        nothing_noted = not self._is_known and not self.own_name
        is_retry_of_first_round = not self.this_try.asked_anew and self.this_try.round == 0
        if not (nothing_noted and is_retry_of_first_round and self.policies.on_changed_input == "keep"):
            return None
        try:
            page = self.client.list_tasks(self.endpoint, page_size=MAX_PAGE_SIZE)
        except CANNOT_BE_ASKED:
            return None
        for task in page:
            name = task.external_task_id or ""
            if task.state is TaskState.FAILED or not name.startswith(self.this_try.work.name_prefix):
                continue
            if not self.this_try.work.has_media_of(name, self.fingerprint):
                self._change = Change.MEDIA
                raise self._changed(Record(task_id=task.task_id), "that clip is paid for")
            self._change = Change.WORDS
            return task
        return None

    # ------------------------------------------------------------- what follows

    def _go_on_with(self, task: VideoTask, name: str | None, number: int) -> Reuse | Submit:
        """Return how to go on with a clip that did not fail."""
        if self._is_wanted_anew(task):
            log.info(
                "the clip was delivered (task %s, %s); making a new one, as on_rerun says",
                task.task_id,
                name or "unnamed",
            )
            return self._submit(self._number_after(number))
        log.info(
            "an earlier try created this clip already: task %s (%s), %s; nothing is paid again%s",
            task.task_id,
            name or "unnamed",
            task.status or task.state.value,
            f", although {self._change.value} changed since (on_changed_input)" if self._change else "",
        )
        noted = self.record
        if noted.input_fingerprint and (noted.external_task_id, noted.number) == (name, number):
            record = replace(noted, task_id=task.task_id, round=self.this_try.round, refused=False)
        else:
            record = replace(self._new_record(number, name), task_id=task.task_id)
            if self._change:
                record = replace(record, paid_for=UNKNOWN)
        return Reuse(task, record, is_noted=record == noted)

    def _is_wanted_anew(self, task: VideoTask) -> bool:
        """
        Tell whether a task that has done its work was cleared for a new clip.

        With a record that is certain: the clip was delivered in an earlier round. Without one a clip counts as
        delivered once it is ready, in the first try after a clear.
        """
        if self.policies.on_rerun == "reuse":
            return False
        if self.record.input_fingerprint:
            return self.record.delivered_in not in (None, self.this_try.round)
        return task.state is TaskState.SUCCEEDED and self.this_try.asked_anew and not self.this_try.first

    def _check_failure(self, failed: VideoTask | None) -> None:
        """
        Refuse to pay again by itself for what the vendor has rejected.

        :raises TaskRejectedError: the last submission was rejected for its content or input.
        """
        if failed is None or self.this_try.asked_anew:
            return
        error = error_for(failed.task_id, Finished(Verdict.FAILED, failed.reason, failed.reason_code))
        if error.permanent:
            raise error

    def _refuse_unless_allowed(
        self, cause: KlingError | None = None, *, doubt: str = "cannot be asked for it"
    ) -> None:
        if self.policies.on_unknown_submission == "resubmit":
            log.warning(
                "an earlier try may have paid already; submitting again, as on_unknown_submission says"
            )
            return
        dialect = self.client.config.dialect
        if isinstance(cause, NotFoundError) and not route_is_right(cause):
            known_route = dialect.unique_external_id or self.record.task_id
            if known_route:  # it has answered there, or its page says that it does: this may pass
                raise UnknownSubmissionError(
                    "an earlier try may have created and paid for this clip, and its address says only 'not found' "
                    f"({cause}); this try sends nothing, the next one asks again",
                    code=cause.code,
                    http_status=cause.http_status,
                ) from cause
        no_mark = self.this_try.store is not None and not self._is_known
        # Whoever was asked and gave an odd answer may give a better one to the next try.
        kind = UnknownSubmissionError if cause is not None and no_mark else UnaskableSubmissionError
        raise kind(
            f"an earlier try may have created and paid for this clip, and the api {dialect.name!r} "
            f"{doubt}{f' ({cause})' if cause else ''}. "
            + (
                "The first try left no mark: its store was another one, or it died before it began. "
                if no_mark
                else ""
            )
            + "Look into the vendor's console; if there is no such task, run this task again "
            "with on_unknown_submission='resubmit'"
        ) from cause
