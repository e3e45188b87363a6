"""Faults on demand: what should go wrong, for which requests, and how often.

It knows the rules a test has laid down and picks the one that applies to a request. It must not know how a
fault is carried out: `gate` breaks connections and answers, `desk` spoils tasks.
"""

from __future__ import annotations

import itertools
import re
import threading
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from airflow_provider_kling_avatar.simulator.dialects import CallName  # noqa: TC001  # pydantic reads it

FaultKind = Literal[
    "drop_before",
    "drop_after",
    "http_error",
    "error_code",
    "slow",
    "html",
    "redirect",
    "truncated_json",
    "cut_body",
    "fail_task",
    "no_url",
    "stuck",
    "unknown_status",
    "not_found",
    "success_code",
    "half_file",
    "empty_file",
    "other_bytes",
    "no_ranges",
]

SPOILS_TASK: Final = frozenset({"fail_task", "stuck", "unknown_status", "no_url"})
"""Kinds that mark the task which the matched request creates."""

NEEDS_DIALECT: Final = SPOILS_TASK | {"error_code", "not_found", "success_code"}
"""Kinds that only the vendor's own routes can carry out: they take its words, or the task."""

_MEANT_FOR: Final[dict[str, CallName]] = {"not_found": "query", "success_code": "create"}
"""Kinds that hit one call unless told otherwise."""

_ON_ANY_ANSWER: Final = frozenset({"no_url"})
"""Kinds that mark a task, and can also spoil one answer about it."""

SPOILS_FILE: Final = frozenset({"half_file", "empty_file", "other_bytes", "no_ranges"})
"""Kinds that spoil a result's download; they hit `/media` unless told otherwise."""

ACCEPTS_FIRST: Final = frozenset({"drop_after", "slow", "truncated_json", "cut_body"}) | SPOILS_FILE
"""Kinds that let the request take effect before anything goes wrong, unless told otherwise."""


