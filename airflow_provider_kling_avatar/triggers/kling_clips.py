"""
Watches an account's clips for an `AssetWatcher`: each that has ended makes an event, and events start Dags.

Only lists tasks: nothing in here can create one or pay. What is news is decided in `kling.polling.ended_clips`.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import logging
import random
import time
from math import inf
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_kling_avatar.compat import (
    HAS_EVENT_TRIGGERS,
    BaseEventTrigger,
    TriggerEvent,
    load_of_watcher,
    save_of_watcher,
)
from airflow_provider_kling_avatar.kling.errors import (
    AuthenticationError,
    ConfigurationError,
    KlingError,
)
from airflow_provider_kling_avatar.kling.polling.backoff import LONGEST_QUIET_SECONDS, pause_after
from airflow_provider_kling_avatar.kling.polling.ended_clips import (
    EndedClips,
    Questions,
    ended_at,
    latest,
    read_list,
)
from airflow_provider_kling_avatar.kling.polling.waiter import loop_time
from airflow_provider_kling_avatar.kling.redact import redact
from airflow_provider_kling_avatar.kling.responses.answer import as_number
from airflow_provider_kling_avatar.kling.responses.page import is_thin
from airflow_provider_kling_avatar.triggers.accounts import session_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from airflow_provider_kling_avatar.kling.client import AsyncKlingClient
    from airflow_provider_kling_avatar.kling.models import EndpointName, VideoTask
    from airflow_provider_kling_avatar.kling.polling.watcher import AccountSession

POLL_SECONDS = 30.0
"""Between two looks at the list, unless told otherwise."""
SHORTEST_POLL_SECONDS = 1.0
DAY_SECONDS = 86400.0
START_SECONDS = 3.0
"""After a start of the triggerer those who wait for a clip of theirs come back first."""
SPACING_SECONDS, LAST_SPACING_SECONDS = 3.0, 15.0
"""
Between two events, and before the last one that is known. Airflow (3.0.6 to 3.3.2) gives a run the events up to the
first one after the run before; what came later, while its scheduler was busy, waits for the next event.
Hence one at a time; and the last comes when the scheduler has surely seen the others, and takes all with it.
"""
TROUBLE_AGAIN_SECONDS = 300.0
"""Trouble that lasts is told again so often."""


class KlingClipsTrigger(BaseEventTrigger):
    """
    Make an event for each clip of an account that has ended, whoever has made it. For an `AssetWatcher` (Airflow 3.0).

    The first start begins with that moment. A later one goes on where the last one ended: what was told is recorded
    in an Airflow variable and, from Airflow 3.3, in the asset's state store. An event is told at least once, and twice
    only if the triggerer is killed within seconds after it. It is a dict, in the event's ``extra["payload"]``, with
    ``task_id``, ``external_task_id`` (our name for it), ``api``, ``endpoint``, ``state`` (``succeeded``, ``failed``),
    ``reason`` and ``reason_code`` (why it failed), ``duration`` (seconds), ``units`` and ``cost`` (decimal texts),
    ``currency``, ``created_at`` and ``ended_at`` (Unix seconds). It never has a URL.

    The arguments are stored in Airflow's database, also over upgrades of this package: they are only ever added to,
    with a default, never renamed or removed.

    :param kling_conn_id: the connection, read again at least every minute while looking. Its API needs a list.
    :param endpoint: ``avatar`` or ``image_to_video``.
    :param state: ``succeeded`` or ``failed``; ``None`` for both.
    :param name_prefix: only clips whose ``external_task_id`` begins with this; ``None`` for all.
    :param skip_awaited: leave out the clips for which a task waits in the same triggerer.
    :param poll_interval: seconds between two looks, 1 or more.
    :param lookback: seconds; what ended longer ago while no triggerer ran is not caught up.
    :param first_lookback: seconds; the very first start also tells of clips that ended so long before.
    :raises TypeError: an argument is none of these: an import error of the Dag. In a triggerer, which may be older than
        the Dag's reader, Airflow then leaves out this one trigger; any other error would end them all.
    :raises ConfigurationError: this is Airflow 2.
    """

    def __init__(
        self,
        *,
        kling_conn_id: str = "kling_avatar_default",
        endpoint: EndpointName = "avatar",
        state: Literal["succeeded", "failed"] | None = None,
        name_prefix: str | None = None,
        skip_awaited: bool = True,
        poll_interval: float = POLL_SECONDS,
        lookback: float = DAY_SECONDS,
        first_lookback: float = 0.0,
        **_: object,  # an argument of a later version, after a downgrade
    ) -> None:
        if not HAS_EVENT_TRIGGERS:
            raise ConfigurationError(
                "KlingClipsTrigger needs Airflow 3.0 or newer, whose assets can start a Dag by an event from outside; "
                "on Airflow 2 wait for a clip that you know with KlingAvatarSensor"
            )
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's trigger base is not typed
        if endpoint not in ("avatar", "image_to_video"):
            raise TypeError(f"endpoint must be avatar or image_to_video, not {endpoint!r}")
        if state not in (None, "succeeded", "failed"):
            raise TypeError(f"state must be succeeded, failed or None, not {state!r}")
        if not isinstance(kling_conn_id, str):
            raise TypeError(f"kling_conn_id must be a text, not {kling_conn_id!r}")
        if not isinstance(name_prefix, str | None):
            raise TypeError(f"name_prefix must be a text or None, not {name_prefix!r}")
        self.kling_conn_id = kling_conn_id
        self.endpoint = endpoint
        self.state = state
        self.name_prefix = name_prefix
        self.skip_awaited = skip_awaited
        self.poll_interval = _seconds("poll_interval", poll_interval, SHORTEST_POLL_SECONDS)
        self.lookback = _seconds("lookback", lookback)
        self.first_lookback = _seconds("first_lookback", first_lookback)
        self._saved: Mapping[str, Any] | None = None
        self._questions = Questions()
        self._trouble: str | None = None
        self._logged_at = 0.0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, all JSON scalars. Airflow knows a trigger by them."""
        return (
            "airflow_provider_kling_avatar.triggers.kling_clips.KlingClipsTrigger",
            {
                "kling_conn_id": self.kling_conn_id,
                "endpoint": self.endpoint,
                "state": self.state,
                "name_prefix": self.name_prefix,
                "skip_awaited": self.skip_awaited,
                "poll_interval": self.poll_interval,
                "lookback": self.lookback,
                "first_lookback": self.first_lookback,
            },
        )

    @property
    def record_key(self) -> str:
        """The name of the stored record; the same when only ways to look are changed."""
        what = "\0".join((self.kling_conn_id, self.endpoint, self.state or "", self.name_prefix or ""))
        return f"kling_clips_{hashlib.sha256(what.encode()).hexdigest()[:16]}"

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look at the list for ever; yield an event for each clip that has ended, the first to end first."""
        await asyncio.sleep(START_SECONDS)
        clips = await self._load()
        yielded_at = -inf
        while True:
            session, news = await self._look(clips)
            wanted = {task.task_id for task in news if self._is_wanted(task, session)}
            for task in news:  # in their order: the record begins where the last one ended
                if task.task_id in wanted:
                    wanted.remove(task.task_id)
                    spacing = SPACING_SECONDS if wanted else LAST_SPACING_SECONDS
                    await asyncio.sleep(yielded_at + spacing - time.monotonic())
                    yield TriggerEvent(self.payload(task, session.config.dialect.name))
                    yielded_at = time.monotonic()
                    # Airflow collects events once a second: one recorded sooner could be lost with the process.
                    await asyncio.sleep(SPACING_SECONDS)
                    clips.settle(task)
                    await self._save(clips)
                else:
                    clips.settle(task)
            await self._save(clips)
            await asyncio.sleep(self.poll_interval * random.uniform(0.95, 1.0))  # noqa: S311  # spreads load

    def payload(self, task: VideoTask, api: str) -> dict[str, Any]:
        """Return what an event tells of a clip, as plain JSON."""
        return {
            "task_id": task.task_id,
            "external_task_id": task.external_task_id,
            "api": api,
            "endpoint": self.endpoint,
            "state": task.state.value,
            "reason": redact(task.reason) if task.reason else None,
            "reason_code": task.reason_code,
            "duration": task.video.duration if task.video else None,
            "units": task.units,
            "cost": None if task.cost is None else str(task.cost),
            "currency": task.currency,
            "created_at": task.created_at,
            "ended_at": ended_at(task) or None,
        }

    def _is_wanted(self, task: VideoTask, session: AccountSession) -> bool:
        name = task.external_task_id or ""
        return (
            (self.state is None or self.state == task.state.value)
            and name.startswith(self.name_prefix or "")
            and not (self.skip_awaited and task.task_id in session.awaited)
        )

    # ------------------------------------------------------------ the vendor

    async def _look(self, clips: EndedClips) -> tuple[AccountSession, list[VideoTask]]:
        """Read the list, as often as it takes; return the account and what is news there."""
        failures, refused_at = 0, -inf
        while True:
            try:
                session = await session_of(self.kling_conn_id, newer_than=refused_at)
                # In an empty context: connections that it opens are those of all who wait for this account.
                reading = self._read(session, clips)
                loop = asyncio.get_running_loop()
                news = await loop.create_task(reading, context=contextvars.Context())
            except KlingError as error:
                failures += 1
                if isinstance(error, AuthenticationError):
                    refused_at = loop_time()  # somebody may change the connection
                pause = max(
                    pause_after(failures, self.poll_interval),
                    min(error.retry_after or 0.0, LONGEST_QUIET_SECONDS),
                )
                level = logging.ERROR if error.permanent else logging.WARNING
                self._log_trouble(error.message, level, said=str(error))
            except Exception as error:
                failures += 1
                pause = pause_after(failures, self.poll_interval)
                # Airflow would start this trigger again at once, and again.
                self.log.exception("the list of %s clips was not understood", self.endpoint)
                self._log_trouble(type(error).__name__, logging.ERROR)
            else:
                self._log_trouble(None)
                self._log_too_old(clips)
                return session, news
            await asyncio.sleep(pause)

    async def _read(self, session: AccountSession, clips: EndedClips) -> list[VideoTask]:
        """Return the clips that are news, with their videos or the reasons for which they failed."""
        async with session.kept_open() as client:
            rows = await read_list(client, self.endpoint, clips.read_back_to(time.time()))
            news = clips.news(rows, now=time.time())
            self._questions.keep(task.task_id for task in news)
            seen = [await self._ask(client, task) if is_thin(task) else task for task in news]
        return [task for task in seen if task is not None]

    async def _ask(self, client: AsyncKlingClient, task: VideoTask) -> VideoTask | None:
        """Ask for a clip by itself, if it is time: the list may be shorter than the clip, or quicker."""
        if not self._questions.is_due(task, time.monotonic()):
            return None
        answer: VideoTask | KlingError
        try:
            answer = await client.get_task(task.task_id, self.endpoint)
        except KlingError as error:
            answer = error
        told = self._questions.answered(task, answer, now=time.monotonic(), interval=self.poll_interval)
        if told is None and self._questions.is_first(task):
            if isinstance(answer, KlingError):
                self.log.warning("clip %s has ended, but cannot be asked for: %s", task.task_id, answer)
            else:
                self.log.info("clip %s has ended, but its video is not there yet", task.task_id)
        return told

    # ------------------------------------------------------------ the record

    async def _load(self) -> EndedClips:
        """
        Return what was told in an earlier life, as soon as it can be read.

        Never a first start in its place: what has ended meanwhile would be lost.
        """
        pause = SHORTEST_POLL_SECONDS
        while True:
            try:
                record = latest(await load_of_watcher(self, self.record_key))
                clips = EndedClips(
                    record, now=time.time(), lookback=self.lookback, first_lookback=self.first_lookback
                )
            except Exception as error:  # noqa: BLE001  # whatever Airflow or a store of the user's raises
                self._log_trouble(
                    f"what was told before, in {self.record_key}, cannot be read: {redact(error)}",
                    logging.ERROR,
                )
                await asyncio.sleep(pause)
                pause = min(2 * pause, POLL_SECONDS)
                continue
            self._log_start(is_first=record is None)
            self._saved = record
            return clips

    async def _save(self, clips: EndedClips) -> None:
        record = clips.record()
        if record == self._saved:
            return
        try:
            await save_of_watcher(self, self.record_key, record)
        except Exception as error:  # noqa: BLE001  # whatever Airflow or a store of the user's raises
            self.log.warning(
                "what was told cannot be noted down (%s): after a restart it would be told again",
                redact(error),
            )
        else:
            self._saved = record

    # ------------------------------------------------------------ the log

    def _log_start(self, *, is_first: bool) -> None:
        self.log.info(
            "looking for %s clips that have ended, every %.0f s, by the connection %s: %s",
            self.endpoint,
            self.poll_interval,
            self.kling_conn_id,
            f"for the first time, those of the last {self.first_lookback:.0f} s too"
            if is_first
            else "going on where the last triggerer ended",
        )

    def _log_too_old(self, clips: EndedClips) -> None:
        too_old, clips.too_old = clips.too_old, 0
        if too_old:
            self.log.warning(
                "nobody looked for a long time: clips that ended more than lookback (%.0f s) ago are not told, "
                "at least %d",
                self.lookback,
                too_old,
            )

    def _log_trouble(self, trouble: str | None, level: int = logging.INFO, said: str | None = None) -> None:
        """
        Log what changed, and trouble that lasts now and then.

        :param said: the same with what differs each time, such as the id of the request.
        """
        now = time.monotonic()
        if trouble == self._trouble and (trouble is None or now - self._logged_at < TROUBLE_AGAIN_SECONDS):
            return
        self._trouble, self._logged_at = trouble, now
        if trouble is None:
            self.log.info("%s clips can be looked for again", self.endpoint)
        else:
            self.log.log(level, "no %s clip can be told of: %s", self.endpoint, said or trouble)


def _seconds(name: str, value: object, least: float = 0.0) -> float:
    """
    Read an argument.

    :raises TypeError: it is no number of seconds, or too small.
    """
    seconds = as_number(value)
    if seconds is None or seconds < least:
        unit = "second" if least == 1 else "seconds"
        raise TypeError(f"{name} must be {least:.0f} {unit} or more, not {value!r}")
    return seconds
