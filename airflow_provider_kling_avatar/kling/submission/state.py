"""
What a try is told: of itself, of what the user wants, and of the tries before it, as one typed, versioned record.

Knows the record and how it is written; stores that keep it know nothing of what is in it. What follows from it is
decided in `recovery`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, get_args, overload

import msgspec

from airflow_provider_kling_avatar.kling.errors import (
    InvalidRequestError,
    StateUnavailableError,
    UnknownSubmissionError,
)
from airflow_provider_kling_avatar.kling.submission.identity import Fingerprint

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.kling.config import KlingConfig
    from airflow_provider_kling_avatar.kling.submission.identity import TaskIdentity

log = logging.getLogger(__name__)

VERSION = 1
"""Of the record's shape."""

OnUnknownSubmission = Literal["fail", "resubmit"]
OnChangedInput = Literal["keep", "submit_new", "fail"]
OnRerun = Literal["reuse", "regenerate"]

CHOICES = {
    "on_unknown_submission": get_args(OnUnknownSubmission),
    "on_changed_input": get_args(OnChangedInput),
    "on_rerun": get_args(OnRerun),
}
"""The words each policy may have, the default first."""


@dataclass(frozen=True, slots=True)
class Policies:
    """
    What the user wants where there is a choice.

    :param on_unknown_submission: neither record nor vendor can tell whether an earlier try paid: ``fail``, or
        ``resubmit`` and risk paying twice.
    :param on_changed_input: the inputs differ from those of the clip that was submitted: with ``keep`` a retry goes on
        with that clip, unless it was made from other media or on another account, and a clear makes another one;
        ``submit_new`` pays for another clip at once; ``fail`` stops.
    :param on_rerun: the task has succeeded and is run again: ``reuse`` its clip, or ``regenerate`` a new one.
    """

    on_unknown_submission: OnUnknownSubmission = "fail"
    on_changed_input: OnChangedInput = "keep"
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


class StateStore(Protocol):
    """
    A small store that outlives a try. `load` gives an empty dict where nothing was saved.

    Both raise `StateUnavailableError` if the store cannot be reached.
    """

    def load(self) -> dict[str, Any]:
        """Return what was saved last."""
        ...

    def save(self, record: dict[str, Any]) -> None:
        """Store a small JSON object, replacing the last one, before returning."""
        ...


@dataclass(frozen=True, slots=True)
class Try:
    """
    The try that is running: of which work, what its user wants, and what Airflow says of it.

    :param work: what the try is of; names its submissions.
    :param store: outlives the try, where there is such a store.
    :param policies: what the user wants where there is a choice.
    :param first: no earlier try can have sent anything.
    :param asked_anew: a schedule or a person asked for it (a first run, a clear); it is no mere retry: only then is a
        clip paid for again that the vendor has rejected.
    :param round: the same for a try and its retries, another one after each clear.
    :param refused: the vendor has just refused this work for want of a slot, so nothing of it is open.
    """

    work: TaskIdentity
    store: StateStore | None = None
    policies: Policies = Policies()
    first: bool = False
    asked_anew: bool = False
    round: int = 0
    refused: bool = False


class PayingAccount(msgspec.Struct, frozen=True):
    """
    The account that pays, as a record has it.

    :param conn_id: Airflow's id of the connection.
    :param api: name of the dialect.
    :param address: scheme, host, port and prefix of the API.
    :param key: a short hash of the key, of use only to the work it was made for, see `TaskIdentity.key_hash`.
    """

    conn_id: str
    api: str
    address: str
    key: str

    @classmethod
    def of(cls, config: KlingConfig, work: TaskIdentity) -> PayingAccount:
        """Return the account that a work is paid from now."""
        address = config.base_url + config.dialect.prefix
        return cls(work.conn_id, config.dialect.name, address, work.key_hash(config.credentials.secrets()))

    def is_elsewhere(self, other: PayingAccount) -> bool:
        """Tell whether another account is meant, and not merely another key of perhaps the same one."""
        return (self.conn_id, self.api, self.address) != (other.conn_id, other.api, other.address)


