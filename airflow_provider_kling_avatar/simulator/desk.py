"""The clerk: takes an order, checks it as the vendor would, books it, and later tells how it stands.

It knows what becomes of a request. It must not know HTTP, nor what a vendor's fields and answers are called.
Everything it refuses is a `Refusal`; whatever it accepts is on disk before it returns.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_kling_avatar.simulator.faults import SPOILS_TASK
from airflow_provider_kling_avatar.simulator.ledger import plain
from airflow_provider_kling_avatar.simulator.lifecycle import SUBMITTED, State, TaskView, state_at, view_of
from airflow_provider_kling_avatar.simulator.lists import Lists
from airflow_provider_kling_avatar.simulator.media import audio_seconds, check_length
from airflow_provider_kling_avatar.simulator.refusals import NoSuchTask, Refusal
from airflow_provider_kling_avatar.simulator.speech import speak
from airflow_provider_kling_avatar.simulator.store import TaskRow

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.simulator.clock import Clock
    from airflow_provider_kling_avatar.simulator.dialects.base import Dialect, Job, Speech
    from airflow_provider_kling_avatar.simulator.faults import Fault
    from airflow_provider_kling_avatar.simulator.links import Links
    from airflow_provider_kling_avatar.simulator.media import MediaCupboard
    from airflow_provider_kling_avatar.simulator.settings import SimulatorSettings
    from airflow_provider_kling_avatar.simulator.store import Store

_AUDIO_ID_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class Order:
    """A request that was recognised: who wants what, through which API."""

    dialect: Dialect
    endpoint: str
    account: str
    body: dict[str, Any]
    base_url: str
    """How the caller addressed the simulator."""
    fault: Fault | None = None
    """What is to go wrong with the task, if anything."""


class Desk:
    """Books tasks and tells how they stand."""

    def __init__(
        self, settings: SimulatorSettings, store: Store, clock: Clock, cupboard: MediaCupboard, links: Links
    ) -> None:
        """Work with these; nothing is kept here but how lists differ from the truth."""
        self.lists = Lists(settings)
        self._settings = settings
        self._store = store
        self._clock = clock
        self._cupboard = cupboard
        self._links = links

    def accept(self, order: Order) -> TaskView:
        """Check an order and book it, or raise a Refusal."""
        # The official samples send "" for fields they do not use.
        body = {name: value for name, value in order.body.items() if value != ""}
        _check_prompt(order, body)
        rules = order.dialect.contracts[order.endpoint]
        rules.check(body)
        order = replace(order, body=rules.known(body))
        taken = {field.name: self._cupboard.take(field) for field in rules.media(body)}
        row = self._row(order, taken)
        booked = self._book(row)
        view = self.look_at(booked, order.base_url)
        if booked is not row or order.endpoint == "speech":
            return view
        # However fast the clock is set, nobody ever saw a create answer with anything else.
        return replace(view, state=State(SUBMITTED, row.created_at, 0), url=None, watermark_url=None)

    def find(self, dialect: Dialect, endpoint: str, account: str, wanted: str) -> TaskRow:
        """Find an account's task by its id or, where the API allows, by the caller's own."""
        row = self._store.by_id(wanted)
        rows = [row] if row is not None else []
        if dialect.queries_by_external_id:
            rows += self._store.by_external_id(account, wanted)
        mine = (account, dialect.desk, endpoint)
        for row in rows:
            if (row.account, row.desk, row.endpoint) == mine:
                return row
        raise self.no_such_task(wanted)

    def no_such_task(self, wanted: str) -> NoSuchTask:
        """Word that there is no task with this id, the vendor's or the caller's."""
        return NoSuchTask(wanted, self._settings.not_found)

    def page(self, dialect: Dialect, endpoint: str, account: str, number: int, size: int) -> list[TaskRow]:
        """List one page (counted from 1) of an account's tasks, newest first, as far as lists show them."""
        shown = self.lists.view
        size = min(size, shown.page_cap)
        return self._store.page(
            dialect.desk,
            endpoint,
            account=None if shown.everybody else account,
            until=self._clock.now() - shown.lag_seconds,
            hidden=shown.hidden,
            skip=(number - 1) * size,
            size=size,
        )

    def look_at(
        self, row: TaskRow, base_url: str, *, with_url: bool = True, lag_seconds: float = 0.0
    ) -> TaskView:
        """See how a task stands now, or stood `lag_seconds` ago, with links that start with `base_url`."""
        link = partial(self._links.make, base_url)
        moment = self._clock.now() - lag_seconds
        return view_of(row, moment, self._settings.url_ttl_seconds, link, with_url=with_url)

    def _book(self, row: TaskRow) -> TaskRow:
        """Store the row, unless its id is taken or the account has no slot left."""
        with self._store.exclusive():
            policy = self._settings.duplicate_external_id
            if row.external_task_id is not None and policy != "accept":
                # Names are unique in the account, whatever the endpoint.
                taken = self._store.by_external_id(row.account, row.external_task_id)
                if taken and policy == "return-first":
                    return taken[0]
                if taken:
                    raise Refusal(1201, f"External_task_id {row.external_task_id} already exists")
            if row.endpoint != "speech" and self.slots_taken(row.account) >= self._settings.slots:
                raise Refusal(1303)
            self._store.add(row)
        return row

    def slots_taken(self, account: str) -> int:
        """Count an account's video tasks that have not ended."""
        now = self._clock.now()
        rows = self._store.of_account(account)
        return sum(r.endpoint != "speech" and not state_at(r, now).is_final for r in rows)

    def _audio(
        self, job: Job, account: str, taken: dict[str, tuple[str, Decimal]]
    ) -> tuple[str, Decimal] | None:
        """Find the audio and its seconds: sent along, made earlier, or to be spoken now; None: a silent film."""
        if job.audio in taken:
            return taken[job.audio]
        if job.speech is not None:
            return self._say(job.speech)
        if job.audio_id is None:
            return None
        row = self._store.by_id(job.audio_id)
        if row is None or row.endpoint != "speech" or row.account != account or row.audio is None:
            raise Refusal(1201, f"audio_id not found: {job.audio_id[:100]}")
        if self._clock.now() - row.created_at > _AUDIO_ID_SECONDS:
            raise Refusal(1201, f"audio_id has expired: {job.audio_id}")
        seconds = Decimal(row.seconds)
        check_length("audio_id", seconds, job.audio_limits)
        return row.audio, seconds

    def _say(self, speech: Speech) -> tuple[str, Decimal]:
        draft = self._cupboard.folder / f"{secrets.token_hex(8)}.partial"
        try:
            speak(speech.text, draft, language=speech.language, speed=speech.speed)
            seconds = audio_seconds(draft)[1]
            return self._cupboard.keep(draft.read_bytes(), ".mp3"), seconds
        finally:
            draft.unlink(missing_ok=True)

    def _row(self, order: Order, taken: dict[str, tuple[str, Decimal]]) -> TaskRow:
        """Write down what was ordered, with what it needs and what it costs."""
        job = order.dialect.job(order.endpoint, order.body)
        audio, seconds = self._audio(job, order.account, taken) or (None, job.seconds or Decimal(0))
        body, fault, now = order.body, order.fault, self._clock.now()
        outcome, note = "succeed", ""
        if fault is not None and fault.kind in SPOILS_TASK:
            outcome = "failed" if fault.kind == "fail_task" else fault.kind
            note = {"fail_task": fault.reason, "unknown_status": fault.word}.get(fault.kind, "")
        is_speech = order.endpoint == "speech"
        return TaskRow(
            task_id=order.dialect.new_task_id(now),
            account=order.account,
            dialect=order.dialect.name,
            desk=order.dialect.desk,
            endpoint=order.endpoint,
            external_task_id=body.get("external_task_id"),
            mode=job.mode,
            seconds=plain(seconds.quantize(Decimal("0.001"))),
            units=plain(job.units(seconds).quantize(Decimal("0.0001"))),
            image=taken[job.image][0] if job.image else None,
            audio=audio,
            aspect_ratio=job.aspect_ratio,
            watermark=int(bool(body.get("watermark_info", {}).get("enabled"))),
            callback_url=body.get("callback_url"),
            base_url=order.base_url,
            created_at=now,
            queue_seconds=0.0 if is_speech else self._settings.queue_seconds,
            render_seconds=0.0 if is_speech else self._settings.render_seconds,
            outcome=outcome,
            note=note,
        )


def _check_prompt(order: Order, body: dict[str, Any]) -> None:
    needed = order.dialect.prompt_rule and order.endpoint == "avatar"
    if needed and not str(body.get("prompt", "")).strip():
        raise Refusal(1201, "prompt is required", slug="invalid_request", param="prompt")
