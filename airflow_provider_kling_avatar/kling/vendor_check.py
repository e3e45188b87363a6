"""
Asks an API for what this package relies on, and tells what it answers: calls that cost nothing, each sent once.

It is for APIs that only their customers can reach. Every answer goes through the package's own readers, so that the
report says how the package would behave. Of an answer it shows codes, words, field names and counts: no key, no task's
id, link or prompt, and nothing that looks like an id of the account. The words and names are the vendor's own.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from airflow_provider_kling_avatar.kling.auth import BACKDATE_SECONDS, SignedKey
from airflow_provider_kling_avatar.kling.calls import MAX_PAGE_SIZE, Call
from airflow_provider_kling_avatar.kling.client import KlingClient
from airflow_provider_kling_avatar.kling.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    KlingError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    UnavailableError,
    WrongRouteError,
    bare,
)
from airflow_provider_kling_avatar.kling.models import TaskState, VideoTask
from airflow_provider_kling_avatar.kling.redact import public_url, redact
from airflow_provider_kling_avatar.kling.responses.answer import as_number, at, dicts
from airflow_provider_kling_avatar.kling.responses.errors import (
    error_in,
    is_no_such_task,
    read_json,
    route_is_right,
)
from airflow_provider_kling_avatar.kling.responses.tasks import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_kling_avatar.kling.config import KlingConfig
    from airflow_provider_kling_avatar.kling.models import EndpointName
    from airflow_provider_kling_avatar.kling.responses.answer import Answer, Json

T = TypeVar("T")

NO_SUCH_ID = "100000000000000000"
"""Of the form of Kling's own ids, from a time long before Kling."""
NO_SUCH_NAME = "kling-avatar-check-of-a-name-that-nobody-has"
COSTS_PATH = "/account/costs"
"""https://klingai.com/document-api/api/assets/account-usage: resource packs, not more often than once in a second."""
COSTS_SECONDS = 90 * 86400
CANNOT_ASK = (ConfigurationError, ConnectionFailedError, ConnectionLostError)
"""If the first question ends so, the others will as well."""
REFUSED = (AuthenticationError, PermissionDeniedError)
"""If the first question ends so, another one tells whether it is the key or this question that is refused."""
ENDPOINTS: tuple[EndpointName, ...] = ("avatar", "image_to_video")
MOST_FIELDS = 60

