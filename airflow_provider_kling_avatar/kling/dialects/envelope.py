"""
Reads what comes back, in every shape that Kling and its gateways are known to answer in.

One tolerant reader serves all dialects, because gateways mix the shapes: a value is looked for along a table
of places, outermost first. Whatever the bytes, only our own errors come out. Knows nothing of transports.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_kling_avatar.kling.dialects.codes import KLING_CODES, code_of_reason, meaning_of
from airflow_provider_kling_avatar.kling.errors import (
    InvalidRequestError,
    KlingError,
    UnavailableError,
    UnreadableAnswerError,
    WrongRouteError,
)
from airflow_provider_kling_avatar.kling.model import Speech, TaskState, Video, VideoTask
from airflow_provider_kling_avatar.kling.redact import public_url, redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Json = dict[str, Any]
_T = TypeVar("_T")

_WORDS = {
    TaskState.QUEUED: "submitted queued queueing queuing in_queue pending waiting created preparing not_start "
    "starting initializing",
    TaskState.RUNNING: "processing running in_progress generating",
    TaskState.SUCCEEDED: "succeed succeeded success completed complete",
    TaskState.FAILED: "failed fail failure error canceled cancelled expired",
}
STATES: dict[str, TaskState] = {word: state for state, words in _WORDS.items() for word in words.split()}
"""The vendors' words, lower-cased. A word that is not here means: keep waiting."""

OK_CODES = frozenset({"", "0", "200", "success", "succeed", "ok", "none"})
"""What `code` says when all is well: 0 at Kling, "success" at new-api, 200 at others."""

MAX_DEPTH = 4
"""How many `data` a gateway may wrap around Kling's own answer."""

