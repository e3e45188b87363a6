"""
Reads any answer as far as "is it a good one, and if not, what does it mean": the same for every dialect.

Gateways mix the shapes, so codes and words are looked for in every layer of an answer. Whatever the bytes, only our
own errors come out. Knows nothing of transports, nor of what a task looks like beyond telling that there is one.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from airflow_provider_kling_avatar.kling.errors import (
    Accepted,
    InvalidRequestError,
    KlingError,
    NotFoundError,
    UnreadableAnswerError,
    WrongRouteError,
)
from airflow_provider_kling_avatar.kling.redact import public_url, redact
from airflow_provider_kling_avatar.kling.responses.error_codes import (
    KLING_CODES,
    KLING_HAS_NO_SUCH_THING,
    KLING_REFUSES_A_VALUE,
    SLUGS,
    meaning_of,
)
from airflow_provider_kling_avatar.kling.responses.values import (
    as_name,
    as_number,
    as_text,
    at,
    first,
    read_json_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_kling_avatar.kling.responses.values import Json

OK_CODES = frozenset({"", "0", "200", "success", "succeed", "ok", "none"})
"""What `code` says when all is well: 0 at Kling, "success" at new-api, 200 at others."""

VENDOR_SAYS = "; the vendor says: "
"""Between our words and the vendor's."""

_SAID_BY_STATUS = (408, 429, 499)
"""Of these, as of HTTP 5xx, a proxy's web page says no more than the status; any other page is of a wrong route."""

MAX_DEPTH = 4
"""How many `data` a gateway may wrap around Kling's own answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What a transport brought back.

    :param status: HTTP status.
    :param body: the bytes as they came. Not in the repr, nor the headers: vendors repeat keys in them.
    :param headers: names in lower case.
    :param url: where it was asked, for messages.
    """

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
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
            # "See other" is how a server points to the result of what it has just done.
            accepted=Accepted.MAYBE if answer.status == HTTPStatus.SEE_OTHER else None,
        )
    try:
        body = read_json_text(answer.body)
    except (ValueError, RecursionError):
        raise _no_json(answer, where) from None
    if not isinstance(body, dict):
        if answer.is_error:
            raise error_in(answer, [], "")
        raise UnreadableAnswerError(f"{where} answered JSON that is no object", http_status=answer.status)
    layers = layers_of(body)
    if answer.is_error or not _is_ok(body, layers):
        raise error_in(answer, layers, "")
    return body


# ---------------------------------------------------------------------- errors


def _no_json(answer: Answer, where: str) -> KlingError:
    text = answer.body[:2000].decode("utf-8", "replace").lstrip("\ufeff \t\r\n").lower()
    is_page = "html" in answer.headers.get("content-type", "").lower() or text.startswith(
        ("<!doctype", "<html", "<")
    )
    if answer.is_server_error or answer.status in _SAID_BY_STATUS:
        return error_in(answer, [], "")
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
        return error_in(answer, [], "")
    return UnreadableAnswerError(
        f"{where} answered {len(answer.body)} bytes that are not JSON (cut off on the way?)",
        http_status=answer.status,
    )


def error_in(answer: Answer, layers: list[Json], reason: str) -> KlingError:
    """Build the error that an answer means; ``reason`` wins over the words found in it."""
    code, message = _code_and_message(layers)
    message = reason or message
    meaning = meaning_of(code, answer.status, message)
    text = meaning.text
    said = redact(message)
    if said and said.lower() not in text.lower():
        text = f"{text}{VENDOR_SAYS}{said}"
    facts: dict[str, Any] = {
        "code": redact(code) if isinstance(code, str) else code,
        "http_status": answer.status,
        "request_id": request_id_of(answer, layers),
    }
    is_about_input = issubclass(meaning.error, InvalidRequestError)
    if is_about_input:
        facts["field"] = "voice_id" if "voice" in said.lower() else None
    error = meaning.error(text, **facts)
    error.said = said
    error.retry_after = _retry_after(answer)
    # Without a code of the vendor's own nobody knows which machine on the way answered, and how far the request came.
    nobody_knows = answer.is_server_error and not isinstance(code, int) and not is_about_input
    if meaning.accepted is not None:
        error.accepted = meaning.accepted
    elif code not in KLING_CODES and (nobody_knows or _may_be_taken(answer, layers, code, message)):
        error.accepted = Accepted.MAYBE
    return error


