"""
Reads any answer as far as "is it a good one, and if not, what does it mean": the same for every dialect.

Codes and words are looked for in every layer of an answer. Whatever the bytes, only our own errors come out. Knows
nothing of transports, nor of what a task looks like beyond telling that there is one.
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.kling.errors import (
    Accepted,
    InvalidRequestError,
    KlingError,
    NotFoundError,
    UnreadableAnswerError,
    WrongRouteError,
)
from airflow_provider_kling_avatar.kling.redact import public_url, redact
from airflow_provider_kling_avatar.kling.responses.answer import (
    MAX_DEPTH,
    OK_CODES,
    as_name,
    as_number,
    as_text,
    at,
    is_task,
)
from airflow_provider_kling_avatar.kling.responses.error_codes import (
    KLING_CODES,
    KLING_HAS_NO_SUCH_THING,
    KLING_REFUSES_A_VALUE,
    NO_SUCH_TASK_SLUGS,
    SLUGS,
    meaning_of,
)

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.kling.responses.answer import Answer, Json

_SAID_BY_STATUS = (408, 429, 499)
"""Of these, as of HTTP 5xx, a proxy's web page says no more than the status; any other page is of a wrong route."""
_LONGEST_WAIT = 86400.0
"""Seconds; a longer `Retry-After` is a mistake."""


def read_json(answer: Answer) -> Json:
    """
    Return the JSON object of a good answer.

    :raises KlingError: anything else came: an error of the vendor's, a redirect, a web page, a torn text.
    """
    if 300 <= answer.status < 400:
        target = redact(public_url(answer.headers.get("location", ""))) or "elsewhere"
        error = WrongRouteError(
            f"wrong route: {answer.where} redirects to {target}; "
            "check the connection's host, path_prefix and query_path",
            http_status=answer.status,
        )
        if (
            answer.status == HTTPStatus.SEE_OTHER
        ):  # how a server points to the result of what it has just done
            error.accepted = Accepted.MAYBE
        raise error
    if not isinstance(answer.json, dict):
        raise _no_object(answer)
    if answer.is_error or not _is_ok(answer.layers):
        raise error_in(answer)
    return answer.json


def _no_object(answer: Answer) -> KlingError:
    said_by_status = answer.is_server_error or answer.status in _SAID_BY_STATUS
    if _is_page(answer) and not said_by_status:
        error = WrongRouteError(
            f"wrong route: {answer.where} answered a web page instead of JSON; "
            "check the connection's host, path_prefix and query_path",
            http_status=answer.status,
        )
        if not answer.is_error:  # a page with a good status may hide an accepted request
            error.accepted = Accepted.MAYBE
        return error
    if answer.is_error:
        return error_in(answer)
    return UnreadableAnswerError(
        f"{answer.where} answered {len(answer.body)} bytes that are no JSON object (cut off on the way?)",
        http_status=answer.status,
    )


def _is_page(answer: Answer) -> bool:
    text = answer.body[:2000].decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    return "html" in answer.headers.get("content-type", "").lower() or text.startswith("<")


def unreadable(answer: Answer, what: str, body: Json) -> UnreadableAnswerError:
    """Build the error for a good answer that does not hold what it should."""
    return UnreadableAnswerError(
        f"{answer.where} gave {what}; it has {redact(', '.join(sorted(body)[:20])) or 'nothing'}",
        http_status=answer.status,
        request_id=answer.request_id,
    )


def error_in(answer: Answer, reason: str = "") -> KlingError:
    """Build the error that an answer means; ``reason`` wins over the words found in it."""
    code, message = _code_and_message(answer.layers)
    message = reason or message
    meaning = meaning_of(code, answer.status, message)
    error = meaning.error(
        meaning.text,
        said=redact(message),
        code=redact(code) if isinstance(code, str) else code,
        http_status=answer.status,
        request_id=answer.request_id,
        retry_after=_retry_after(answer),
    )
    is_about_input = isinstance(error, InvalidRequestError)
    if isinstance(error, InvalidRequestError) and "voice" in error.said.lower():
        error.field = "voice_id"
    # Without a code of the vendor's own nobody knows which machine on the way answered, and how far the request came.
    nobody_knows = answer.is_server_error and not isinstance(code, int) and not is_about_input
    if meaning.accepted is not None:
        error.accepted = meaning.accepted
    elif code not in KLING_CODES and (nobody_knows or _may_be_taken(answer, code, message)):
        error.accepted = Accepted.MAYBE
    return error


def _retry_after(answer: Answer) -> float | None:
    """Read `Retry-After` in seconds; a date is measured against the answer's own `Date`."""
    value = answer.headers.get("retry-after", "")
    wait = as_number(value)
    if wait is None:
        try:
            until = parsedate_to_datetime(value) - parsedate_to_datetime(answer.headers.get("date", ""))
        except (TypeError, ValueError, OverflowError):
            return None
        wait = until.total_seconds()
    return min(max(wait, 0.0), _LONGEST_WAIT)


# ------------------------------------------------------------------ no such task

KLINGS_WORDS = "task not found by id/external id"
_UNNAMED = re.compile(rf"(?i){KLINGS_WORDS}\s*:")
"""The part of these words in which no id is meant, whatever somebody has called a task."""
_NO_SUCH_TASK = re.compile(r"(?i)\btask\b.{0,20}\bnot\s+(found|exists?)\b")
_GATEWAYS_WORDS = re.compile(r"(?i)\btask\b.{0,30}\bnot?\b.{0,10}\b(found|exists?)\b")


