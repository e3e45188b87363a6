"""
Reads tasks, lists and speech out of good answers, in every shape that Kling and its gateways are known to use.

One tolerant reader serves all dialects, because gateways mix the shapes: a value is looked for along a table of
places, outermost first. Whatever the answer, only our own errors come out.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from airflow_provider_kling_avatar.kling.errors import (
    KlingError,
    NotFoundError,
    RefusedError,
    UnreadableAnswerError,
)
from airflow_provider_kling_avatar.kling.models import Speech, TaskState, Video, VideoTask
from airflow_provider_kling_avatar.kling.pricing import decimal_of, plain
from airflow_provider_kling_avatar.kling.redact import redact
from airflow_provider_kling_avatar.kling.responses.answer import (
    OK_CODES,
    as_name,
    as_number,
    as_seconds,
    as_text,
    as_url,
    at,
    dicts,
    first,
    is_task,
    layers_of,
    normal,
    records_of,
)
from airflow_provider_kling_avatar.kling.responses.error_codes import (
    KLING_CODES,
    KLING_HAS_NO_SUCH_THING,
    code_of_reason,
)
from airflow_provider_kling_avatar.kling.responses.errors import (
    about_task,
    code_of,
    error_in,
    read_json,
    unreadable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_kling_avatar.kling.responses.answer import Answer, Json

log = logging.getLogger(__name__)

T = TypeVar("T")

_WORDS = {
    TaskState.QUEUED: "submitted queued queueing queuing in_queue pending waiting created preparing not_start "
    "starting initializing",
    TaskState.RUNNING: "processing running in_progress generating",
    TaskState.SUCCEEDED: "succeed succeeded success completed complete",
    TaskState.FAILED: "failed fail failure error canceled cancelled expired",
}
STATES: dict[str, TaskState] = {word: state for state, words in _WORDS.items() for word in words.split()}
"""The vendors' words, lower-cased. A word that is not here means: keep waiting."""


def state_of(word: str | None) -> TaskState:
    """Return what a vendor's word says of a task."""
    return STATES.get(normal(word or ""), TaskState.UNKNOWN)


def read_task(answer: Answer, task_id: str | None = None) -> VideoTask:
    """
    Read a video task from a create or query answer.

    :param task_id: the id that was asked for, where the answer does not repeat it.
    :raises KlingError: the answer is an error, or no task can be read from it.
    """
    try:
        body = read_json(answer)
        if is_task(answer.layers) or (task_id and _is_record(body.get("data"))):
            return _task(answer.layers, answer, task_id)
        raise unreadable(answer, "an answer without a task in it", body)
    except KlingError as error:
        raise about_task(task_id, error, answer) from None


def read_created(answer: Answer, read: Callable[[Answer], T]) -> T:
    """
    Read the answer to a paid call.

    :param read: what it should hold.
    :raises RefusedError: what the request names (a model, a voice) is not there: no other try will find it.
    """
    try:
        return read(answer)
    except NotFoundError as error:
        if error.code != KLING_HAS_NO_SUCH_THING:
            raise
        raise RefusedError(
            "what the request names does not exist there (a model, a voice, an audio): change it",
            said=error.said,
            code=error.code,
            http_status=error.http_status,
            request_id=error.request_id,
        ) from None


def _is_record(data: object) -> bool:
    """Tell whether what was asked for by id is a task that does not repeat the id, as CometAPI's sibling route does."""
    return isinstance(data, dict) and (as_name(data.get("status")) is not None or "task_result" in data)


def read_task_list(answer: Answer) -> list[VideoTask]:
    """
    Read a page of tasks; rows that cannot be read are left out.

    :raises KlingError: the answer is an error, no list, or one without a single row that can be read.
    """
    body = read_json(answer)
    rows = rows_of(body)
    if rows is None:
        raise unreadable(answer, "an answer without a list in it", body)
    tasks = [read_record(row, answer, row_id) for row in rows if (row_id := record_id(row))]
    if rows and not tasks:  # who takes this for "no tasks" would miss the one looked for
        raise unreadable(answer, "a list of rows that are no tasks", body)
    return tasks


