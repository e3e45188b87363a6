"""
The life of one clip in a bad world: Airflow's tries around a strategy, a person where one is needed, and the verdict.

Airflow's part is modelled (retries, clears, a killed process, a frozen one); the vendor is the simulator, and the
verdict is read from its ledger. Knows nothing of how a strategy goes about its work.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from chaos_fates import CLEARED, FINE, GETS, PAID_FATES, STORE_AWAY, TRIGGER_FAILS
from chaos_vendor import BEGINNING, BadLine, Killed, LineClient, config_of, dialect_of, vendor_of

from airflow_provider_kling_avatar.kling.dialects import DIALECTS
from airflow_provider_kling_avatar.kling.errors import (
    KlingError,
    TaskLostError,
    UnaskableSubmissionError,
)
from airflow_provider_kling_avatar.kling.models import AvatarRequest
from airflow_provider_kling_avatar.kling.polling.decide import Finished, PollLimits, Verdict, error_for
from airflow_provider_kling_avatar.kling.polling.wait import wait_for_task
from airflow_provider_kling_avatar.kling.submission.request import Prepared, prepare

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos_fates import Fate, Schedule

    from airflow_provider_kling_avatar.kling.submission.state import OnUnknownSubmission

T = TypeVar("T")

STRATEGIES = ("ours", "ours, no store", "naive", "ResumableJobMixin")
OURS = STRATEGIES[:2]
RETRY_DELAY = 10.0
CLEAR_DELAY = 60.0
"""Seconds until a person has seen a failed task."""
POLL_INTERVAL = 14.0
TIMEOUT = 120.0
MAX_FAILED_POLLS = 3
CHAOS_TRIES = 10
CALM_TRIES = 6
"""Without any fault. A clip that was rejected or waits to be shown needs more than one."""


class Cleared(BaseException):
    """Somebody cleared the task; what the process or the trigger was doing is not waited for."""


class StoreAwayError(Exception):
    """Airflow's state store could not be reached."""


class WaitingEndedError(Exception):
    """Airflow ended a deferral by itself."""


@dataclass(frozen=True, slots=True)
class Try:
    """
    What Airflow tells a try about itself.

    :param number: from 1, never the same again.
    :param max_tries: raised by each clear, so that the task has all its retries again.
    :param asked_anew: the first try of a run or after a clear, as `compat.is_asked_anew` works it out.
    :param policy: set to ``resubmit`` by a person for this one try.
    """

    number: int
    max_tries: int
    asked_anew: bool
    policy: OnUnknownSubmission = "fail"


class Strategy(Protocol):
    """A way to get a clip made."""

    name: str

    def __call__(self, clip: Clip, attempt: Try) -> str:
        """Make one try of it; return the vendor's id of the task whose video was collected."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What the ledger says of one clip.

    :param paid_twice: more tasks were billed that did not fail than clips are wanted.
    :param in_vain: tasks that were billed and whose video nobody got.
    :param lost: a task was billed that nobody got nor heard of, or fewer videos came than are wanted.
    :param clips: tasks that were billed and did not fail.
    :param clears: how often somebody cleared the task.
    :param stops: how often a person had to look into the vendor's console.
    :param unmarked: the first try died before it left its mark, and a person had to look.
    :param billed: US dollars at list price.
    :param wasted: the part of it that was paid in vain.
    """

    paid_twice: bool
    in_vain: int
    lost: bool
    clips: int
    clears: int
    stops: int
    unmarked: bool
    billed: Decimal
    wasted: Decimal

    @property
    def is_bad(self) -> bool:
        """Whether what must never happen did happen."""
        return self.paid_twice or self.lost or self.in_vain > 0


@cache
def prepared_of(api: str, image: str = "https://pictures.test/face.png") -> Prepared:
    """Return the request that all clips of a dialect are made from; by URL, so that nothing is decoded here."""
    request = AvatarRequest(
        image=image,
        audio="https://sounds.test/voice.mp3",
        audio_duration_seconds=6 if api == "generations" else None,
    )
    return prepare(request, DIALECTS[dialect_of(api)])


