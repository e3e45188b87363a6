"""
Reads tasks, lists and speech out of good answers, in every shape that Kling and its gateways are known to use.

One tolerant reader serves all dialects, because gateways mix the shapes: a value is looked for along a table of
places, outermost first. Whatever the answer, only our own errors come out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from airflow_provider_kling_avatar.kling.errors import NotFoundError, RefusedError, UnreadableAnswerError
from airflow_provider_kling_avatar.kling.models import Speech, TaskState, Video, VideoTask
from airflow_provider_kling_avatar.kling.redact import redact
from airflow_provider_kling_avatar.kling.responses.deductions import read_deductions
from airflow_provider_kling_avatar.kling.responses.error_codes import (
    KLING_CODES,
    KLING_HAS_NO_SUCH_THING,
    code_of_reason,
)
from airflow_provider_kling_avatar.kling.responses.errors import (
    OK_CODES,
    Answer,
    asked_for,
    code_of,
    error_in,
    is_task,
    layers_of,
    read_json,
    records_of,
    request_id_of,
    unreadable,
)
from airflow_provider_kling_avatar.kling.responses.values import (
    as_name,
    as_number,
    as_seconds,
    as_text,
    as_url,
    at,
    dicts,
    first,
    normal,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_kling_avatar.kling.responses.values import Json

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


def read_task(answer: Answer, task_id: str | None = None) -> VideoTask:
    """
    Read a video task from a create or query answer.

    :param task_id: the id that was asked for, where the answer does not repeat it.
    :raises KlingError: the answer is an error, or no task can be read from it.
    """
    with asked_for(task_id, answer):
        body = read_json(answer)
        layers = layers_of(body)
        if is_task(layers) or (task_id and _is_record(body.get("data"))):
            return _task(layers, answer, task_id)
        raise unreadable(answer, "an answer without a task in it", body)


def read_created(answer: Answer, read: Callable[[Answer], T]) -> T:
    """
    Read the answer to a paid call.

    :param read: what it should hold.
    :raises RefusedError: what the request names (a model, a voice) is not there: no other try will find it.
    """
    missing = None
    try:
        return read(answer)
    except NotFoundError as error:
        if error.code != KLING_HAS_NO_SUCH_THING:
            raise
        missing = error
    raise RefusedError(
        f"what the request names does not exist there (a model, a voice, an audio): change it; {missing.message}",
        code=missing.code,
        http_status=missing.http_status,
        request_id=missing.request_id,
    )


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
    layers = layers_of({"data": row} if isinstance(row, dict) else {})
    return first(layers, ("task_id", "id"), as_name) if is_task(layers) else None


def read_record(row: object, answer: Answer, row_id: str) -> VideoTask:
    """Read one row of a list, of which `record_id` has told the id."""
    return _task(layers_of({"data": row}), answer, row_id)


def read_speech(answer: Answer) -> Speech:
    """
    Read spoken text.

    :raises KlingError: the answer is an error, or holds no audio.
    """
    body = read_json(answer)
    layers = layers_of(body)
    status = first(layers, ("task_status", "status"), as_name)
    if status and STATES.get(normal(status)) is TaskState.FAILED:
        reason = first(layers, _REASONS, _as_reason)
        raise error_in(answer, layers, reason or "text-to-speech failed")
    for layer in layers:
        for audio in dicts(at(layer, "task_result", "audios")):
            audio_id = as_name(audio.get("id"))
            if audio_id:
                return Speech(
                    audio_id=audio_id,
                    url=as_url(audio.get("url")),
                    duration=as_number(audio.get("duration")),
                    task_id=first(layers, ("task_id", "id"), as_name),
                    units=read_deductions(layers).units,
                    request_id=request_id_of(answer, layers),
                )
    raise unreadable(answer, "a speech answer without an audio id", body)


def rows_of(body: Json) -> list[object] | None:
    """Return the rows of a list, or ``None`` if the answer holds none."""
    return next((rows for rows in _lists(body) if isinstance(rows, list)), None)


def _lists(body: Json) -> Iterator[object]:
    data = body.get("data")
    yield data
    if isinstance(data, dict):
        for key in ("data", "tasks", "list", "items"):
            yield data.get(key)
    for key in ("tasks", "list", "items"):
        yield body.get(key)


# ------------------------------------------------------------------------ task

_REASONS = ("task_status_msg", "fail_reason", "failure_reason", "failMsg", "error_message")


def _task(layers: list[Json], answer: Answer, task_id: str | None) -> VideoTask:
    records = records_of(layers)
    found_id = first(records, ("task_id", "id"), as_name) or task_id
    if not found_id:
        raise UnreadableAnswerError("an answer without a task id", http_status=answer.status)
    status = first(records, ("task_status", "status"), as_name) or ""
    state = STATES.get(normal(status), TaskState.UNKNOWN)
    videos = _videos(records) if state is TaskState.SUCCEEDED else ()
    if state is TaskState.SUCCEEDED and not videos and _has_failed(records):
        state = TaskState.FAILED
    failed = state is TaskState.FAILED
    reason, reason_code = _reason(records) if failed else (None, None)
    deducted = read_deductions(records)
    return VideoTask(
        task_id=found_id,
        state=state,
        status=redact(status),
        external_task_id=first(
            [info for layer in records if isinstance(info := layer.get("task_info"), dict)] + records,
            ("external_task_id", "external_id"),
            as_name,
        ),
        reason=redact(reason) if reason else None,
        reason_code=reason_code,
        videos=videos,
        units=deducted.units,
        cost=deducted.cost,
        currency=deducted.currency,
        created_at=first(records, ("created_at", "create_time", "submit_time"), as_seconds),
        updated_at=first(records, ("updated_at", "update_time", "finish_time"), as_seconds),
        request_id=request_id_of(answer, layers),
    )


def _has_failed(records: list[Json]) -> bool:
    """Tell whether the vendor's own record says so, in a gateway's that says only that the question went well."""
    return any(STATES.get(normal(as_name(r.get("task_status")) or "")) is TaskState.FAILED for r in records)


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
    word = normal(words.rstrip(".! ")) if words else ""
    return None if word in OK_CODES or STATES.get(word) is TaskState.SUCCEEDED else words


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
    for layer in records:
        for path in _FLAT_URLS:
            url = as_url(at(layer, *path))
            if url:
                duration = first(
                    [*records, *[m for r in records if isinstance(m := r.get("metadata"), dict)]],
                    ("duration", "seconds"),
                    as_number,
                )
                return (Video(url=url, duration=duration),)
    return ()


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
