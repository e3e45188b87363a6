"""
Turns text into a voice, once over all tries, and knows how long the vendor keeps it.

A speech has no name at the vendor and cannot be asked for: what is known of it is what the record of its work says,
where it was written the moment its answer came.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_kling_avatar.kling.errors import InvalidRequestError
from airflow_provider_kling_avatar.kling.submission.identity import fingerprint
from airflow_provider_kling_avatar.kling.submission.state import PayingAccount, Record, load, note

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.kling.client import KlingClient
    from airflow_provider_kling_avatar.kling.dialects import Dialect
    from airflow_provider_kling_avatar.kling.submission.state import Try

log = logging.getLogger(__name__)

AUDIO_ID_SECONDS = 29 * 86400.0
"""The vendor keeps a spoken text for 30 days: https://klingai.com/document-api/api/video/avatar/text-to-speech"""


@dataclass(frozen=True, slots=True)
class Spoken:
    """
    A text that was spoken.

    :param audio_id: what an avatar takes for 30 days.
    :param spoken_at: Unix seconds; ``None`` if nobody wrote it down.
    :param duration: seconds, where the vendor told it.
    :param task_id: the vendor's id of the speech task.
    :param units: what was deducted, in the vendor's units, as a decimal text.
    :param request_id: the vendor's id of the request.
    """

    audio_id: str
    spoken_at: float | None = None
    duration: float | None = None
    task_id: str | None = None
    units: str | None = None
    request_id: str | None = None

    def as_given(self) -> dict[str, Any]:
        """Return what another task, or a later part of this one, needs to know: see `given_speech`."""
        return {"audio_id": self.audio_id, "spoken_at": self.spoken_at, "duration": self.duration}

    def noted_in(self, record: Record) -> Record:
        """Return a record with this voice in it. The ``task_id`` there is the clip's, if it is one of a clip."""
        return msgspec.structs.replace(record, **self.as_given())


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


def is_too_old(spoken_at: float | None) -> bool:
    """Tell whether the vendor has thrown a voice away by now; ``None``, not known, counts as kept."""
    return spoken_at is not None and time.time() - spoken_at >= AUDIO_ID_SECONDS


def check_age(spoken_at: float | None) -> None:
    """
    Refuse a voice that the vendor has thrown away: the clip would be refused, or paid for in vain.

    :param spoken_at: Unix seconds; ``None``, not known, passes.
    :raises InvalidRequestError: it is too old.
    """
    if spoken_at is not None and is_too_old(spoken_at):
        raise InvalidRequestError(
            f"audio_id was spoken {(time.time() - spoken_at) / 86400:.0f} days ago and the vendor keeps a speech for "
            "30: no clip was ordered with it. Clear the task that spoke it, or give text and voice_id in place of "
            "audio_id",
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
    log.info("text spoken: audio %s, %s s", answer.audio_id, answer.duration)
    return Spoken(
        answer.audio_id, time.time(), answer.duration, answer.task_id, answer.units, answer.request_id
    )


def find_speech(record: Record) -> Spoken | None:
    """Return the speech that a record tells of, if the vendor still has it."""
    if record.audio_id is None:
        return None
    if is_too_old(record.spoken_at):
        log.info("the vendor no longer has audio %s: speaking the text anew", record.audio_id)
        return None
    log.info("this text was spoken already: audio %s; nothing is paid for it again", record.audio_id)
    return Spoken(record.audio_id, record.spoken_at, record.duration)


def speak_once(client: KlingClient, body: dict[str, Any], this_try: Try) -> Spoken:
    """
    Return the speech that is all a task is for: an earlier try's, if the vendor still has it, else a new one.

    :param body: of a text-to-speech call, see `submission.request.speech_body`.
    :raises StateUnavailableError: what earlier tries bought cannot be read; nothing was sent.
    """
    noted = load(this_try.store)
    inputs, account = str(fingerprint(body)), PayingAccount.of(client.config, this_try.work)
    record = Record(
        round=this_try.round, input_fingerprint=inputs, account=account, **noted.voice(inputs, account)
    )
    was_delivered = noted.delivered_in not in (None, this_try.round)
    if record.audio_id and was_delivered and this_try.policies.on_rerun == "regenerate":
        log.info("audio %s was delivered; speaking the text anew, as on_rerun says", record.audio_id)
    elif earlier := find_speech(record):
        return replace(earlier, task_id=noted.task_id, **noted.paid_for)
    spoken = speak(client, body)
    paid_for = {"units": spoken.units, "request_id": spoken.request_id}
    note(
        this_try.store,
        spoken.noted_in(msgspec.structs.replace(record, task_id=spoken.task_id, paid_for=paid_for)),
        f"that the text is audio {spoken.audio_id}",
    )
    return spoken
