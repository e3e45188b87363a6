"""
Turns text into a voice, once over all tries, and knows how long the vendor keeps it.

A speech has no name at the vendor and cannot be asked for: what is known of it is what was written down the moment
its answer came. Shared by whoever needs a voice for a clip and whoever wants the speech alone.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_kling_avatar.kling.errors import InvalidRequestError, StateUnavailableError
from airflow_provider_kling_avatar.kling.submission.identity import fingerprint
from airflow_provider_kling_avatar.kling.submission.state import Account, OnRerun, Policies

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.kling.client import KlingClient
    from airflow_provider_kling_avatar.kling.dialects import Dialect
    from airflow_provider_kling_avatar.kling.submission.identity import TaskIdentity
    from airflow_provider_kling_avatar.kling.submission.state import Record, StateStore

log = logging.getLogger(__name__)

AUDIO_ID_SECONDS = 29 * 86400.0
"""The vendor keeps a spoken text for 30 days: https://klingai.com/document-api/api/video/avatar/text-to-speech"""
ONE_TRY_SECONDS = 86400.0
"""A note without a time is from a try that is still going on."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """
    A text that was spoken.

    :param audio_id: what an avatar takes for 30 days.
    :param spoken_at: Unix seconds; ``None`` if nobody wrote it down.
    :param duration: seconds, where the vendor told it.
    :param units: what was deducted, in the vendor's units, as a decimal text.
    :param task_id: the vendor's id of the speech task.
    :param request_id: the vendor's id of the request.
    """

    audio_id: str
    spoken_at: float | None = None
    duration: float | None = None
    units: str | None = None
    task_id: str | None = None
    request_id: str | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Spoken | None:
        """Read what was written down; ``None`` if there is no speech in it."""
        if not record.get("audio_id"):
            return None
        names = cls.__slots__
        return cls(**{name: record[name] for name in names if record.get(name) is not None})

    def to_record(self) -> dict[str, Any]:
        """Return it as a small JSON object; unknown entries are left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def is_kept(self, now: float) -> bool:
        """Tell whether the vendor still has it, as far as can be known."""
        return self.spoken_at is None or now - self.spoken_at < AUDIO_ID_SECONDS


def given_speech(value: object) -> Spoken:
    """
    Read the voice as a Dag author gave it: a bare id, or the object that a speech left in XCom.

    :raises InvalidRequestError: it is neither.
    """
    if isinstance(value, str):
        return Spoken(value)
    problem = InvalidRequestError(
        "audio_id must be the id as text, or what KlingTextToSpeechOperator leaves under 'speech': "
        "an object with audio_id, spoken_at and duration",
        field="audio_id",
    )
    if not isinstance(value, Mapping) or not isinstance(value.get("audio_id"), str) or not value["audio_id"]:
        raise problem
    numbers: dict[str, float | None] = {}
    for name in ("spoken_at", "duration"):
        number = value.get(name)
        if number is not None and (
            isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number)
        ):
            raise problem
        numbers[name] = number
    return Spoken(value["audio_id"], numbers["spoken_at"], numbers["duration"])


def check_age(spoken_at: float | None, now: float | None = None) -> None:
    """
    Refuse a voice that the vendor has thrown away: the clip would be refused, or paid for in vain.

    :param spoken_at: Unix seconds; ``None``, not known, passes.
    :raises InvalidRequestError: it is too old.
    """
    age = (time.time() if now is None else now) - (spoken_at or math.inf)
    if age >= AUDIO_ID_SECONDS:
        raise InvalidRequestError(
            f"audio_id was spoken {age / 86400:.0f} days ago and the vendor keeps a speech for 30: no clip was "
            "ordered with it. Clear the task that spoke it, or give text and voice_id in place of audio_id",
            field="audio_id",
            source="https://klingai.com/document-api/api/video/avatar",
        )


def length_problem(seconds: float | None, dialect: Dialect) -> InvalidRequestError | None:
    """Return what is wrong with a speech as the voice of a clip; ``None`` if nothing, or if it is not known."""
    if seconds is None or "avatar" not in dialect.endpoints:
        return None
    rules = dialect.media_annotation("avatar", "audio")
    shortest, longest = rules.get("min_seconds"), rules.get("max_seconds")
    is_short = bool(shortest and seconds < shortest)
    if not is_short and not (longest and seconds > longest):
        return None
    return InvalidRequestError(
        f"text gives {seconds:g} s of speech, but a clip takes {shortest} to {longest} s: "
        f"{'lengthen the text or lower voice_speed' if is_short else 'shorten the text'}",
        field="text",
        source=rules.get("source", ""),
    )


