"""The simulator's memory: one SQLite file with a row per accepted task, and a few named values.

It knows rows and how to keep two requests from interleaving. It must not know states, prices or answers:
what a row means at a given moment is `lifecycle`.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    """One accepted task, as it was when accepted; only `callbacks_sent` ever changes."""

    task_id: str
    account: str
    dialect: str
    """The API it came through, for the ledger."""
    desk: str
    """Which APIs can see it: a task of one vendor is unknown to the others."""
    endpoint: str
    """`avatar`, `image_to_video` or `speech`."""
    external_task_id: str | None = None
    mode: str
    seconds: str
    """Length of the result in seconds, as a decimal number."""
    units: str
    """What it costs if it succeeds, in resource-pack units, as a decimal number."""
    image: str | None
    """File name of the picture in the media folder."""
    audio: str | None
    """File name of the audio in the media folder."""
    aspect_ratio: str | None = None
    watermark: int = 0
    """1 if a watermarked copy was asked for."""
    callback_url: str | None = None
    base_url: str = ""
    """How the creating client addressed the simulator; callbacks have no request to take it from."""
    created_at: float
    """Unix seconds, as all times here."""
    queue_seconds: float
    render_seconds: float
    outcome: str
    """`succeed`, `failed`, `no_url`, `stuck` or `unknown_status`: decided on acceptance."""
    note: str
    """The reason of a failure, or the unknown status word."""
    callbacks_sent: int = 0
    """How many status changes have been announced."""


_COLUMNS = tuple(column.name for column in fields(TaskRow))
_TYPES = {"watermark": "INTEGER", "callbacks_sent": "INTEGER", "created_at": "REAL"} | dict.fromkeys(
    ("queue_seconds", "render_seconds"), "REAL"
)
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS tasks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    {", ".join(f"{name} {_TYPES.get(name, 'TEXT')}" for name in _COLUMNS)}
);
CREATE UNIQUE INDEX IF NOT EXISTS tasks_by_id ON tasks (task_id);
CREATE INDEX IF NOT EXISTS tasks_by_external_id ON tasks (account, external_task_id);
CREATE INDEX IF NOT EXISTS tasks_by_age ON tasks (desk, endpoint, created_at, number);
CREATE TABLE IF NOT EXISTS named_values (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_NAMES = ", ".join(_COLUMNS)
_SELECT = f"SELECT {_NAMES} FROM tasks"  # noqa: S608 - column names of our own dataclass
_INSERT = f"INSERT INTO tasks ({_NAMES}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - same
_PAGE = """
WHERE desk = ?1 AND endpoint = ?2 AND created_at <= ?3 AND (?4 IS NULL OR account = ?4)
AND task_id NOT IN (SELECT value FROM json_each(?5))
AND coalesce(external_task_id, '') NOT IN (SELECT value FROM json_each(?5))
ORDER BY created_at DESC, number DESC LIMIT ?6 OFFSET ?7
"""


class Store:
    """Tasks and named values in one file; every method may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Open the file, creating it if need be."""
        self._lock = threading.RLock()
        # One connection behind one lock: SQLite would serialise the writers anyway.
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold off every other thread, so that a check and the insert it guards are one step."""
        with self._lock:
            yield

    def add(self, row: TaskRow) -> None:
        """Remember an accepted task. It is on disk when this returns."""
        with self._lock:
            self._db.execute(_INSERT, _values(row))

    def add_many(self, rows: Iterable[TaskRow]) -> None:
        """Remember many tasks at once, the oldest first."""
        with self._lock:
            self._db.execute("BEGIN")
            try:
                self._db.executemany(_INSERT, map(_values, rows))
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def by_id(self, task_id: str) -> TaskRow | None:
        """Find a task by the simulator's own id."""
        return next(iter(self._rows("WHERE task_id = ?", task_id)), None)

    def by_external_id(self, account: str, external_task_id: str) -> list[TaskRow]:
        """List an account's tasks with the caller's id, the first one first."""
        return self._rows(
            "WHERE account = ? AND external_task_id = ? ORDER BY number", account, external_task_id
        )

    def of_account(self, account: str) -> list[TaskRow]:
        """List an account's tasks, newest first."""
        return self._rows("WHERE account = ? ORDER BY number DESC", account)

    def page(
        self,
        desk: str,
        endpoint: str,
        *,
        account: str | None,
        until: float,
        hidden: Collection[str],
        skip: int,
        size: int,
    ) -> list[TaskRow]:
        """List `size` tasks after the first `skip`, newest first.

        Only those of `account` (None: anybody's) that were accepted by `until` (Unix seconds) and have no id, the
        simulator's or the caller's, in `hidden`.
        """
        return self._rows(_PAGE, desk, endpoint, until, account, json.dumps([*hidden]), size, skip)

    def everything(self) -> list[TaskRow]:
        """List all tasks in the order of their acceptance."""
        return self._rows("ORDER BY number")

    def with_callbacks(self) -> list[TaskRow]:
        """List tasks that asked for callbacks and may have some to come."""
        return self._rows("WHERE callback_url IS NOT NULL AND callbacks_sent < 3 ORDER BY number")

    def note_callbacks(self, task_id: str, sent: int) -> None:
        """Remember that the first `sent` status changes of a task have been announced."""
        with self._lock:
            self._db.execute("UPDATE tasks SET callbacks_sent = ? WHERE task_id = ?", (sent, task_id))

    def value(self, name: str, default: str) -> str:
        """Read a named value, storing `default` if there is none yet."""
        with self._lock:
            self._db.execute("INSERT OR IGNORE INTO named_values VALUES (?, ?)", (name, default))
            found: tuple[str] = self._db.execute(
                "SELECT value FROM named_values WHERE name = ?", (name,)
            ).fetchone()
        return found[0]

    def set_value(self, name: str, value: str) -> None:
        """Store a named value."""
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO named_values VALUES (?, ?)", (name, value))

    def forget_tasks(self) -> None:
        """Delete every task; named values stay."""
        with self._lock:
            self._db.execute("DELETE FROM tasks")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _rows(self, where: str, *values: str | float | None) -> list[TaskRow]:
        with self._lock:
            found = self._db.execute(f"{_SELECT} {where}", values).fetchall()
        return [TaskRow(**dict(zip(_COLUMNS, row, strict=True))) for row in found]


def _values(row: TaskRow) -> tuple[Any, ...]:
    # Not `astuple`, which makes deep copies: ten times as slow, and there is nothing deep in a row.
    return tuple(getattr(row, name) for name in _COLUMNS)
