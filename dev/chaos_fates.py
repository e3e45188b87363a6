"""
What can go wrong, as data: a schedule says what becomes of each request and at which steps a process is killed.

A schedule is made from a dialect and a seed, so that any line of a table can be run again. Knows nothing of how a
fate is carried out or of who meets it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow_provider_kling_avatar.simulator.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_kling_avatar.simulator.settings import DuplicatePolicy

Ending = Literal[
    "answer",
    "killed",
    "no connection",
    "no tunnel",
    "dropped",
    "dropped by proxy",
    "silence",
    "half",
    "cut",
    "proxy",
    "page",
]


@dataclass(frozen=True, slots=True)
class Fate:
    """
    What becomes of one request.

    :param effect: when the vendor carries it out; ``later`` is after the client has given up.
    :param ending: what the client gets.
    :param fault: for the simulator to carry out: its own refusal, or a task that will fail.
    :param status: HTTP status of a proxy's own answer.
    :param freezes: the worker stands still before the request leaves, and Airflow starts the next try meanwhile.
    """

    name: str
    effect: Literal["now", "later", "never"]
    ending: Ending
    fault: Fault | None = None
    status: int = 502
    freezes: bool = False


FINE: Final = Fate("arrives", "now", "answer")


def _table(*fates: Fate) -> dict[str, Fate]:
    return {fate.name: fate for fate in fates}


def _code(code: int, *, accept: bool = False) -> Fate:
    name = f"code {code}{' though taken' if accept else ''}"
    return Fate(name, "now", "answer", Fault(kind="error_code", code=code, accept=accept))


_TROUBLE = Fault(kind="fail_task", reason="render node lost")
_NO_SLOT = Fault(kind="fail_task", reason="parallel task over resource pack limit")
_REJECTED = Fault(kind="fail_task", reason="Failure to pass the risk control system")

POSTS: Final = _table(
    Fate("connection refused", "never", "no connection"),
    Fate("dropped", "never", "dropped"),
    Fate("dropped though taken", "now", "dropped"),
    Fate("time-out", "never", "silence"),
    Fate("time-out though taken", "now", "silence"),
    Fate("502", "never", "proxy"),
    Fate("502 though taken", "now", "proxy"),
    Fate("html", "never", "page"),
    Fate("html though taken", "now", "page"),
    Fate("half an answer", "now", "half"),
    Fate("answer cut off", "now", "cut"),
    Fate("killed before sending", "never", "killed"),
    Fate("killed before the answer", "now", "killed"),
    Fate("task fails", "now", "answer", _TROUBLE),
    Fate("task fails, dropped", "now", "dropped", _TROUBLE),
    Fate("task rejected", "now", "answer", _REJECTED),
    Fate("task fails for want of a slot", "now", "answer", _NO_SLOT),
    *(_code(code) for code in (1302, 1303, 5000, 5001, 5002)),
    *(_code(code, accept=True) for code in (5000, 5001, 5002)),
)
"""For the paid call, on every API."""

LATE_POSTS: Final = _table(
    Fate("time-out, taken later", "later", "silence"),
    Fate("time-out, taken later, task fails", "later", "silence", _TROUBLE),
    Fate("frozen while the next try runs", "now", "answer", freezes=True),
)
"""Further, where there are names. Where the vendor does not refuse a taken one, nobody could be safe from these."""
NAMED_POSTS: Final = POSTS | LATE_POSTS

_TAKEN_IN_NEW_WORDS: Final = tuple(
    Fate(f"{name} though taken", "now", "answer", Fault(kind=kind, accept=True, **words))  # type: ignore[arg-type]
    for name, kind, words in (
        ("code 202", "success_code", {"code": 202}),
        ("code 10000", "success_code", {"code": 10000}),
        ("do_request_failed", "error_code", {"code": "do_request_failed", "status": 400}),
        ("read_response_body_failed", "error_code", {"code": "read_response_body_failed", "status": 429}),
    )
)
CHANGED_POSTS: Final = _table(
    *(fate for name, fate in POSTS.items() if "though taken" in name or "killed" in name),
    Fate("proxy down", "never", "no tunnel"),
    Fate("dropped behind a proxy", "never", "dropped by proxy"),
    Fate("dropped behind a proxy though taken", "now", "dropped by proxy"),
    Fate("303 though taken", "now", "proxy", status=303),
    *_TAKEN_IN_NEW_WORDS,
)
"""Where something changes between tries: what a proxy and a gateway of other words make of the paid call."""
PAID_FATES: Final = NAMED_POSTS | CHANGED_POSTS

GETS: Final = _table(
    Fate("connection refused", "never", "no connection"),
    Fate("dropped", "never", "dropped"),
    Fate("time-out", "never", "silence"),
    Fate("502", "never", "proxy"),
    Fate("404 of a proxy", "never", "proxy", status=404),
    Fate("html", "never", "page"),
    Fate("half an answer", "now", "half"),
    Fate("answer cut off", "now", "cut"),
    Fate("without its URL", "now", "answer", Fault(kind="no_url")),
    Fate("killed before sending", "never", "killed"),
    Fate("killed before the answer", "now", "killed"),
    *(_code(code) for code in (1302, 5000, 5001, 5002)),
)
"""For questions."""

STORE_AWAY: Final = "store cannot be reached"
"""Not a kill: Airflow's state store refuses to be read or written this time."""
STEPS: Final = (
    STORE_AWAY,
    "before saving",
    "after saving",
    "submitted",
    "id in XCom",
    "deferring",
    "waiting",
    "resuming",
    "collected",
)
"""Where something may happen to a process between its requests; it is killed, unless said otherwise."""
TRIGGER_FAILS: Final = "Airflow ends the waiting"
"""Not a kill: Airflow's own time-out for a deferral, or a triggerer that cannot run the trigger; fails the try."""
CLEARED: Final = "cleared while waiting"
"""Somebody clears the task while it waits: its trigger is gone and the next try starts."""