# Checked by pydantic, because rules arrive as JSON from tests in any language.
@dataclass(kw_only=True, config={"extra": "forbid"})
class Fault:
    """One rule. Only `kind` is needed."""

    kind: FaultKind
    """What goes wrong:

    - `drop_before`: the request is read, takes no effect, and the connection is closed without an answer
    - `drop_after`: the request takes effect (and is billed), then the same; a client cannot tell them apart
    - `http_error`: a bare HTTP error (`status`, default 502, `message`), as a proxy gives it
    - `error_code`: a vendor's refusal (`code`, default 5000, `message`, `status`) in the dialect's own envelope; a
      text as `code` is the word of a gateway, such as `do_request_failed`
    - `slow`: the request takes effect, the answer comes `seconds` later (`accept: false`: effect comes late too)
    - `html`: an HTML page with `status` (default 502)
    - `redirect`: a 301 to `location`
    - `truncated_json`: a well-formed HTTP answer with half of its text
    - `cut_body`: half of the promised bytes, then the connection is closed
    - `fail_task`: the created task ends `failed`, with `reason` in `task_status_msg`
    - `no_url`: the created task succeeds without a URL; on a GET, that one answer has none
    - `stuck`: the created task never ends
    - `unknown_status`: the created task shows `word` instead of `processing`
    - `not_found`: a query for one task says that there is none, though there is
    - `success_code`: the good answer, usually to a create, has `code` (default 202) for Kling's 0, its content under
      `data`, and HTTP `status` (default 200)
    - `half_file`: a download gives half of the file, announced as the whole
    - `empty_file`: a download gives 0 bytes
    - `other_bytes`: a download gives as many bytes, but not the same
    - `no_ranges`: a download gives all of the file, whatever part was asked for
    """
    method: str | None = None
    """`GET`, `POST`; None: any (for kinds that spoil a task: POST)."""
    path: str | None = None
    """Start of the path, or a regular expression found in it; None: any API call, which leaves out `/media` (for those
    that spoil a file: nothing but `/media`)."""
    call: CallName | None = None
    """What the request wants: `create`, `list` (many tasks) or `query` (one); None: anything."""
    times: Annotated[int, Field(ge=0)] = 1
    """How many requests it hits; 0: every one until it is deleted."""
    skip: Annotated[int, Field(ge=0)] = 0
    """How many matching requests are spared first."""
    accept: bool | None = None
    """Whether the request takes effect although its answer is spoiled; None: as `kind` says."""
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    """HTTP status, for the kinds that answer with one."""
    code: int | str | None = None
    """The vendor's code or a gateway's word, for `error_code` and `success_code`; None: as `kind` says."""
    message: str | None = None
    """Text of the error; None: the table's own."""
    seconds: Annotated[float, Field(ge=0)] = 10.0
    """How late a `slow` answer is."""
    reason: str = "Failure to pass the risk control system"
    """Why a `fail_task` task failed."""
    word: str = "reviewing"
    """The status word of `unknown_status`."""
    location: str = "/"
    """Where a `redirect` points."""
    retry_after: float | None = None
    """Seconds for a Retry-After header, for `http_error` and `error_code`."""
    reset: bool = False
    """Whether a dropped connection is reset (RST) instead of closed (FIN)."""
    fault_id: int = 0
    """Given by the simulator."""
    hits: int = 0
    """How many requests it has hit so far."""

    def __post_init__(self) -> None:
        """Refuse a path that is no regular expression, and to spoil a task where none is created."""
        if self.code is None:
            self.code = 202 if self.kind == "success_code" else 5000
        if self.call in ("list", "query") and self.kind in SPOILS_TASK - _ON_ANY_ANSWER:
            raise ValueError(f"{self.kind} spoils a task as it is created: a {self.call} creates none")
        if self.kind == "not_found" and self.call not in (None, "query"):
            raise ValueError(f"not_found is the answer to a query for one task, not to a {self.call}")
        try:
            re.compile(self.path or "")
        except re.error as error:
            raise ValueError(f"path is not a regular expression: {error}") from error

    @property
    def takes_effect(self) -> bool:
        """Whether the request is carried out before its answer is spoiled."""
        return self.kind in ACCEPTS_FIRST if self.accept is None else self.accept

    def matches(self, method: str, path: str, call: CallName | None) -> bool:
        """Whether a request is one of those meant."""
        wanted = self.method or ("POST" if self.kind in SPOILS_TASK and self.call is None else None)
        if wanted is not None and wanted.upper() != method:
            return False
        wanted_call = self.call or _MEANT_FOR.get(self.kind)
        if wanted_call is not None and wanted_call != call:
            return False
        if self.path is None and self.kind in SPOILS_FILE:
            return path.startswith("/media/")
        if self.path is None:
            # Text-to-speech makes no task that could be spoiled.
            return not path.startswith("/media/") and not (self.kind in SPOILS_TASK and path.endswith("/tts"))
        return path.startswith(self.path) or re.search(self.path, path) is not None


class Faults:
    """The rules in force, oldest first."""

    def __init__(self) -> None:
        """Start without faults."""
        self._rules: list[Fault] = []
        self._lock = threading.Lock()
        self._ids = itertools.count(1)

    def add(self, **rule: Any) -> Fault:
        """Lay down a rule; takes the fields of `Fault`. Raises ValueError or TypeError for what is not one."""
        if not {"fault_id", "hits"}.isdisjoint(rule):
            raise TypeError("fault_id and hits are the simulator's to give")
        if "html_status" in rule:
            rule["status"] = rule.pop("html_status")
        fault = Fault(**rule)
        with self._lock:
            fault.fault_id = next(self._ids)
            self._rules.append(fault)
        return fault

    def take(self, method: str, path: str, call: CallName | None = None) -> Fault | None:
        """Answer the oldest rule that hits this request, and count the hit."""
        with self._lock:
            for fault in self._rules:
                if not fault.matches(method, path, call):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.hits += 1
                if fault.times and fault.hits >= fault.times:
                    self._rules.remove(fault)
                return fault
        return None

    def listing(self) -> list[dict[str, Any]]:
        """Describe the rules still in force."""
        with self._lock:
            return [asdict(fault) for fault in self._rules]

    def clear(self) -> int:
        """Delete all rules and answer how many there were."""
        with self._lock:
            count = len(self._rules)
            self._rules.clear()
        return count
