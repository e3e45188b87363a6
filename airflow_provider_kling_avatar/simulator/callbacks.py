"""Announces status changes: one POST to `callback_url` for each, signed if there is a secret.

It knows Standard Webhooks. It must not know HTTP requests that came in. One thread, which
sleeps unless somebody asked for callbacks. A delivery that fails is not repeated: the vendor documents no
retries, and whoever relies on callbacks alone should find out here.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import requests
from standardwebhooks import Webhook

from airflow_provider_kling_avatar.simulator.dialects.kling import callback_body
from airflow_provider_kling_avatar.simulator.lifecycle import changes, view_of
from airflow_provider_kling_avatar.simulator.media import is_loopback

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.simulator.clock import Clock
    from airflow_provider_kling_avatar.simulator.links import Links
    from airflow_provider_kling_avatar.simulator.settings import SimulatorSettings
    from airflow_provider_kling_avatar.simulator.store import Store, TaskRow

log = logging.getLogger(__name__)

_DELIVERY_SECONDS = 5
_LONGEST_NAP_SECONDS = 1.0


def sign(secret: str, message_id: str, at: datetime, body: str) -> dict[str, str]:
    """Make the three headers of a signed callback.

    Source: https://klingai.com/document-api/api/get-started/callbacks
    """
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, body),
    }


class Callbacks:
    """The thread that announces."""

    def __init__(self, settings: SimulatorSettings, store: Store, clock: Clock, links: Links) -> None:
        """Announce the tasks of `store` as `clock` moves."""
        self._settings = settings
        self._store = store
        self._clock = clock
        self._links = links
        if settings.webhook_secret:
            Webhook(settings.webhook_secret)  # a secret that is none should be noticed now
        self._wake = threading.Event()
        self._stop = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; whatever became due while the simulator was down is announced now."""
        self._thread = threading.Thread(target=self._run, name="kling-simulator-callbacks", daemon=True)
        self._thread.start()

    def nudge(self) -> None:
        """Look again: a task was made or the clock was moved."""
        self._wake.set()

    def stop(self) -> None:
        """End, after the delivery under way."""
        self._stop = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop:
            self._wake.clear()
            rows = self._store.with_callbacks()
            for row in rows:
                self._announce(row)
            self._wake.wait(self._nap(rows))

    def _nap(self, rows: list[TaskRow]) -> float | None:
        """How long nothing can happen: for ever, if nobody waits for a callback."""
        now = self._clock.now()
        ahead = [moment - now for row in rows for moment in changes(row) if moment > now]
        return min([*ahead, _LONGEST_NAP_SECONDS]) if ahead else None

    def _announce(self, row: TaskRow) -> None:
        """Deliver the changes that are due, each as it was at its time."""
        now = self._clock.now()
        for number, moment in enumerate(changes(row), start=1):
            if number <= row.callbacks_sent or moment > now or self._stop:
                continue
            link = partial(self._links.make, row.base_url)
            body = json.dumps(callback_body(view_of(row, moment, self._settings.url_ttl_seconds, link)))
            self._deliver(row, body)
            self._store.note_callbacks(row.task_id, number)

    def _deliver(self, row: TaskRow, body: str) -> None:
        url = row.callback_url or ""
        if not (self._settings.fetch_remote or is_loopback(url)):
            log.warning("task %s: its callback_url is not on this machine and was not called", row.task_id)
            return
        headers = {"content-type": "application/json"}
        if self._settings.webhook_secret:
            headers |= sign(self._settings.webhook_secret, uuid.uuid4().hex, datetime.now(UTC), body)
        try:
            with requests.Session() as session:
                session.trust_env = False  # a proxy from the environment would defeat the loopback rule
                data = body.encode()
                session.post(
                    url, data=data, headers=headers, timeout=_DELIVERY_SECONDS, allow_redirects=False
                ).close()
        except (requests.RequestException, ValueError) as error:
            log.warning("task %s: callback not delivered (%s)", row.task_id, type(error).__name__)