LATE_SECONDS: Final = (0.0, 3.0, 45.0)
"""How long a new task cannot be seen by its name: not at all, less than one try looks for it, longer than that."""

NAMED: Final = ("kling", "kling-broadcast", "cometapi", "relay")
APIS: Final = (*NAMED, "generations")
FORGETFUL: Final = "relay-v3"
"""A relay that takes a name only once, but finds no task by it and lists none."""
ACCEPT: Final = "-accept"
CHANGES: Final = "-changes"
CHANGING: Final = tuple(f"{api}{CHANGES}" for api in APIS)
"""The same APIs behind proxies, while account, store or links of the inputs change between tries."""
Changing = Literal["key", "host", "store", "words", ""]
"""What does, from the second or third try on: another key or host until somebody clears the task and puts it right, a
store that is new, or a link that is signed anew in each try."""
ACCEPTING: Final = ("kling-broadcast-accept", "relay-accept")
"""The same schedules for the vendors whose pages do not say that a name is unique, with one who takes it twice."""


@dataclass(frozen=True)
class Schedule:
    """
    One story to be lived through.

    :param api: name of the dialect.
    :param posts: fate of each POST in turn; those after the last are fine.
    :param gets: fate of each GET in turn.
    :param kills: ``(step, n)``: the process is killed when it comes to the step for the n-th time, from 0.
    :param retries: of the Airflow task, until a person clears it.
    :param deferrable: wait in the triggerer; a kill while waiting hits the triggerer then.
    :param duplicates: what a taken name gets.
    :param late_seconds: how long a new task cannot be found by its name.
    :param keeps_event: as in Airflow 3.0, a retry is resumed with the event of the try before, instead of executed.
    :param runs_again: Airflow runs the task again though it has succeeded: nobody wants a second clip.
    :param changing: what changes between tries.
    :param changes_at: the number of the try from which on it does.
    :param wanted: clips that are wanted in all: after each but the last somebody clears the task, with
        ``on_rerun="regenerate"``. A `runs_again` is then a try that nobody asked for.
    """

    api: str
    posts: tuple[str, ...] = ()
    gets: tuple[str, ...] = ()
    kills: tuple[tuple[str, int], ...] = ()
    retries: int = 2
    deferrable: bool = True
    duplicates: DuplicatePolicy = "refuse"
    late_seconds: float = 0.0
    keeps_event: bool = False
    runs_again: bool = False
    changing: Changing = ""
    changes_at: int = 2
    wanted: int = 1

    def calmer(self) -> Iterator[Schedule]:
        """Yield the same with one trouble less, once for each trouble."""
        for kind in ("posts", "gets"):
            fates = getattr(self, kind)
            for index, name in enumerate(fates):
                if name != FINE.name:
                    yield self._but(kind, _calm(fates, index))
        for kill in self.kills:
            yield replace(self, kills=tuple(other for other in self.kills if other != kill))
        plain = Schedule(self.api)
        for name in (
            "retries",
            "deferrable",
            "duplicates",
            "late_seconds",
            "keeps_event",
            "runs_again",
            "changing",
        ):
            if getattr(self, name) != getattr(plain, name):
                yield self._but(name, getattr(plain, name))

    def _but(self, name: str, value: Any) -> Schedule:
        return replace(self, **{name: value})