OK, DIFFERS, MATTERS = "ok", "differs, does not matter", "differs, matters"
"""How an answer and what this package expects go together."""
ABSENT, UNANSWERED = "not there", "not answered"
"""There is no such thing, or too little to look at; there was trouble that may pass."""
MAY_PASS = (ConnectionFailedError, ConnectionLostError, RateLimitedError, UnavailableError)
"""What says nothing of how an API answers."""


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One line of the report.

    :param probe: what was asked.
    :param expected: what this package expects.
    :param seen: what came.
    :param verdict: `OK`, `DIFFERS`, `MATTERS`, `ABSENT` or `UNANSWERED`.
    :param means: what follows from it for this package.
    """

    probe: str
    expected: str
    seen: str
    verdict: str = OK
    means: str = ""


class _Witness(KlingClient):
    """A client that sends once and keeps the answers, without the keys in them, and when they came."""

    def __init__(self, config: KlingConfig) -> None:
        super().__init__(config, attempts=1)
        self.answers: list[tuple[Answer, float]] = []

    def _call(self, call: Call[T], attempts: int | None = None) -> T:
        kept: list[tuple[Answer, float]] = []

        def read(answer: Answer) -> T:
            kept.append((answer.without(self.config.credentials), time.time()))
            return call.read(answer)

        try:
            return super()._call(replace(call, read=read), attempts)
        finally:
            self.answers += kept[-1:]

    def resource_packs(self) -> Json:
        """Ask what was bought and how much is left of it."""
        now = int(time.time())
        span = {"start_time": (now - COSTS_SECONDS) * 1000, "end_time": now * 1000}
        return self._call(Call("GET", self.config.base_url + COSTS_PATH, read_json, params=span))


class VendorCheck:
    """
    Ask one account's API.

    :param config: the account.
    :param on_question: called before each question with what is asked; an answer may take as long as
        `config.read_timeout`.
    """

    def __init__(self, config: KlingConfig, on_question: Callable[[str], object] = lambda _: None) -> None:
        self.config = config
        self._on_question = on_question
        self._client = _Witness(config)
        self._can_be_asked = False
        self._came_from_api: set[bool] = set()
        self._own_id = _NOTHING

    def run(self, task_id: str | None = None) -> list[Finding]:
        """
        Return what was found, line by line.

        :param task_id: a task of the user's own, to be looked at too.
        :raises KlingError: the API cannot be asked at all.
        """
        if task_id:
            forms = {re.escape(form) for form in (task_id, quote(task_id, safe=""))}
            self._own_id = re.compile(rf"(?i)(?<!\w)(?:{'|'.join(forms)})(?!\w)")
        endpoints = [name for name in ENDPOINTS if name in self.config.dialect.endpoints]
        with self._client:
            findings = list(self._of_tasks(endpoints))
            # By now it can be said; the account is asked elsewhere, past any prefix.
            findings = [self._connection(), *findings, self._account()]
            if task_id:
                findings.append(self._own_task(task_id, endpoints))
        return findings

    def _of_tasks(self, endpoints: list[EndpointName]) -> Iterator[Finding]:
        first = self._missing_id(endpoints[0])  # nothing else is worth asking if this cannot be
        yield self._clock()
        yield first
        yield from map(self._missing_id, endpoints[1:])
        yield from map(self._missing_name, endpoints)
        for endpoint in endpoints:
            yield from self._list(endpoint)

    def _ask(
        self, probe: str, question: Callable[..., T], *args: Any, **options: Any
    ) -> tuple[T | KlingError, Answer | None]:
        """
        Return what this package makes of an answer, and the first answer itself, if one came.

        :raises KlingError: no question at all can be asked.
        """
        self._on_question(probe)
        self._client.answers.clear()
        seen: T | KlingError
        try:
            seen = question(*args, **options)
        except KlingError as error:
            seen = bare(error)
        if not self._can_be_asked:
            self._raise_if_in_vain(seen)
            self._can_be_asked = True
        if not isinstance(seen, MAY_PASS):
            is_elsewhere = isinstance(seen, WrongRouteError | NotFoundError) and not route_is_right(seen)
            self._came_from_api.add(not is_elsewhere)
        return seen, self._client.answers[0][0] if self._client.answers else None

    def _raise_if_in_vain(self, seen: object) -> None:
        """
        Raise what all further questions would end in as well.

        :param seen: what came of the first.
        """
        if isinstance(seen, CANNOT_ASK):
            raise seen
        if isinstance(seen, REFUSED) and (problem := self._client.find_problem()):
            raise problem

    def _otherwise(
        self,
        probe: str,
        expected: str,
        answer: Answer | None,
        seen: object,
        means: str,
        verdict: str = MATTERS,
    ) -> Finding:
        """Return a finding about an answer that is not as expected, or, after trouble that may pass, may be so."""
        if isinstance(seen, MAY_PASS):
            verdict, means = UNANSWERED, f"ask again later; if it stays so, {means}"
        return Finding(probe, expected, self._shown(answer, seen), verdict, means)

    # ------------------------------------------------------------------ probes

    def _connection(self) -> Finding:
        config, dialect = self.config, self.config.dialect
        key = "access key and secret key" if isinstance(config.credentials, SignedKey) else "API key"
        where = f"api {dialect.name}, host {public_url(config.base_url)}, prefix {dialect.prefix or 'none'}"
        finding = Finding("connection", "it is answered", f"{where}, {key}")
        if self._came_from_api != {False}:
            return finding
        means = (
            "wrong route: nothing is answered as by this api; check the connection's host, api, path_prefix and "
            "query_path"
        )
        return replace(finding, verdict=MATTERS, means=means)

    def _clock(self) -> Finding:
        """Compare the clocks, which only matter to tokens; and these are signed anew by the vendor's clock."""
        is_signed = isinstance(self.config.credentials, SignedKey)
        no_matter = "an API key depends on no clock"
        probe, expected = "clock", f"Date within {BACKDATE_SECONDS} s of this machine's clock"
        answer, came_at = self._client.answers[0] if self._client.answers else (None, 0.0)
        try:
            date = parsedate_to_datetime(answer.headers.get("date", "") if answer else "")
            ahead = date.timestamp() - came_at
        except (TypeError, ValueError, OverflowError):  # the last: an offset that no clock has
            means = (
                "a token that was refused cannot be signed by the vendor's clock" if is_signed else no_matter
            )
            return Finding(probe, expected, "no Date", ABSENT, means)
        if abs(ahead) <= BACKDATE_SECONDS:
            return Finding(probe, expected, f"within {BACKDATE_SECONDS} s")
        means = "a token from an access key is signed anew by the vendor's clock" if is_signed else no_matter
        return Finding(probe, expected, f"the vendor's clock is {ahead:+.0f} s off", DIFFERS, means)

    def _missing_id(self, endpoint: EndpointName) -> Finding:
        probe, expected = f"a missing id, {endpoint}", "code 1201 in Kling's words, 1203, or a gateway's word"
        seen, answer = self._ask(probe, self._client.get_task, NO_SUCH_ID, endpoint)
        if isinstance(seen, VideoTask):
            means = "an id that nobody has is taken for a task"
            return Finding(probe, expected, self._shown(answer, seen), MATTERS, means)
        waiting, later = is_no_such_task(seen), route_is_right(seen)
        means = f"a missing id is believed: {_yes(waiting)} while waiting, {_yes(later)} by a later try"
        if waiting and later:
            return Finding(probe, expected, self._shown(answer, seen), OK, means)
        return self._otherwise(probe, expected, answer, seen, means)

    def _missing_name(self, endpoint: EndpointName) -> Finding:
        probe, by_name = f"a missing name, {endpoint}", self._client.may_ask_by_name(NO_SUCH_NAME)
        if not by_name and not self.config.dialect.endpoints[endpoint].list_path:
            means = "nobody can be asked what became of a lost answer: on_unknown_submission decides"
            return Finding(probe, "this api has no names and no list", "not asked", ABSENT, means)
        expected = "code 1201 in Kling's words, or 1203" if by_name else "a list that does not show it"
        seen, answer = self._ask(probe, self._client.find_task, NO_SUCH_NAME, endpoint)
        by_list = not by_name or len(self._client.answers) > 1
        if seen is None:
            means = f"a missing name is believed: yes{', since the list does not show it' if by_list else ''}"
            return Finding(
                probe, expected, self._shown(answer), DIFFERS if by_name and by_list else OK, means
            )
        means = "a name that nobody has is taken for that of a task"
        if isinstance(seen, KlingError):
            # The message of the first may hold the path of a redirect; those of the others say no more than was seen.
            is_told = isinstance(seen, (WrongRouteError, *MAY_PASS))
            reason = "" if is_told else f": {self._masked(seen.message)}"
            means = (
                "a missing name is believed: no. After a lost answer a later try stops, unless on_unknown_submission "
                f"allows more ({type(seen).__name__}{reason})"
            )
        return self._otherwise(probe, expected, answer, seen, means)

    def _list(self, endpoint: EndpointName) -> Iterator[Finding]:
        probe, expected = f"list, {endpoint}", "rows that are tasks"
        if not self.config.dialect.endpoints[endpoint].list_path:
            yield Finding(probe, "none", "not asked", ABSENT, "tasks are asked for one by one")
            return
        tasks, answer = self._ask(probe, self._client.list_tasks, endpoint, page_size=MAX_PAGE_SIZE)
        if isinstance(tasks, KlingError) or answer is None:
            means = "tasks are asked for one by one"
            if isinstance(tasks, WrongRouteError | NotFoundError) and True in self._came_from_api:
                means += "; set list_path to false to spare the question"
            yield self._otherwise(probe, expected, answer, tasks, means)
            return
        rows = rows_of(read_json(answer)) or []
        unread = len(rows) - len(tasks)
        shown = f"HTTP {answer.status}, {len(rows)} rows of {self._fields(dicts(rows)) or 'nothing'}"
        yield Finding(
            probe,
            expected,
            shown,
            MATTERS if unread else OK,
            f"{unread} rows cannot be read" if unread else "",
        )
        yield _order(f"order of the list, {endpoint}", tasks)
        yield self._pages(endpoint, len(tasks))
        yield self._states(f"tasks in the list, {endpoint}", tasks)

    def _pages(self, endpoint: EndpointName, count: int) -> Finding:
        probe, expected = (
            f"pages of the list, {endpoint}",
            "2 rows where pageSize is 2, others where pageNum is 2",
        )
        if count <= 2:
            return Finding(probe, expected, f"{count} tasks: too few", ABSENT)
        first, answer = self._ask(probe, self._client.list_tasks, endpoint, page_size=2)
        if not isinstance(first, KlingError):
            second, answer = self._ask(probe, self._client.list_tasks, endpoint, page=2, page_size=2)
        if isinstance(first, KlingError) or isinstance(second, KlingError):
            means = "only one page of the list can be read"
            problem = first if isinstance(first, KlingError) else second
            return self._otherwise(probe, expected, answer, problem, means)
        shown = f"{len(first)} rows, then {len(second)}"
        if [task.task_id for task in first] == [task.task_id for task in second]:
            means = "pageNum is ignored: whether a clip is missing cannot be told by the list"
            return Finding(probe, expected, f"{shown}, the same ones", MATTERS, means)
        if len(first) != 2:
            return Finding(probe, expected, shown, DIFFERS, "pages are read until no more comes")
        return Finding(probe, expected, shown)

    def _account(self) -> Finding:
        probe, expected = "resource packs", "packs with a state"
        if not self.config.dialect.regions:
            return Finding(probe, "none", "not asked: only Kling itself has them", ABSENT)
        seen, answer = self._ask(probe, self._client.resource_packs)
        packs = dicts(at(seen, "data", "resource_pack_subscribe_infos")) if isinstance(seen, dict) else []
        if not packs:
            means = "what is left of the account is not told"
            return self._otherwise(probe, expected, answer, seen, means, DIFFERS)
        states = Counter(self._masked(pack.get("status")) for pack in packs)
        slots = {
            size for pack in packs for size in re.findall(r"\d+Con\b", str(pack.get("resource_pack_name")))
        }
        left = sum((as_number(pack.get("remaining_quantity")) or 0) > 0 for pack in packs)
        shown = (
            f"{_counted(states)}; with something left: {left} of {len(packs)}; "
            f"slots by name: {', '.join(sorted(slots)) or 'none'}; {self._fields(packs)}"
        )
        means = "a balance in money is not asked for: Kling tells it only in answer to a POST"
        return Finding(probe, expected, shown, means=means)

    def _own_task(self, task_id: str, endpoints: list[EndpointName]) -> Finding:
        probe, expected = "own task", "a known state; with a link if it succeeded"
        for endpoint in endpoints:
            seen, answer = self._ask(probe, self._client.get_task, task_id, endpoint)
            if isinstance(seen, VideoTask):
                shown = f"{endpoint}: {self._task_counts([seen])}; {self._fields(answer.layers[-1:] if answer else [])}"
                is_odd = seen.state is TaskState.UNKNOWN or (
                    seen.state is TaskState.SUCCEEDED and not seen.video
                )
                means = "it is waited for until the deadline" if is_odd else ""
                return Finding(probe, expected, shown, MATTERS if is_odd else OK, means)
        return self._otherwise(probe, expected, answer, seen, "it cannot be asked for")

    def _states(self, probe: str, tasks: list[VideoTask]) -> Finding:
        expected = "known states; a link and a duration if succeeded"
        if not tasks:
            return Finding(probe, expected, "no tasks", ABSENT)
        unknown = {task.status for task in tasks if task.state is TaskState.UNKNOWN}
        if unknown:
            means = f"waited for until the deadline: {self._masked(', '.join(sorted(unknown)))}"
            return Finding(probe, expected, self._task_counts(tasks), MATTERS, means)
        done = [task.video for task in tasks if task.state is TaskState.SUCCEEDED]
        if all(video and video.duration is not None for video in done):
            return Finding(probe, expected, self._task_counts(tasks))
        return Finding(
            probe, expected, self._task_counts(tasks), DIFFERS, "such a task is asked for by itself"
        )

    # ------------------------------------------------------------------ what may be shown

    def _task_counts(self, tasks: list[VideoTask]) -> str:
        """Say how tasks stand and what they tell, as this package reads it, in numbers."""
        states = Counter(f"{self._masked(task.status) or 'no state'} ({task.state.value})" for task in tasks)
        done = [task for task in tasks if task.state is TaskState.SUCCEEDED]
        lengths = [task for task in done if task.video and task.video.duration is not None]
        return (
            f"{_counted(states)}; with a name: {sum(bool(task.external_task_id) for task in tasks)}; "
            f"succeeded with link {sum(bool(task.video) for task in done)}, duration {len(lengths)}, "
            f"units {sum(task.units is not None for task in done)} of {len(done)}"
        )

    def _shown(self, answer: Answer | None, seen: object = None) -> str:
        """Say what came, and what this package reads from it."""
        if answer is None:
            return self._masked(seen)
        parts = [f"HTTP {answer.status}"]
        if target := answer.headers.get("location"):
            site = _SITE.match(target)
            parts.append(f"to {self._masked(site[0])}" if site else "to another path")
        if isinstance(answer.json, dict):
            error = error_in(answer)
            parts.append(
                self._fields([answer.json], 0) if error.code is None else f"code {self._masked(error.code)}"
            )
            parts += [f'"{self._masked(error.said)}"'] if error.said else []
        else:
            kind = answer.headers.get("content-type", "no type").partition(";")[0]
            parts.append(f"{len(answer.body)} bytes of {self._masked(kind)}")
        if isinstance(seen, VideoTask):
            parts.append(f"read as a task that is {seen.state.value}")
        elif isinstance(seen, KlingError):
            parts.append(f"read as {type(seen).__name__}")
        return ", ".join(parts)

    def _fields(self, records: list[Json], depth: int = 3) -> str:
        """Name the fields of some objects, also those inside, with the types of their values."""
        kinds: dict[str, set[str]] = {}
        for record in records:
            _collect(record, "", kinds, depth)
        return ", ".join(
            f"{self._masked(name)} {'/'.join(sorted(kinds[name]))}" for name in list(kinds)[:MOST_FIELDS]
        )

    def _masked(self, text: object) -> str:
        """Return words of the vendor's as `_masked` does, also without the id that is the user's own."""
        return _masked(self._own_id.sub("[id]", str(text)))