def speak(client: KlingClient, body: dict[str, Any]) -> Spoken:
    """
    Pay for a speech; return it with the time it was made at.

    :param body: of a text-to-speech call, see `submission.request.speech_body`.
    """
    answer = client.synthesize(body)
    spoken = Spoken(
        answer.audio_id, time.time(), answer.duration, answer.units, answer.task_id, answer.request_id
    )
    log.info("text spoken: audio %s, %s s", spoken.audio_id, spoken.duration)
    return spoken


class Speaker:
    """
    Speaks one text once over all tries of a piece of work.

    :param client: the worker's client.
    :param work: what the speech is for.
    :param store: outlives the try, where there is such a store.
    :param round_number: the same for a try and its retries, another one after each clear.
    :param on_rerun: the work has delivered and is run again: ``reuse`` its speech, or ``regenerate``.
    """

    def __init__(
        self,
        client: KlingClient,
        work: TaskIdentity,
        *,
        store: StateStore | None,
        round_number: int = 0,
        on_rerun: OnRerun = "reuse",
    ) -> None:
        Policies(on_rerun=on_rerun)  # a misspelt word is said before anything is paid
        self.client = client
        self.work = work
        self.store = store
        self.round_number = round_number
        self.on_rerun = on_rerun

    def say(self, body: dict[str, Any]) -> Spoken:
        """
        Return the speech of a text: an earlier try's, if the vendor still has it, else a new one.

        :raises StateUnavailableError: what earlier tries bought cannot be read; nothing was sent.
        """
        # An account has no speech of another one: who handed that on would have each clip refused.
        account = msgspec.structs.astuple(Account.of(self.client.config, self.work))
        inputs = " ".join((*account, str(fingerprint(body))))
        record = self.store.load() if self.store else {}
        earlier = Spoken.from_record(record) if record.get("inputs") == inputs else None
        if earlier and self._is_wanted(record, earlier):
            log.info("this text was spoken already: audio %s; nothing is paid again", earlier.audio_id)
            return earlier
        spoken = speak(self.client, body)
        self._note({"inputs": inputs, **spoken.to_record()})
        return spoken

    def note_delivery(self) -> None:
        """Note that the speech was handed on, so that a clear after this is known as a wish for another run."""
        try:
            record = self.store.load() if self.store else {}
        except StateUnavailableError as error:
            log.warning("could not note down that the speech was delivered: %s", error)
            return
        if record:
            self._note({**record, "delivered_in": self.round_number})

    def _is_wanted(self, record: Mapping[str, Any], earlier: Spoken) -> bool:
        if not earlier.is_kept(time.time()):
            log.info("the vendor no longer has audio %s: speaking the text anew", earlier.audio_id)
            return False
        delivered_before = record.get("delivered_in", self.round_number) != self.round_number
        if delivered_before and self.on_rerun == "regenerate":
            log.info("audio %s was delivered; speaking the text anew, as on_rerun says", earlier.audio_id)
            return False
        return True

    def _note(self, record: dict[str, Any]) -> None:
        """Write down what was bought. The speech is there: to fail for want of a note would buy it again."""
        try:
            if self.store:
                self.store.save(record)
        except StateUnavailableError as error:
            log.warning("could not note down audio %s: %s", record["audio_id"], error)


def earlier_speech(record: Record, audio_id: str | None, now: float) -> Spoken | None:
    """
    Return the speech that an earlier try left, if the vendor still has it.

    :param record: of the same inputs, or an empty one.
    :param audio_id: of this very try, from before it waited for a slot; wins.
    """
    noted = Spoken(record.audio_id, record.spoken_at, record.duration) if record.audio_id else None
    if audio_id and (noted is None or noted.audio_id != audio_id):
        noted = Spoken(audio_id, now - ONE_TRY_SECONDS)
    return noted if noted and noted.is_kept(now) else None
