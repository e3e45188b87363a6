"""
Where a submission is noted down so that later tries find it: Airflow's task state store, or a file of the user's.

Knows stores and what they raise. What is noted, and what follows from it, is decided in `kling.recovery`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_kling_avatar.compat import ObjectStoragePath, state_store
from airflow_provider_kling_avatar.kling.errors import ConfigurationError, StateUnavailableError
from airflow_provider_kling_avatar.kling.redact import redact

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from fsspec import AbstractFileSystem

    from airflow_provider_kling_avatar.compat import StateStore
    from airflow_provider_kling_avatar.kling.identity import Work
    from airflow_provider_kling_avatar.kling.state import Memory

SUBMISSION_KEY = "kling_submission"
"""What a memory is of, unless told otherwise."""
ATTEMPTS = 3
"""How often a store is asked before it counts as unavailable."""


class StateStoreMemory:
    """
    Airflow 3.3's task state store: survives retries and clears, goes with the Dag run.

    :param store: of the running task.
    :param key: what the record is of.
    """

    def __init__(self, store: StateStore, key: str = SUBMISSION_KEY) -> None:
        self._store = store
        self._key = key

    def recall(self) -> dict[str, Any]:
        """Return the record, or an empty dict."""
        try:
            record = self._store.get(self._key)
        except Exception as error:
            raise _unavailable("read", "Airflow's task state store", error) from error
        return record if isinstance(record, dict) else {}

    def remember(self, record: dict[str, Any]) -> None:
        """Replace the record."""
        try:
            self._store.set(self._key, record)
        except Exception as error:
            raise _unavailable("written", "Airflow's task state store", error) from error


class FileMemory:
    """
    One small JSON file per task instance, under a folder of the user's.

    :param folder: any storage that Airflow reaches: ``/shared/state``, which has to be there on every worker, or
        ``s3://conn_id@bucket/prefix``.
    :param work: whose file it is.
    :param key: what the record is of; another one lies in another file.
    """

    def __init__(self, folder: str, work: Work, key: str = SUBMISSION_KEY) -> None:
        identity = "\0".join((work.dag_id, work.task_id, work.run_id, str(work.map_index)))
        digest = hashlib.sha256(identity.encode()).hexdigest()[:32]
        readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{work.dag_id}-{work.task_id}").strip("-")[:60]
        suffix = "" if key == SUBMISSION_KEY else f".{key}"
        try:
            path = ObjectStoragePath(f"{folder.rstrip('/')}/{readable}-{digest}{suffix}.json")
            self._fs: AbstractFileSystem = path.fs
        except (ValueError, ImportError, NotImplementedError) as error:
            raise ConfigurationError(
                f"state_path {folder!r} is no storage that this Airflow knows ({error}): "
                "give a folder, or a URI such as s3://conn_id@bucket/prefix"
            ) from error
        self._shown, self._path = str(path), path.path
        self._is_local = "file" in _protocols(self._fs)

    def recall(self) -> dict[str, Any]:
        """Return the record, or an empty dict if there is no file yet."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

        retrying = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=0.2),
            retry=retry_if_exception(_may_pass),
            reraise=True,
        )
        try:
            record = json.loads(retrying(self._read))
        except FileNotFoundError as error:
            if self._is_local and not Path(self._path).parent.is_dir():
                raise StateUnavailableError(
                    f"the folder of state_path ({self._shown}) is not there: create it where every worker reads it, or "
                    "mount it on this one; nothing was sent"
                ) from error
            return {}
        except Exception as error:
            raise _unavailable("read", f"state_path ({self._shown})", error) from error
        if not isinstance(record, dict):
            raise StateUnavailableError(f"{self._shown} is not a record of this package; nothing was sent")
        return record

    def remember(self, record: dict[str, Any]) -> None:
        """Replace the file, whole or not at all."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

        retrying = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=0.2),
            retry=retry_if_exception(_may_pass),
            reraise=True,
        )
        try:
            retrying(self._write, json.dumps(record, sort_keys=True).encode())
        except Exception as error:
            raise _unavailable("written", f"state_path ({self._shown})", error) from error

    def _read(self) -> bytes:
        self._fs.invalidate_cache()  # another worker may have written it
        content: bytes = self._fs.cat_file(self._path)
        return content

    def _write(self, content: bytes) -> None:
        if not self._is_local:
            self._fs.pipe_file(self._path, content)  # object stores show an object whole or not at all
            return
        partial = Path(f"{self._path}.{os.getpid()}.partial")
        partial.write_bytes(content)
        partial.replace(self._path)


def _may_pass(error: BaseException) -> bool:
    """Tell whether asking again may help; what ends the process is no error of the store's."""
    return isinstance(error, Exception) and not isinstance(error, FileNotFoundError | ValueError)


def _protocols(fs: AbstractFileSystem) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def memory_of(
    context: Context, state_path: str | None, work: Work, key: str = SUBMISSION_KEY
) -> Memory | None:
    """
    Return what outlives a try of this task; ``None`` where there is nothing.

    :param state_path: the user's choice; wins over Airflow's store, so that an upgrade of Airflow forgets nothing.
    :param key: what is remembered; each has a record of its own.
    """
    if state_path:
        return FileMemory(state_path, work, key)
    store = state_store(context)
    return StateStoreMemory(store, key) if store is not None else None


def _unavailable(what: str, where: str, error: Exception) -> StateUnavailableError:
    return StateUnavailableError(
        f"{where} cannot be {what} ({type(error).__name__}: {redact(error)}): it holds what earlier tries submitted, "
        "so nothing was sent; the next try looks again"
    )