# ---------------------------------------------------------------------- readings of a list


def _order(probe: str, tasks: list[VideoTask]) -> Finding:
    made = [task.created_at for task in tasks if task.created_at is not None]
    if len(set(made)) < 2:
        return Finding(probe, "newest first", "too few tasks with different times", ABSENT)
    if made == sorted(made, reverse=True):
        return Finding(probe, "newest first", "newest first")
    shown = "oldest first" if made == sorted(made) else "in no order of time"
    return Finding(probe, "newest first", shown, MATTERS, "new tasks may be looked for in vain")


# ---------------------------------------------------------------------- what may be shown


_IDS = (
    re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"),
    re.compile(r"\w+(?:[*•]{2,}|\.{3,}|…)\w+|\w+[*•]{2,}|[*•]{2,}\w+"),
    re.compile(r"(?i)\b(?:user|account|uid|token|org\w*|group)(?:[\s_-]*id)?[\s:=#'\"\[(]*[\w.-]*\d[\w.-]*"),
    re.compile(r"(?=[\w-]*\d)[\w-]{12,}|\d{5,}"),
)
"""
What may be somebody's: an address of mail, a key with its middle left out, what follows such a word, and what is long
and has digits in it.
"""
_SITE = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s/?#@,;)\"'<>]+)[^\s,;)\"'<>]*")
_NOTHING = re.compile(r"(?!)")
"""Found nowhere."""
_NO_TAGS = str.maketrans("<>", "[]")
"""Where a report is pasted as Markdown, what looks like a tag is not shown."""


def words_of(error: KlingError) -> str:
    """Return what an error says, with what may be somebody's left out of the vendor's words in it."""
    return str(error).replace(error.said, _masked(error.said)) if error.said else str(error)


def _masked(text: object) -> str:
    """Return words of the vendor's without secrets and ids; of a URL only scheme and host."""
    parts = _SITE.split(redact(text))
    parts[::2] = map(_without_ids, parts[::2])  # between them are the hosts, whose ports are no ids
    return "".join(parts).translate(_NO_TAGS)


def _without_ids(text: str) -> str:
    for pattern in _IDS:
        text = pattern.sub("[id]", text)
    return text


def _collect(record: Json, within: str, kinds: dict[str, set[str]], depth: int) -> None:
    for key, value in record.items():
        rows = dicts([value]) or dicts(value)
        name = f"{within}{key}{'[]' if isinstance(value, list) else ''}"
        if depth and rows and rows[0]:
            _collect(rows[0], f"{name}.", kinds, depth - 1)
        else:
            kinds.setdefault(name, set()).add(_KINDS.get(type(value), "number"))


_KINDS = {str: "text", bool: "boolean", dict: "object", list: "list", type(None): "null"}


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.most_common(8))


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"