def _calm(fates: tuple[str, ...], index: int) -> tuple[str, ...]:
    calmer = [FINE.name if at == index else name for at, name in enumerate(fates)]
    while calmer and calmer[-1] == FINE.name:
        calmer.pop()
    return tuple(calmer)


def schedule_of(api: str, seed: int) -> Schedule:
    """Return the schedule with a number: always the same one."""
    if api.endswith(CHANGES):
        return draw_changes(api.removesuffix(CHANGES), random.Random(f"{api} {seed}"))
    strict = api.removesuffix(ACCEPT)
    schedule = draw(strict, random.Random(f"{strict} {seed}"))
    return schedule if api == strict else replace(schedule, duplicates="accept")


def draw_changes(api: str, dice: random.Random) -> Schedule:
    """Throw the dice for one schedule in which something changes between tries."""
    return replace(
        draw(api, dice),
        posts=_fates(dice, CHANGED_POSTS, most=4, share=0.7),
        late_seconds=0.0,
        changing=dice.choice(("key", "host", "store", "words", "")),
        changes_at=dice.choice((2, 2, 3)),
    )


def draw(api: str, dice: random.Random) -> Schedule:
    """Throw the dice for one schedule."""
    named = api in (*NAMED, FORGETFUL)
    posts = NAMED_POSTS if named else POSTS
    return Schedule(
        api,
        posts=_fates(dice, posts, most=5, share=0.6),
        gets=_fates(dice, GETS, most=12, share=0.3),
        kills=tuple(
            sorted(
                {
                    (dice.choice((*STEPS, CLEARED, TRIGGER_FAILS)), dice.randrange(3))
                    for _ in range(dice.randrange(4))
                }
            )
        ),
        retries=dice.randrange(4),
        deferrable=dice.random() < 0.7,
        duplicates=dice.choice(("refuse", "return-first")) if named else "refuse",
        late_seconds=dice.choice(LATE_SECONDS) if named else 0.0,
        runs_again=dice.random() < 0.1,
        keeps_event=dice.random() < 0.2,
    )


def _fates(dice: random.Random, table: dict[str, Fate], *, most: int, share: float) -> tuple[str, ...]:
    """Throw the dice for a row of fates; a trouble often lasts as long as a client has patience."""
    names, row = list(table), list[str]()
    length = dice.randrange(most + 1)
    while len(row) < length:
        trouble = dice.random() < share
        row += [dice.choice(names)] * dice.choice((1, 1, 1, 3)) if trouble else [FINE.name]
    return tuple(row)


def smallest(schedule: Schedule, is_bad: Callable[[Schedule], bool]) -> Schedule:
    """Return a bad schedule without any trouble that it can do without and still be bad."""
    for calmer in schedule.calmer():
        if is_bad(calmer):
            return smallest(calmer, is_bad)
    return schedule