_MILLISECONDS_FROM = 1e11
"""A time above this many seconds (the year 5138) is in milliseconds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What a transport brought back.

    :param status: HTTP status.
    :param body: the bytes as they came.
    :param headers: names in lower case.
    :param url: where it was asked, for messages.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""

    @property
    def is_redirect(self) -> bool:
        """HTTP 3xx."""
        return self.status // 100 == 3

    @property
    def is_error(self) -> bool:
        """HTTP 4xx or 5xx."""
        return self.status // 100 >= 4

    @property
    def is_server_error(self) -> bool:
        """HTTP 5xx: nobody knows how far the request came."""
        return self.status // 100 >= 5


# --------------------------------------------------------------------- reading


def read_task(answer: Answer, task_id: str | None = None) -> VideoTask:
    """
    Read a video task from a create or query answer.

    :param task_id: the id that was asked for, where the answer does not repeat it.
    :raises KlingError: the answer is an error, or no task can be read from it.
    """
    body = read_json(answer)
    layers = _layers(body)
    if not _is_task(layers):
        raise _unreadable(answer, "an answer without a task in it", body)
    return _task(layers, answer, task_id)


def read_task_list(answer: Answer) -> list[VideoTask]:
    """
    Read a page of tasks; rows that cannot be read are left out.

    :raises KlingError: the answer is an error, or no list.
    """
    body = read_json(answer)
    rows = next((rows for rows in _lists(body) if isinstance(rows, list)), None)
    if rows is None:
        raise _unreadable(answer, "an answer without a list in it", body)
    tasks = []
    for row in rows:
        layers = _layers({"data": row} if isinstance(row, dict) else {})
        row_id = _first(layers, ("task_id", "id"), _name)
        if row_id and _is_task(layers):
            tasks.append(_task(layers, answer, row_id))
    return tasks


def read_speech(answer: Answer) -> Speech:
    """
    Read spoken text.

    :raises KlingError: the answer is an error, or holds no audio.
    """
    body = read_json(answer)
    layers = _layers(body)
    status = _first(layers, ("task_status", "status"), _name)
    if status and STATES.get(_normal(status)) is TaskState.FAILED:
        reason = _first(layers, _REASONS, _text)
        raise _error(answer, layers, reason or "text-to-speech failed")
    for layer in layers:
        for audio in _dicts(_at(layer, "task_result", "audios")):
            audio_id = _name(audio.get("id"))
            if audio_id:
                return Speech(
                    audio_id=audio_id,
                    url=_url(audio.get("url")),
                    duration=_number(audio.get("duration")),
                    task_id=_first(layers, ("task_id", "id"), _name),
                    units=_first(layers, ("final_unit_deduction",), _name),
                    request_id=_request_id(answer, layers),
                )
    raise _unreadable(answer, "a speech answer without an audio id", body)


def read_json(answer: Answer) -> Json:
    """
    Return the JSON object of a good answer.

    :raises KlingError: anything else came: an error of the vendor's, a redirect, a web page, a torn text.
    """
    where = public_url(answer.url) or "the vendor"
    if answer.is_redirect:
        target = redact(public_url(answer.headers.get("location", ""))) or "elsewhere"
        raise WrongRouteError(
            f"wrong route: {where} redirects to {target}; check the connection's host, path_prefix and query_path",
            http_status=answer.status,
        )
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise _no_json(answer, where) from None
    if not isinstance(body, dict):
        if answer.is_error:
            raise _error(answer, [], "")
        raise UnreadableAnswerError(f"{where} answered JSON that is no object", http_status=answer.status)
    layers = _layers(body)
    if answer.is_error or not _is_ok(body, layers):
        raise _error(answer, layers, "")
    return body


# ---------------------------------------------------------------------- errors


def _no_json(answer: Answer, where: str) -> KlingError:
    text = answer.body[:2000].decode("utf-8", "replace").lstrip("\ufeff \t\r\n").lower()
    is_page = "html" in answer.headers.get("content-type", "").lower() or text.startswith(
        ("<!doctype", "<html", "<")
    )
    if answer.is_server_error or answer.status == 429:  # a proxy's page says it with the status alone
        return _error(answer, [], "")
    if is_page:
        error = WrongRouteError(
            f"wrong route: {where} answered a web page instead of JSON; "
            "check the connection's host, path_prefix and query_path",
            http_status=answer.status,
        )
        if not answer.is_error:  # a page with a good status may hide an accepted request
            error.accepted = UnreadableAnswerError.accepted
        return error
    if answer.is_error:
        return _error(answer, [], "")
    return UnreadableAnswerError(
        f"{where} answered {len(answer.body)} bytes that are not JSON (cut off on the way?)",
        http_status=answer.status,
    )


def _error(answer: Answer, layers: list[Json], reason: str) -> KlingError:
    code, message = _code_and_message(layers)
    message = reason or message
    meaning = meaning_of(code, answer.status, message)
    text = meaning.text
    said = redact(message)
    if said and said.lower() not in text.lower():
        text = f"{text}; the vendor says: {said}"
    facts: dict[str, Any] = {
        "code": redact(code) if isinstance(code, str) else code,
        "http_status": answer.status,
        "request_id": _request_id(answer, layers),
    }
    if issubclass(meaning.error, InvalidRequestError):
        return meaning.error(text, field="voice_id" if "voice" in said.lower() else None, **facts)
    error = meaning.error(text, **facts)
    error.retry_after = _retry_after(answer)
    if answer.is_server_error and not isinstance(code, int):
        # Without a code of the vendor's own nobody knows which machine on the way answered.
        error.accepted = UnavailableError.accepted
    return error


def _code_and_message(layers: list[Json]) -> tuple[int | str | None, str]:
    """Find the code that says most, and the words beside it: a known number, any number, a word; deepest first."""
    candidates: list[tuple[int, int | str | None, str]] = []
    message = ""
    for layer in layers:
        words = _text(layer.get("message")) or _text(layer.get("msg")) or ""
        message = message or words
        code = _code(layer.get("code"))
        if isinstance(code, int):
            candidates.append((2 if code in KLING_CODES else 1, code, words or message))
        elif code is not None:
            candidates.append((0, code, words or message))
    if not candidates:
        return next(
            (t for layer in layers if (t := _name(layer.get("type"))) and "error" in t), None
        ), message
    rank, code, words = max(reversed(candidates), key=lambda candidate: candidate[0])
    return code, words if rank else message


def _code(value: object) -> int | str | None:
    if isinstance(value, bool) or value is None:
        return None
    if str(value).strip().lower() in OK_CODES:
        return None
    try:
        return int(str(value))
    except ValueError:
        return str(value) if isinstance(value, str) else None


def _is_ok(body: Json, layers: list[Json]) -> bool:
    if _code(body.get("code")) is not None:
        return False
    if _is_task(layers):  # a failed task may carry an error of its own; the answer is still good
        return True
    return not any(_code(layer.get("code")) is not None for layer in layers) and not isinstance(
        body.get("error"), dict
    )


def _unreadable(answer: Answer, what: str, body: Json) -> UnreadableAnswerError:
    return UnreadableAnswerError(
        f"{public_url(answer.url) or 'the vendor'} gave {what}; "
        f"it has {redact(', '.join(sorted(body)[:20])) or 'nothing'}",
        http_status=answer.status,
        request_id=_request_id(answer, _layers(body)),
    )


_REQUEST_ID_IN_TEXT = re.compile(r"request[ _-]?id:?\s*([\w-]{6,})", re.IGNORECASE)


def _request_id(answer: Answer, layers: list[Json]) -> str | None:
    found = _first(layers, ("request_id",), _name)
    if found:
        return redact(found)
    for layer in layers:
        match = _REQUEST_ID_IN_TEXT.search(_text(layer.get("message")) or "")
        if match:
            return redact(match.group(1))
    header = answer.headers.get("x-request-id")
    return redact(header) if header else None


_LONGEST_WAIT = 86400.0
"""Seconds; a longer `Retry-After` is a mistake."""


def _retry_after(answer: Answer) -> float | None:
    """Read `Retry-After` in seconds; a date is measured against the answer's own `Date`."""
    value = answer.headers.get("retry-after", "")
    wait = _number(value)
    if wait is None:
        try:
            until = parsedate_to_datetime(value) - parsedate_to_datetime(answer.headers.get("date", ""))
        except (TypeError, ValueError, OverflowError):
            return None
        wait = until.total_seconds()
    return min(max(wait, 0.0), _LONGEST_WAIT)