@contextmanager
def asked_for(wanted: str | None, answer: Answer) -> Iterator[None]:
    """
    Tell what is wrong with the answer to a question as an error about the task that was asked for.

    :param wanted: its id, or our name for it; ``None`` if nothing was asked for.
    :raises NotFoundError: the vendor says that it has no such task.
    """
    problem = None
    try:
        yield
    except KlingError as error:
        problem = error
    if problem is None:
        return
    if wanted is None:
        raise problem
    if problem.code == KLING_HAS_NO_SUCH_THING or _is_not_there(answer, wanted, problem.code):
        words = problem.message.rpartition(VENDOR_SAYS)[2]
        problem = NotFoundError(
            f"the vendor has no task {redact(wanted)}: check the id, the connection and the endpoint"
            f"{VENDOR_SAYS}{words}",
            code=problem.code if problem.code == KLING_HAS_NO_SUCH_THING else KLING_REFUSES_A_VALUE,
            http_status=problem.http_status,
            request_id=problem.request_id,
        )
        raise problem
    raise problem.about(f"task {redact(wanted)}")


def _is_not_there(answer: Answer, wanted: str, code: object) -> bool:
    """
    Tell whether these are Kling's words for "no such task", about the one that was asked for.

    Seen live six times in place of the documented 1203: HTTP 400, code 1201, "Task not found by id/external id: X".
    A gateway may lose the code; its own words about a task would be about an id of its own.
    """
    try:
        body = read_json_text(answer.body)
    except (ValueError, RecursionError):
        return False
    layers = layers_of(body) if isinstance(body, dict) else []
    named = re.compile(rf"(?<![\w.:/-]){re.escape(wanted)}(?![\w-]|[.:/]\w)")
    for layer in layers:
        words = _words_of(layer)
        is_said = (
            _NO_SUCH_TASK.search(words) if code == KLING_REFUSES_A_VALUE else KLINGS_WORDS in words.lower()
        )
        if is_said and named.search(_UNNAMED.sub(" ", words)):
            return True
    return False


KLINGS_WORDS = "task not found by id/external id"
_UNNAMED = re.compile(rf"(?i){KLINGS_WORDS}\s*:")
"""The part of these words in which no id is meant, whatever somebody has called a task."""
_NO_SUCH_TASK = re.compile(r"(?i)\btask\b.{0,20}\bnot\s+(found|exists?)\b")


def _code_and_message(layers: list[Json]) -> tuple[int | str | None, str]:
    """Find the code that says most, and the words beside it: a known number, any number, a word; deepest first."""
    candidates: list[tuple[int, int | str | None, str]] = []
    message = ""
    for layer in layers:
        words = _words_of(layer)
        message = message or words
        code = code_of(layer.get("code"))
        if isinstance(code, int):
            candidates.append((2 if code in KLING_CODES else 1, code, words or message))
        elif code is not None:
            candidates.append((0, code, words or message))
    if not candidates:
        return next(
            (t for layer in layers if (t := as_name(layer.get("type"))) and "error" in t), None
        ), message
    rank, code, words = max(reversed(candidates), key=lambda candidate: candidate[0])
    return code, words if rank else message


def _words_of(layer: Json) -> str:
    return next((words for key in ("message", "msg", "error") if (words := as_text(layer.get(key)))), "")


def code_of(value: object) -> int | str | None:
    """Read a vendor's code: a number, a word, or ``None`` where it says that all is well."""
    if isinstance(value, bool) or value is None:
        return None
    if str(value).strip().lower() in OK_CODES:
        return None
    try:
        return int(str(value))
    except ValueError:
        return str(value) if isinstance(value, str) else None