def record_id(row: object) -> str | None:
    """Return the id of a row, or ``None`` if it is no task."""
    layers = layers_of(row) if isinstance(row, dict) else []
    return first(layers, ("task_id", "id"), as_name) if is_task(layers) else None


def read_record(row: object, answer: Answer, row_id: str) -> VideoTask:
    """Read one row of a list, of which `record_id` has told the id."""
    return _task(layers_of(row), answer, row_id)


def read_speech(answer: Answer) -> Speech:
    """
    Read spoken text.

    :raises KlingError: the answer is an error, or holds no audio.
    """
    body = read_json(answer)
    layers = answer.layers
    if state_of(first(layers, ("task_status", "status"), as_name)) is TaskState.FAILED:
        reason = first(layers, _REASONS, _as_reason)
        raise error_in(answer, reason or "text-to-speech failed")
    for audio in (audio for layer in layers for audio in dicts(at(layer, "task_result", "audios"))):
        if audio_id := as_name(audio.get("id")):
            return Speech(
                audio_id=audio_id,
                url=as_url(audio.get("url")),
                duration=as_number(audio.get("duration")),
                task_id=first(layers, ("task_id", "id"), as_name),
                units=read_deductions(layers).units,
                request_id=answer.request_id,
            )
    raise unreadable(answer, "a speech answer without an audio id", body)


def rows_of(body: Json) -> list[object] | None:
    """Return the rows of a list, or ``None`` if the answer holds none."""
    keys = ("data", "tasks", "list", "items")
    data = body.get("data")
    within = data if isinstance(data, dict) else {}
    places = [data, *map(within.get, keys), *map(body.get, keys)]
    return next((rows for rows in places if isinstance(rows, list)), None)


# ------------------------------------------------------------------------ task

_REASONS = ("task_status_msg", "fail_reason", "failure_reason", "failMsg", "error_message")


def _task(layers: list[Json], answer: Answer, task_id: str | None) -> VideoTask:
    records = records_of(layers)
    found_id = first(records, ("task_id", "id"), as_name) or task_id
    if not found_id:
        raise UnreadableAnswerError("an answer without a task id", http_status=answer.status)
    status = first(records, ("task_status", "status"), as_name) or ""
    state = state_of(status)
    videos = _videos(records) if state is TaskState.SUCCEEDED else ()
    if state is TaskState.SUCCEEDED and not videos and _has_failed(records):
        state = TaskState.FAILED
    reason, reason_code = _reason(records) if state is TaskState.FAILED else (None, None)
    infos = [info for layer in records if isinstance(info := layer.get("task_info"), dict)]
    return VideoTask(
        task_id=found_id,
        state=state,
        status=redact(status),
        external_task_id=first([*infos, *records], ("external_task_id", "external_id"), as_name),
        reason=redact(reason) if reason else None,
        reason_code=reason_code,
        videos=videos,
        **read_deductions(records)._asdict(),
        created_at=first(records, ("created_at", "create_time", "submit_time"), as_seconds),
        updated_at=first(records, ("updated_at", "update_time", "finish_time"), as_seconds),
        request_id=answer.request_id_in(layers),
    )


def _has_failed(records: list[Json]) -> bool:
    """Tell whether the vendor's own record says so, in a gateway's that says only that the question went well."""
    return any(state_of(as_name(layer.get("task_status"))) is TaskState.FAILED for layer in records)


def _reason(records: list[Json]) -> tuple[str | None, int | str | None]:
    """
    Read why a task failed.

    `message` beside `code` speaks of the answer and says SUCCEED even here; only the record's own words count.
    """
    code = next((c for layer in records if (c := code_of(layer.get("code"))) is not None), None)
    reasons = [
        reason
        for keys in (_REASONS, ("message", "reason", "error"))
        for layer in records
        for key in keys
        if (reason := _as_reason(layer.get(key)))
    ]
    if not reasons:
        return None, code
    # A gateway's "task failed" around the vendor's own words says less than these, and so does its code.
    reason = next((reason for reason in reasons if code_of_reason(reason)), reasons[0])
    return reason, code if code in KLING_CODES else code_of_reason(reason) or code