# ---------------------------------------------------------------------- layers


def _layers(body: Json) -> list[Json]:
    """
    Return the objects that may speak of the task, outermost first.

    A gateway wraps Kling's answer in `data` (several deep), in `error`, or as JSON text inside `message`.
    """
    found: list[Json] = []
    frontier: list[object] = [body]
    for _ in range(MAX_DEPTH):
        following: list[object] = []
        for item in frontier:
            if isinstance(item, list) and len(item) == 1:
                item = item[0]  # noqa: PLW2901  # a query by a list of one id answers a list of one
            if not isinstance(item, dict):
                continue
            found.append(item)
            following += [item.get("data"), item.get("error"), _json_in(item.get("message"))]
        frontier = following
    return found


def _json_in(text: object) -> object:
    if not isinstance(text, str) or "{" not in text:
        return None
    try:
        return json.loads(text[text.index("{") : text.rindex("}") + 1])
    except (ValueError, RecursionError):
        return None


def _records(layers: list[Json]) -> list[Json]:
    """Return the layers that describe the task; the envelope around them only describes the answer."""
    return [layer for layer in layers if not ("data" in layer and "code" in layer and "task_id" not in layer)]


def _is_task(layers: list[Json]) -> bool:
    return any(
        _name(layer.get("task_id"))
        or _name(layer.get("task_status"))
        or (_name(layer.get("id")) and "status" in layer)
        for layer in layers
    )


def _lists(body: Json) -> Iterator[object]:
    data = body.get("data")
    yield data
    if isinstance(data, dict):
        for key in ("data", "tasks", "list", "items"):
            yield data.get(key)
    for key in ("tasks", "list", "items"):
        yield body.get(key)


# ------------------------------------------------------------------------ task

_REASONS = ("task_status_msg", "fail_reason", "failMsg", "error_message")