def _is_ok(body: Json, layers: list[Json]) -> bool:
    code = code_of(body.get("code"))
    if is_task(layers):
        # A failed task may carry an error of its own; the answer is still good. So is one with a code that nobody
        # knows, such as 202: who calls it a refusal sends the task again.
        return code is None or not (code in KLING_CODES or code in SLUGS or _is_http_error(code))
    if code is not None:
        return False
    return not any(code_of(layer.get("code")) is not None for layer in layers) and not isinstance(
        body.get("error"), dict
    )


def _is_http_error(code: int | str) -> bool:
    return isinstance(code, int) and 400 <= code <= 599


def _may_be_taken(answer: Answer, layers: list[Json], code: int | str | None, message: str) -> bool:
    """Tell whether what reads like a refusal holds the id of a task, or, with a good status, says that all is well."""
    if any(_holds_id(layer) or as_name(at(layer, "data", "id")) for layer in layers):
        return True
    if answer.is_error:
        return False
    is_success = isinstance(code, int) and 200 <= code <= 299
    return (
        is_success
        or (bool(message) and message.lower() in OK_CODES)
        or any(as_name(b.get("id")) for b in layers[:1])
    )


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


def unreadable(answer: Answer, what: str, body: Json) -> UnreadableAnswerError:
    """Build the error for a good answer that does not hold what it should."""
    return UnreadableAnswerError(
        f"{public_url(answer.url) or 'the vendor'} gave {what}; "
        f"it has {redact(', '.join(sorted(body)[:20])) or 'nothing'}",
        http_status=answer.status,
        request_id=request_id_of(answer, layers_of(body)),
    )


_REQUEST_ID_IN_TEXT = re.compile(r"request[ _-]?id:?\s*([\w-]{6,})", re.IGNORECASE)


def request_id_of(answer: Answer, layers: list[Json]) -> str | None:
    """Find the vendor's id of the request: in a field, in the words of a message, or in a header."""
    found = first(layers, ("request_id",), as_name)
    if found:
        return redact(found)
    for layer in layers:
        match = _REQUEST_ID_IN_TEXT.search(as_text(layer.get("message")) or "")
        if match:
            return redact(match.group(1))
    header = answer.headers.get("x-request-id")
    return redact(header) if header else None


_LONGEST_WAIT = 86400.0
"""Seconds; a longer `Retry-After` is a mistake."""


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


# ---------------------------------------------------------------------- layers


def layers_of(body: Json) -> list[Json]:
    """
    Return the objects that may speak of the task, outermost first.

    A gateway wraps Kling's answer in `data` (several deep), in `error`, or as JSON text in one of these or a message.
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
            for key in ("data", "error", "message", "msg"):
                value = item.get(key)
                following.append(_json_in(value) if isinstance(value, str) else value)
        frontier = following
    return found


def _json_in(text: str) -> object:
    if "{" not in text:
        return None
    try:
        return read_json_text(text[text.index("{") : text.rindex("}") + 1])
    except (ValueError, RecursionError):
        return None


def records_of(layers: list[Json]) -> list[Json]:
    """Return the layers that describe the task; the envelope around them only describes the answer."""
    return [layer for layer in layers if not _is_envelope(layer)]


def _is_envelope(layer: Json) -> bool:
    if "data" not in layer or "task_id" in layer:
        return False
    # Some say in `status` that the call went well, where others say how the task stands.
    is_of_the_call = str(layer.get("status")).lower() in OK_CODES and bool(at(layer, "data", "task_status"))
    return "code" in layer or is_of_the_call


def is_task(layers: list[Json]) -> bool:
    """Tell whether any layer speaks of a task."""
    return any(
        as_name(layer.get("task_id"))
        or as_name(layer.get("task_status"))
        or (as_name(layer.get("id")) and "status" in layer)
        for layer in layers
    )
