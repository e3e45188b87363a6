"""Everything one simulator remembers, put together from its settings.

It knows which part needs which. It must not know HTTP; `app` puts the routes on top.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from collections import Counter, deque
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_kling_avatar.simulator.accounts import Accounts
from airflow_provider_kling_avatar.simulator.callbacks import Callbacks
from airflow_provider_kling_avatar.simulator.clock import Clock
from airflow_provider_kling_avatar.simulator.desk import Desk
from airflow_provider_kling_avatar.simulator.faults import Faults
from airflow_provider_kling_avatar.simulator.ledger import Ledger
from airflow_provider_kling_avatar.simulator.links import Links
from airflow_provider_kling_avatar.simulator.media import MediaCupboard, audio_seconds, stand_in
from airflow_provider_kling_avatar.simulator.media_routes import Cinema
from airflow_provider_kling_avatar.simulator.seeding import Seed, rows_of
from airflow_provider_kling_avatar.simulator.store import Store

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.simulator.gate import RequestRecord
    from airflow_provider_kling_avatar.simulator.settings import SimulatorSettings

_KEPT_REQUESTS = 1000


class SimulatorState:
    """The parts of one simulator. Close it when done."""

    def __init__(self, settings: SimulatorSettings) -> None:
        """Open or create the state directory and everything in it."""
        self.settings = settings
        self._temporary = settings.state_dir is None
        self.folder = settings.state_dir or Path(tempfile.mkdtemp(prefix="kling-avatar-simulator-"))
        media = self.folder / "media"
        media.mkdir(parents=True, exist_ok=True)
        # A state directory inside a project is nobody's to commit.
        (self.folder / ".gitignore").write_text("*\n", "utf-8")
        self.store = Store(self.folder / "simulator.sqlite3")
        offset = float(self.store.value("clock_offset", "0"))
        self.clock = Clock(offset, lambda seconds: self.store.set_value("clock_offset", str(seconds)))
        self.links = Links(self.store.value("link_secret", secrets.token_hex(32)))
        self.cupboard = MediaCupboard(media, fetch_remote=settings.fetch_remote)
        self.accounts = Accounts(settings.accounts)
        self.desk = Desk(settings, self.store, self.clock, self.cupboard, self.links)
        self.ledger = Ledger(self.store, self.clock, float(self.store.value("opened_at", str(time.time()))))
        self.cinema = Cinema(self.store, self.clock, media)
        self.callbacks = Callbacks(settings, self.store, self.clock, self.links)
        self.faults = Faults()
        self.records: deque[RequestRecord] = deque(maxlen=_KEPT_REQUESTS)
        self.calls: Counter[str] = Counter()
        """How many requests there were of each call: `create`, `list`, `query`."""

    def links_from(self, base_url: str) -> dict[str, str]:
        """Answer task id -> address of the result, for every task that has one."""
        views = (self.desk.look_at(row, base_url) for row in self.store.everything())
        return {view.row.task_id: view.url for view in views if view.url}

    def advance(self, seconds: float) -> float:
        """Move the clock ahead and announce what that made due; answers the new time."""
        now = self.clock.advance(seconds)
        self.callbacks.nudge()
        return now

    def seed(self, **order: Any) -> list[str]:
        """Make tasks that nobody ordered; takes the fields of `seeding.Seed`, answers the ids, newest first."""
        seed = Seed(**order)
        greeting = stand_in("audio")
        rows = rows_of(
            seed,
            self.clock.now(),
            self.settings,
            image=self.cupboard.keep(stand_in("image"), ".jpg"),
            audio=self.cupboard.keep(greeting, ".mp3"),
            seconds=audio_seconds(BytesIO(greeting))[1].quantize(Decimal("0.001")),
        )
        self.store.add_many(reversed(rows))
        return [row.task_id for row in rows]

    def reset(self) -> None:
        """Forget tasks, faults and requests, and list as the settings say; keys, links and the clock stay."""
        self.store.forget_tasks()
        self.faults.clear()
        self.desk.lists.reset()
        self.records.clear()
        self.calls.clear()

    def close(self) -> None:
        """Stop the callbacks and close the file; a temporary directory is deleted."""
        self.callbacks.stop()
        self.store.close()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)