class Versioned(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """
    What a later try has to know, as a store keeps it: entries are only ever added, with a default.

    :param version: of its shape; 0 where nothing is known.
    """

    version: int = 0


R = TypeVar("R", bound=Versioned)


class Record(Versioned, frozen=True, omit_defaults=True, kw_only=True):
    """
    What is known of the submissions of one piece of work.

    Without `input_fingerprint` it is the mark of a first try: it began.

    :param round: the round of tries that wrote it; see `Try`.
    :param input_fingerprint: of the last submission, as `Fingerprint` writes itself.
    :param number: of the last submission.
    :param external_task_id: the name that the vendor knows it by, where the API keeps one.
    :param task_id: the vendor's; not there while nobody knows whether the submission was taken.
    :param refused: the vendor has certainly refused it.
    :param before: other inputs that were submitted -> the number of their last submission.
    :param account: that it was paid from.
    :param paid_for: what manifest, lineage and costs have to tell of it: see `operators.base`.
    :param delivered_in: the round in which the clip was delivered.
    :param audio_id: of its text, where that was spoken apart.
    :param spoken_at: Unix seconds.
    :param duration: seconds of the speech.
    """

    round: int = 0
    input_fingerprint: str = ""
    number: int = 0
    external_task_id: str | None = None
    task_id: str | None = None
    refused: bool = False
    before: dict[str, int] = {}
    account: PayingAccount | None = None
    paid_for: dict[str, Any] = {}
    delivered_in: int | None = None
    audio_id: str | None = None
    spoken_at: float | None = None
    duration: float | None = None

    @property
    def is_mark(self) -> bool:
        """Whether a first try began and has submitted nothing."""
        return self.version > 0 and not self.input_fingerprint

    @property
    def fingerprint(self) -> Fingerprint:
        """What was submitted."""
        return Fingerprint.from_text(self.input_fingerprint)

    @property
    def in_words(self) -> str:
        """The submission, for a message."""
        if self.task_id:
            return f"task {self.task_id}"
        name = self.external_task_id
        return f"a task without a known id, {f'named {name}' if name else 'and without a name'}"

    def voice(self, inputs: str, account: PayingAccount) -> dict[str, Any]:
        """Return the entries of the speech in it, if it is of these inputs and this account, which alone has it."""
        if (self.input_fingerprint, self.account) != (inputs, account):
            return {}
        return {"audio_id": self.audio_id, "spoken_at": self.spoken_at, "duration": self.duration}


@overload
def load(store: StateStore | None) -> Record: ...


@overload
def load(store: StateStore | None, kind: type[R]) -> R: ...


def load(store: StateStore | None, kind: type[Any] = Record) -> Any:
    """
    Return what is known; an empty record, with version 0, if nothing is.

    :param kind: of record: of submissions, unless told another one, which has a version too.
    :raises StateUnavailableError: the store cannot be read, or what is there is no record of this package.
    """
    written = store.load() if store else {}
    if not written:
        return kind()
    # Before the rest of it is read, whose shape is not known here if it is newer.
    if isinstance(version := written.get("version"), int) and version > VERSION:
        raise StateUnavailableError(
            f"what earlier tries noted is of version {version}, this package knows {VERSION}: a newer one has written "
            "it. This try sends nothing; go on with the newer package"
        )
    try:
        record = msgspec.convert(written, kind)
        if record.version <= 0:
            raise msgspec.ValidationError("it has no version")  # noqa: TRY301
    except msgspec.ValidationError as error:
        raise StateUnavailableError(
            f"what earlier tries noted is no record of this package ({error}): this try sends nothing. Look into the "
            "vendor's console; if there is no such task, delete the record and run this task again with "
            "on_unknown_submission='resubmit'"
        ) from None
    return record


def save(store: StateStore | None, record: Versioned) -> None:
    """
    Write a record down before returning.

    :raises StateUnavailableError: it could not be.
    """
    if store:
        store.save(msgspec.to_builtins(msgspec.structs.replace(record, version=VERSION)))


def write_intent(store: StateStore | None, record: Record, known: Record) -> None:
    """
    Write down what is about to be paid for: a try that cannot do that pays nothing.

    :param record: of the clip.
    :param known: what was in the store when it was decided to pay.
    :raises StateUnavailableError: the store cannot be reached.
    :raises UnknownSubmissionError: another try of the same work has ordered a clip since then.
    """
    now = load(store)
    if now != known and now.input_fingerprint and not now.refused:
        raise UnknownSubmissionError(
            f"another try of this task has noted meanwhile that it orders a clip ({now.in_words}): this one was "
            "perhaps taken for dead. It orders none; the next try asks what became of the other's"
        )
    save(store, record)


def note(store: StateStore | None, record: Record, fact: str) -> None:
    """
    Write down what the vendor has said. It is paid for by then: failing for want of a note would only hide it.

    :param fact: completes "could not note down", for the log.
    """
    try:
        noted = load(store)
        # Another try, which took this one's place, may have noted it, and more.
        is_known = noted.task_id is not None and (
            (noted.task_id, noted.round) == (record.task_id, record.round)
            or (
                record.task_id is None
                and (noted.input_fingerprint, noted.number) == (record.input_fingerprint, record.number)
            )
        )
        if not is_known:
            save(store, record)
    except StateUnavailableError as error:
        log.warning("could not note down %s: %s", fact, error)


def leave_mark(this_try: Try) -> None:
    """
    Write down that a first try begins, before it does anything: a later try that finds no mark knows nothing.

    :raises StateUnavailableError: the store cannot be reached; nothing was sent.
    """
    if this_try.first and not load(this_try.store).version:
        save(this_try.store, Record(round=this_try.round))


def note_delivery(this_try: Try) -> None:
    """
    Write down that what was paid for was handed on, so that a clear after this is known as a wish for another one.

    It is there: for want of this note nothing may fail.
    """
    try:
        record = load(this_try.store)
        if record.input_fingerprint:
            save(this_try.store, msgspec.structs.replace(record, delivered_in=this_try.round))
    except StateUnavailableError as error:
        log.warning("could not note down that it was delivered: %s", error)