def about_task(wanted: str | None, error: KlingError, answer: Answer) -> KlingError:
    """
    Return the error as one about the task that was asked for; a `NotFoundError` if Kling says that it has none.

    :param wanted: its id, or our name for it; ``None`` if nothing was asked for.
    """
    if wanted is None:
        return error
    if error.code != KLING_HAS_NO_SUCH_THING and not _says_no_such_task(answer, wanted, error.code):
        return error.about(f"task {redact(wanted)}")
    return NotFoundError(
        f"the vendor has no task {redact(wanted)}: check the id, the connection and the endpoint",
        said=error.said,
        code=error.code if error.code == KLING_HAS_NO_SUCH_THING else KLING_REFUSES_A_VALUE,
        http_status=error.http_status,
        request_id=error.request_id,
    )


def _says_no_such_task(answer: Answer, wanted: str, code: object) -> bool:
    """
    Tell whether these are Kling's words for "no such task", about the one that was asked for.

    Seen live six times in place of the documented 1203: HTTP 400, code 1201, "Task not found by id/external id: X".
    A gateway may lose the code; its own words about a task would be about an id of its own.
    """
    named = re.compile(rf"(?<![\w.:/-]){re.escape(wanted)}(?![\w-]|[.:/]\w)")
    for words in map(_words_of, answer.layers):
        is_said = (
            _NO_SUCH_TASK.search(words) if code == KLING_REFUSES_A_VALUE else KLINGS_WORDS in words.lower()
        )
        if is_said and named.search(_UNNAMED.sub(" ", words)):
            return True
    return False


def missing_is_certain(error: KlingError) -> bool:
    """
    Tell whether "not found" came from Kling itself, which knows a task by its id and by ours.

    A gateway's own word is about the ids it gave itself, and a bare HTTP 404 may mean that it has no such route:
    then nothing is known of a task of our name.
    """
    return isinstance(error, NotFoundError) and error.code in (KLING_REFUSES_A_VALUE, KLING_HAS_NO_SUCH_THING)


def is_no_such_task(seen: object) -> bool:
    """Tell whether "not found" has a code that speaks of a task: Kling's, or a gateway's of the ids it gave itself."""
    return isinstance(seen, NotFoundError) and (missing_is_certain(seen) or seen.code in NO_SUCH_TASK_SLUGS)


def route_is_right(error: KlingError) -> bool:
    """Tell whether "not found" came from something that keeps tasks, in words too, and not from a missing route."""
    return isinstance(error, NotFoundError) and (
        is_no_such_task(error) or bool(_GATEWAYS_WORDS.search(error.said))
    )


# ------------------------------------------------------------------ codes and words


def _code_and_message(layers: list[Json]) -> tuple[int | str | None, str]:
    """Find the code that says most, and the words beside it: a known number, any number, a word; deepest first."""
    message = next((words for layer in layers if (words := _words_of(layer))), "")
    found = [(code, layer) for layer in layers if (code := code_of(layer.get("code"))) is not None]
    if not found:
        kinds = (as_name(layer.get("type")) for layer in layers)
        return next((kind for kind in kinds if kind and "error" in kind), None), message
    code, layer = max(reversed(found), key=lambda each: (each[0] in KLING_CODES, isinstance(each[0], int)))
    return code, (_words_of(layer) if isinstance(code, int) else "") or message


def _words_of(layer: Json) -> str:
    return next((words for key in ("message", "msg", "error") if (words := as_text(layer.get(key)))), "")


def code_of(value: object) -> int | str | None:
    """
    Read a vendor's code: a number of 64 bits, a word, or ``None`` where it says that all is well.

    Airflow's triggerer ends over a larger number, or half a character, in the event of a task.
    """
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        return None
    text = str(value)
    if text.strip().lower() in OK_CODES:
        return None
    try:
        number = int(text)
    except ValueError:
        return redact(text) if isinstance(value, str) else None
    return number if -(2**63) <= number < 2**63 else redact(text)


def _is_ok(layers: list[Json]) -> bool:
    if is_task(layers):
        # A failed task may carry an error of its own; the answer is still good. So is one with a code that nobody
        # knows, such as 202: who calls it a refusal sends the task again.
        code = code_of(layers[0].get("code"))
        is_http_error = isinstance(code, int) and 400 <= code <= 599
        return not (code in KLING_CODES or code in SLUGS or is_http_error)
    has_code = any(code_of(layer.get("code")) is not None for layer in layers)
    return not has_code and not isinstance(layers[0].get("error"), dict)


def _may_be_taken(answer: Answer, code: int | str | None, message: str) -> bool:
    """Tell whether what reads like a refusal holds the id of a task, or, with a good status, says that all is well."""
    if any(_holds_id(layer) or as_name(at(layer, "data", "id")) for layer in answer.layers):
        return True
    if answer.is_error:
        return False
    is_success = isinstance(code, int) and 200 <= code <= 299
    says_success = bool(message) and message.lower() in OK_CODES
    return is_success or says_success or any(as_name(layer.get("id")) for layer in answer.layers[:1])


_ID_OF_A_TASK = re.compile(r"(?i)(task|job|generation|video)[_-]?id")


def _holds_id(value: object, depth: int = MAX_DEPTH) -> bool:
    """Tell whether there is the id of a task in any place, under any of the names that vendors have for it."""
    if depth <= 0 or not isinstance(value, dict | list):
        return False
    if isinstance(value, list):
        return any(_holds_id(item, depth - 1) for item in value)
    return any(
        as_name(item) is not None if _ID_OF_A_TASK.fullmatch(key) else _holds_id(item, depth - 1)
        for key, item in value.items()
    )