@dataclass
class Store:
    """What outlives a process: a JSON object, in Airflow's state store."""

    step: Callable[[str], None]
    text: dict[str, str] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        """Return what was stored."""
        self.step(STORE_AWAY)
        return json.loads(self.text[key]) if key in self.text else None

    def set(self, key: str, value: Any) -> None:
        """Store; the process may die just before or just after."""
        self.step(STORE_AWAY)
        self.step("before saving")
        self.text[key] = json.dumps(value)
        self.step("after saving")


class Clip:
    """
    One clip, one Airflow task, one schedule.

    :param schedule: what goes wrong.
    :param strategy: who tries.
    :param tell: gets the story, line by line; ``None`` to be quick.
    """

    def __init__(
        self, schedule: Schedule, strategy: Strategy, tell: Callable[[str], None] | None = None
    ) -> None:
        self.schedule = schedule
        self.prepared = prepared_of(schedule.api)
        self.store = Store(self.step)
        self.kept: Any = None
        """What Airflow keeps of a deferral until a clear: how the task is resumed, and its XComs."""
        self._strategy = strategy
        self._tell = tell
        self._vendor = vendor_of(schedule.api, schedule.duplicates)
        self._posts, self._gets = iter(schedule.posts), iter(schedule.gets)
        self._kills = set(schedule.kills)
        self._come_by: dict[str, int] = {}
        self._underway: list[tuple[float, Callable[[], Any]]] = []
        self._number = 0
        self._max_tries = schedule.retries
        self._policy: OnUnknownSubmission = "fail"
        self._stops = 0
        self._clears = 0
        self._successes = 0
        self._wanted_by_now = 1
        self._got: set[str] = set()
        self._words: list[str] = []
        self._account = ""
        self._paid_from: str | None = None
        """The account to which the last paid call went that may have been taken."""
        self._paid_inputs = self.prepared
        """What such a call asked for."""
        self._is_put_right = False
        self._is_unmarked = False

    # ------------------------------------------------------------ for strategies

    def client(self, *, attempts: int = 3) -> LineClient:
        """Return a client of a fresh process; the triggerer's asks once instead of three times."""
        config = config_of(self.schedule.api, self._account)
        client = LineClient(config, attempts=attempts, sleep=self.sleep)
        client.open_line = lambda: BadLine(self._vendor, self._next_fate, self._later)
        return client

    def now(self) -> float:
        """Return Unix seconds, the same for everybody."""
        return self._vendor.clock.now()

    def sleep(self, seconds: float) -> None:
        """Let time pass; requests that were long underway arrive."""
        until = self.now() + seconds
        arriving = sorted(
            (entry for entry in self._underway if entry[0] <= until), key=lambda entry: entry[0]
        )
        self._underway = [entry for entry in self._underway if entry[0] > until]
        for due, carry_out in arriving:
            self._vendor.clock.advance(max(due - self.now(), 0))
            status, _body = carry_out()
            self.tell(f"a request from before arrives at the vendor only now: HTTP {status}")
        self._vendor.clock.advance(max(until - self.now(), 0))

    def tell(self, line: str) -> None:
        """Tell one line of the story."""
        if self._tell is not None:
            self._tell(f"{self.now() - BEGINNING:7.1f} s  {line}")

    def step(self, name: str) -> None:
        """Come to a step at which the schedule may let something happen."""
        times = self._come_by[name] = self._come_by.get(name, -1) + 1
        if (name, times) not in self._kills:
            return
        if name == STORE_AWAY:
            self.tell("the state store cannot be reached")
            raise StoreAwayError
        if name == TRIGGER_FAILS:
            self.tell(name)
            raise WaitingEndedError(name)
        self.tell("somebody CLEARS the task" if name == CLEARED else f"KILLED: {name}")
        raise Cleared if name == CLEARED else Killed(name)

    def pause(self, seconds: float) -> None:
        """Let time pass in a process that may be killed meanwhile."""
        self.sleep(seconds)
        self.step("waiting")
        self.step(CLEARED)

    def collect(self, task_id: str, *, deferred: bool) -> str:
        """
        Wait for a task and read its video, as operator and trigger do.

        :param deferred: wait in the triggerer, where a kill only means that another one takes over.
        :raises KlingError: the verdict was a bad one.
        """
        deferred = deferred and self.schedule.deferrable
        limits = PollLimits(self.now() + TIMEOUT, POLL_INTERVAL, MAX_FAILED_POLLS)
        if deferred:
            self.step("deferring")
            finished = self.in_triggerer(lambda: self._wait(task_id, limits, attempts=1))
            self.step("resuming")
        else:
            finished = self._wait(task_id, limits)
        if finished.verdict is not Verdict.SUCCEEDED:
            raise error_for(task_id, finished)
        if self.client().get_task(task_id).video is None:
            raise TaskLostError(f"task {task_id} succeeded but the vendor gives no video URL")
        self.step("collected")
        return task_id

    def in_triggerer(self, wait: Callable[[], T]) -> T:
        """
        Wait in a triggerer; if it is killed, another one begins anew.

        :raises WaitingEndedError: Airflow does not let it wait to the end.
        """
        self.step(TRIGGER_FAILS)
        while True:
            try:
                return wait()
            except Killed:
                self.tell("another triggerer takes over")

    def keep(self, attempt: Try, resumption: Any) -> None:
        """Take note of how a try is resumed, if Airflow still listens to it."""
        if attempt.number == self._number:
            self.kept = resumption

    def _wait(self, task_id: str, limits: PollLimits, *, attempts: int = 3) -> Finished:
        client = self.client(attempts=attempts)
        return wait_for_task(lambda: client.get_task(task_id), limits, self, clock=self.now, sleep=self.pause)

    def info(self, event: str, *args: object, **_details: object) -> None:
        """Take a log line of whoever waits or works."""
        if self._tell is not None:
            self.tell(f"    log: {event % args}")

    debug = warning = error = exception = info
    """However bad it sounds."""

    # ------------------------------------------------------------------ the line

    def _next_fate(self, method: str, path: str) -> Fate:
        paid = method == "POST"
        name = next(self._posts if paid else self._gets, FINE.name)
        fate = FINE if name == FINE.name else (PAID_FATES if paid else GETS)[name]
        self.tell(f"{method} {path}: {name}")
        if paid and fate.effect != "never":
            self._paid_from, self._paid_inputs = self._account, self.prepared
        if fate.freezes:
            self.tell("Airflow hears nothing from this try and starts the next one")
            self._one_try()
            self.tell("the frozen try wakes and sends its request")
        return fate

    def _later(self, carry_out: Callable[[], Any]) -> None:
        self._underway.append((self.now() + RETRY_DELAY + 5, carry_out))

    # ------------------------------------------------------------------- Airflow

    def live(self) -> Outcome:
        """Live through the schedule, then through enough calm tries, and be judged."""
        random.seed(self._strategy.name)  # pauses and jitter are the same each time
        self._vendor.open(self.schedule.late_seconds)
        self.tell(f"{self._strategy.name}: {self.schedule}")
        self._try_up_to(CHAOS_TRIES)
        self._posts, self._gets, self._kills = iter(()), iter(()), set()
        self._try_up_to(self._number + CALM_TRIES * self.schedule.wanted)
        return self._judge()

    @property
    def _wants_more(self) -> bool:
        return self._successes < self.schedule.wanted + self.schedule.runs_again

    def _try_up_to(self, most: int) -> None:
        while self._wants_more and self._number < most:
            self._one_try()

    def _one_try(self) -> None:
        first_of_round = self._max_tries - self.schedule.retries + 1  # as compat.is_asked_anew
        self._number += 1
        asked_anew = self._number <= first_of_round
        attempt = Try(self._number, self._max_tries, asked_anew, self._policy)
        self._policy = "fail"  # a person allows one try to take the risk, not those after it
        self._change()
        self.tell(f"TRY {attempt.number}{'' if asked_anew else ', a retry'}")
        result: str | BaseException
        try:
            result = self._strategy(self, attempt)
        except (Killed, Cleared, StoreAwayError, WaitingEndedError, KlingError) as error:
            result = error
        if attempt.number == 1:
            self._is_unmarked = not self.store.text
        if attempt.number != self._number:
            self.tell(f"Airflow no longer listens to try {attempt.number}")
        elif isinstance(result, str):
            self._succeeded(result)
        else:
            self._after(result)

    def _change(self) -> None:
        """Let happen to this try what changes between tries."""
        changing = self.schedule.changing
        if self._is_put_right:
            return
        if changing == "words":
            link = f"https://pictures.test/face.png?md5={self._number}&expires={self._number}"
            self.prepared = prepared_of(self.schedule.api, link)
        elif self._number < self.schedule.changes_at:
            return
        elif changing == "store" and self._number == self.schedule.changes_at:
            self.tell("the store is a new one")
            self.store.text.clear()
        elif changing in ("key", "host"):
            self.tell(f"the connection has another {changing}")
            self._account = changing

    def _succeeded(self, task_id: str) -> None:
        self.tell(f"delivered: task {task_id}")
        self._got.add(task_id)
        self._successes += 1
        self.sleep(CLEAR_DELAY)
        nobody_asks = self.schedule.wanted > 1 and self.schedule.runs_again and self._successes == 1
        if self._wants_more and not nobody_asks:
            self._wanted_by_now = min(self._wanted_by_now + 1, self.schedule.wanted)
            self._clear(0)

    def _after(self, error: BaseException) -> None:
        if isinstance(error, KlingError):
            self.tell(f"the try failed: {type(error).__name__}: {error}")
            self._words.append(str(error))
        if isinstance(error, UnaskableSubmissionError) and self._a_person_finds_it():
            return
        permanent = isinstance(error, KlingError) and error.permanent
        if isinstance(error, Cleared):
            self._clear(RETRY_DELAY)
        elif permanent or self._number > self._max_tries:
            self._clear(CLEAR_DELAY)
        else:
            self.sleep(RETRY_DELAY)

    def _clear(self, delay: float) -> None:
        self._clears += 1
        # A person who was told has put right what had changed: a clear takes what it finds.
        self._account, self.prepared = self._paid_from or "", self._paid_inputs
        self._is_put_right = True
        self._max_tries = self._number + self.schedule.retries
        self.kept = None
        self.sleep(delay)

    def _a_person_finds_it(self) -> bool:
        """Look into the vendor's console, as the error asks: take what is there, or allow one more submission."""
        self._stops += 1
        self.sleep(CLEAR_DELAY)  # whatever is there has ended by then
        there = self._paid()
        if len(there) >= self._wanted_by_now:
            self.tell("a person finds the task in the vendor's console and takes its video by hand")
            self._succeeded(there[-1]["task_id"])
            return True
        self.tell("a person finds no such task in the vendor's console: resubmit")
        self._policy = "resubmit"
        return False

    # ------------------------------------------------------------------ the verdict

    def _paid(self) -> list[dict[str, Any]]:
        """List what the ledger bills and what has not failed."""
        return [entry for entry in self._vendor.ledger.entries() if entry["status"] != "failed"]

    def _judge(self) -> Outcome:
        self.sleep(1000)  # whatever is underway arrives, whatever runs ends
        paid = self._paid()
        in_vain = [entry for entry in paid if entry["task_id"] not in self._got]
        said = "\n".join(self._words)
        unheard = [
            entry
            for entry in in_vain
            if not any(name and name in said for name in (entry["task_id"], entry["external_task_id"]))
        ]
        outcome = Outcome(
            paid_twice=len(paid) > self.schedule.wanted,
            in_vain=len(in_vain),
            lost=bool(unheard) or len(paid) - len(in_vain) < self.schedule.wanted,
            clips=len(paid),
            clears=self._clears,
            stops=self._stops,
            unmarked=self._stops > 0 and self._is_unmarked,
            billed=_dollars(paid),
            wasted=_dollars(in_vain),
        )
        self.tell(f"the ledger: {[(e['task_id'], e['external_task_id'], e['status']) for e in paid]}")
        self.tell(str(outcome))
        return outcome


def _dollars(entries: list[dict[str, Any]]) -> Decimal:
    return sum((Decimal(entry["amount_usd"]) for entry in entries), Decimal(0))
