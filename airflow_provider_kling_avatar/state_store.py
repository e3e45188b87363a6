"""
Where a submission is noted down so that later tries find it: Airflow's task state store, or a file of the user's.

Knows stores and what they raise. What is noted, and what follows from it, is decided in `kling.submission.recovery`.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_kling_avatar.compat import state_store
from airflow_provider_kling_avatar.kling.errors import (
    ConfigurationError,
    LandingError,
    StateUnavailableError,
)
from airflow_provider_kling_avatar.kling.redact import redact
from airflow_provider_kling_avatar.storage import LocalFile, file_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_kling_avatar.compat import TaskStateStore
    from airflow_provider_kling_avatar.kling.submission.identity import TaskIdentity
    from airflow_provider_kling_avatar.kling.submission.state import StateStore

SUBMISSION_KEY = "kling_submission"
"""What a record is of, unless told otherwise."""
ATTEMPTS = 3
"""How often a store is asked before it counts as unavailable."""

T = TypeVar("T")


class AirflowStateStore:
    """
    Airflow 3.3's task state store: survives retries and clears, goes with the Dag run.

    :param store: of the running task.
    :param key: what the record is of.
    """

    def __init__(self, store: TaskStateStore, key: str = SUBMISSION_KEY) -> None:
        self._store = store
        self._key = key

    def load(self) -> dict[str, Any]:
        """
        Return the record, or an empty dict if there is none.

        :raises StateUnavailableError: the store cannot be reached, or something else is there.
        """
        try:
            record = self._store.get(self._key)
        except Exception as error:
            raise _unavailable("read", "Airflow's task state store", error) from error
        if record is None:
            return {}
        if not isinstance(record, dict):
            raise StateUnavailableError(
                f"what Airflow's task state store has under {self._key} is no record of this package: {_KEPT_THERE}. "
                "Look in the vendor's console for the clip of this task, then delete the entry"
            )
        return record

    def save(self, record: dict[str, Any]) -> None:
        """Replace the record."""
        try:
            self._store.set(self._key, record)
        except Exception as error:
            raise _unavailable("written", "Airflow's task state store", error) from error


class FileStateStore:
    """
    One small JSON file per task instance, under a folder of the user's.

    :param folder: any storage that Airflow reaches: ``/shared/state``, which has to be there on every worker, or
        ``s3://conn_id@bucket/prefix``.
    :param work: whose file it is.
    :param key: what the record is of; another one lies in another file.
    :raises ConfigurationError: no file can be there.
    """

    def __init__(self, folder: str, work: TaskIdentity, key: str = SUBMISSION_KEY) -> None:
        identity = "\0".join((work.dag_id, work.task_id, work.run_id, str(work.map_index)))
        digest = hashlib.sha256(identity.encode()).hexdigest()[:32]
        readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{work.dag_id}-{work.task_id}").strip("-")[:60]
        suffix = "" if key == SUBMISSION_KEY else f".{key}"
        try:
            self._file = file_at(
                f"{folder.rstrip('/')}/", f"{readable}-{digest}{suffix}.json", parameter="state_path"
            )
        except LandingError as error:
            raise ConfigurationError(error.finding) from error

    def load(self) -> dict[str, Any]:
        """
        Return the record, or an empty dict if there is no file yet.

        :raises StateUnavailableError: it cannot be read, or no file could be made where none is.
        """
        where = self._file.shown
        try:
            content = _patiently(self._file.read_bytes)
        except (FileNotFoundError, NotADirectoryError):
            self._check_folder()
            return {}
        except Exception as error:
            raise _unavailable("read", where, error) from error
        try:
            record = json.loads(content)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise StateUnavailableError(
                f"{where} is {f'damaged ({len(content)} bytes)' if content else 'empty'}, as a full disk or a crash of "
                f"its server leaves a file: {_KEPT_THERE}. Look in the vendor's console for the clip of this task, "
                "then delete the file. The next try asks the vendor by name; where the API keeps no names, fetch a "
                "clip that is there with KlingAvatarSensor, and if there is none set "
                "on_unknown_submission='resubmit' for one run"
            )
        return record

    def _check_folder(self) -> None:
        if not isinstance(self._file, LocalFile):
            return
        try:
            self._file.check_folder()
        except LandingError as error:
            raise StateUnavailableError(
                f"{error.finding}. Its folder has to be there on every worker: create it, mount it on this one, or "
                "let the user that runs the workers write there. Nothing new is sent without it"
            ) from None

    def save(self, record: dict[str, Any]) -> None:
        """Replace the file, whole or not at all."""
        content = json.dumps(record, sort_keys=True).encode()
        try:
            _patiently(lambda: self._file.write_bytes(content))
        except Exception as error:
            raise _unavailable("written", self._file.shown, error) from error


def _patiently(ask: Callable[[], T]) -> T:
    """Ask a store again where that may help."""
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

    retrying = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(multiplier=0.2),
        retry=retry_if_exception(_may_pass),
        reraise=True,
    )
    return retrying(ask)


def _may_pass(error: BaseException) -> bool:
    """Tell whether asking again may help; what ends the process is no error of the store's."""
    return isinstance(error, Exception) and not isinstance(
        error, FileNotFoundError | NotADirectoryError | ValueError
    )


def state_store_of(
    context: Context, state_path: str | None, work: TaskIdentity, key: str = SUBMISSION_KEY
) -> StateStore | None:
    """
    Return what outlives a try of this task; ``None`` where there is nothing.

    :param state_path: the user's choice; wins over Airflow's store, so that an upgrade of Airflow forgets nothing.
    :param key: what the record is of; each has one of its own.
    """
    if state_path:
        return FileStateStore(state_path, work, key)
    store = state_store(context)
    return AirflowStateStore(store, key) if store is not None else None


def _unavailable(what: str, where: str, error: Exception) -> StateUnavailableError:
    return StateUnavailableError(
        f"{where} cannot be {what} ({type(error).__name__}: {redact(error)}): {_KEPT_THERE}; the next try looks again"
    )


_KEPT_THERE = "it holds what earlier tries submitted, and nothing new is sent without it"
"""Also true of a note that fails after a clip was paid for."""