def _task(layers: list[Json], answer: Answer, task_id: str | None) -> VideoTask:
    records = _records(layers)
    found_id = _first(records, ("task_id", "id"), _name) or task_id
    if not found_id:
        raise UnreadableAnswerError("an answer without a task id", http_status=answer.status)
    status = _first(records, ("task_status", "status"), _name) or ""
    state = STATES.get(_normal(status), TaskState.UNKNOWN)
    failed = state is TaskState.FAILED
    reason, reason_code = _reason(records) if failed else (None, None)
    return VideoTask(
        task_id=found_id,
        state=state,
        status=redact(status),
        external_task_id=_first(
            [info for layer in records if isinstance(info := layer.get("task_info"), dict)] + records,
            ("external_task_id", "external_id"),
            _name,
        ),
        reason=redact(reason) if reason else None,
        reason_code=reason_code,
        videos=_videos(records) if state is TaskState.SUCCEEDED else (),
        units=_first(records, ("final_unit_deduction",), _name) or _billed_units(records),
        created_at=_first(records, ("created_at", "create_time", "submit_time"), _seconds),
        updated_at=_first(records, ("updated_at", "update_time", "finish_time"), _seconds),
        request_id=_request_id(answer, layers),
    )


def _reason(records: list[Json]) -> tuple[str | None, int | str | None]:
    """
    Read why a task failed.

    `message` beside `code` speaks of the answer and says SUCCEED even here; only the record's own words count.
    """
    code = next((c for layer in records if (c := _code(layer.get("code"))) is not None), None)
    for keys in (_REASONS, ("message", "reason", "error")):
        reason = _first(records, keys, _text)
        if reason and _normal(reason) not in OK_CODES:
            # A gateway's own code beside the vendor's words says less than these.
            return reason, code if code in KLING_CODES else code_of_reason(reason) or code
    return None, code


def _videos(records: list[Json]) -> tuple[Video, ...]:
    for layer in records:
        videos = [
            Video(
                url=url,
                id=_name(row.get("id")),
                duration=_number(row.get("duration")),
                watermark_url=_url(row.get("watermark_url")),
            )
            for row in [
                *_dicts(_at(layer, "task_result", "videos")),
                *_outputs(layer),
                *_dicts(layer.get("videos")),
            ]
            if (url := _url(row.get("url")))
        ]
        if videos:
            return tuple(videos)
    for layer in records:
        for path in _FLAT_URLS:
            url = _url(_at(layer, *path))
            if url:
                duration = _first(
                    [*records, *[m for r in records if isinstance(m := r.get("metadata"), dict)]],
                    ("duration", "seconds"),
                    _number,
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
    for outputs in (layer.get("outputs"), _at(layer, "result", "outputs")):
        for row in outputs if isinstance(outputs, list) else ():
            if isinstance(row, str):
                yield {"url": row}
            elif isinstance(row, dict) and row.get("type", "video") == "video":
                yield row


def _billed_units(records: list[Json]) -> str | None:
    for layer in records:
        for row in _dicts(layer.get("billing")):
            if row.get("charge_type") == "unit":
                return _name(row.get("amount"))
    return None


# ---------------------------------------------------------------------- values


def _first(layers: list[Json], keys: tuple[str, ...], read: Callable[[object], _T | None]) -> _T | None:
    for layer in layers:
        for key in keys:
            value = read(layer.get(key))
            if value is not None:
                return value
    return None


def _at(layer: Json, *path: str) -> object:
    value: object = layer
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _dicts(value: object) -> list[Json]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _normal(word: str) -> str:
    return word.strip().lower().replace("-", "_").replace(" ", "_")


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    return value.encode("utf-8", "replace").decode("utf-8").strip() or None  # JSON can hold half a character


def _name(value: object) -> str | None:
    """Read an id or a short word; gateways send numbers where Kling sends text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        value = str(value)
    return _text(value)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if number == number and abs(number) != float("inf") else None  # noqa: PLR0124  # NaN


def _seconds(value: object) -> float | None:
    number = _number(value)
    if not number or number < 0:
        return None
    return number / 1000 if number > _MILLISECONDS_FROM else number


def _url(value: object) -> str | None:
    text = _text(value)
    return text if text and text.lower().startswith(("http://", "https://")) else None