def _as_reason(value: object) -> str | None:
    """Read words that may be a reason; gateways also put "SUCCEED" there, of the call that asked."""
    words = as_text(value)
    word = words.rstrip(".! ").lower() if words else ""
    return None if word in OK_CODES or state_of(word) is TaskState.SUCCEEDED else words


def _videos(records: list[Json]) -> tuple[Video, ...]:
    for layer in records:
        videos = [
            Video(
                url=url,
                id=as_name(row.get("id")),
                duration=as_number(row.get("duration")),
                watermark_url=as_url(row.get("watermark_url")),
            )
            for row in [
                *dicts(at(layer, "task_result", "videos")),
                *_outputs(layer),
                *dicts(layer.get("videos")),
            ]
            if (url := as_url(row.get("url")))
        ]
        if videos:
            return tuple(videos)
    addresses = (as_url(at(layer, *path)) for layer in records for path in _FLAT_URLS)
    url = next((address for address in addresses if address), None)
    metadata = [inner for layer in records if isinstance(inner := layer.get("metadata"), dict)]
    duration = first([*records, *metadata], ("duration", "seconds"), as_number)
    return (Video(url=url, duration=duration),) if url else ()


_FLAT_URLS = (
    ("video_url",),
    ("result_url",),
    ("url",),
    ("metadata", "url"),
    ("video", "url"),
    ("output",),
    # Many versions of new-api keep the URL of a task that succeeded here.
    ("fail_reason",),
)


def _outputs(layer: Json) -> Iterator[Json]:
    for outputs in (layer.get("outputs"), at(layer, "result", "outputs")):
        for row in outputs if isinstance(outputs, list) else ():
            if isinstance(row, str):
                yield {"url": row}
            elif isinstance(row, dict) and row.get("type", "video") == "video":
                yield row


# ------------------------------------------------------------------------ deductions


class Deducted(NamedTuple):
    """
    What the vendor deducted for a task, as far as it says so.

    :param units: as a decimal text.
    :param cost: money, at the vendor's list price.
    :param currency: of ``cost``, where the vendor names it.
    """

    units: str | None = None
    cost: Decimal | None = None
    currency: str | None = None


def read_deductions(records: list[Json]) -> Deducted:
    """
    Read the deductions of a task, in the words of both generations of Kling's API.

    :param records: the layers of the answer that describe it, outermost first.
    """
    units = _amount(records, "final_unit_deduction")
    cost = _amount(records, "final_balance_deduction", "list_price")
    billed = _billed(next((rows for layer in records if (rows := dicts(layer.get("billing")))), []))
    return Deducted(
        billed.units if units is None else plain(units),
        billed.cost if cost is None else cost,
        billed.currency if cost is None else None,
    )


def _billed(rows: list[Json]) -> Deducted:
    """Read the new generation's ``billing[]{charge_type, amount, currency, package_type, list_price}``."""
    units, money = [], []
    for row in rows:
        amount, price = _amount([row], "amount"), _amount([row], "list_price")
        if row.get("charge_type") != "unit":
            price = amount if price is None else price
        elif amount is not None:
            units.append(amount)
        money.append(price)
    currencies = {as_text(row.get("currency")) for row in rows}
    if len(currencies) > 1:
        log.warning("the vendor billed in several currencies (%s): not added up", currencies)
    known = [price for price in money if price is not None]
    is_whole = len(known) == len(rows) and len(currencies) == 1
    return Deducted(
        plain(sum(units, Decimal(0))) if units else None,
        sum(known, Decimal(0)) if is_whole else None,
        currencies.pop() if is_whole else None,
    )


def _amount(records: list[Json], *path: str) -> Decimal | None:
    """Read an amount from its decimal text; what is no plain number is told in the log and left out."""
    for value in (at(layer, *path) for layer in records):
        amount = decimal_of(value)
        if amount is not None:
            return amount
        if value not in (None, ""):
            log.warning(
                "%s in the vendor's answer is no plain number (%.40r): left out", ".".join(path), value
            )
    return None
