"""The file under state_path: whole and for good, though workers share the folder, and clear when it is damaged."""

from __future__ import annotations

import json
import logging
import os
import stat
from pathlib import Path

import pytest

from airflow_provider_kling_avatar.kling import errors
from airflow_provider_kling_avatar.kling.submission.identity import TaskIdentity
from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarSubmitOperator
from airflow_provider_kling_avatar.state_store import AirflowStateStore, FileStateStore

WORK = TaskIdentity("news", "clip", "manual__1", -1, "kling_avatar_default")


@pytest.mark.parametrize("kept", ["spoilt", ["spoilt"], 0, False])
def test_what_is_no_record_in_airflows_store_is_never_taken_for_none(kept):
    class Store:
        def get(self, _):
            return kept

    with pytest.raises(errors.StateUnavailableError, match=r"state store.*is no record of this package"):
        AirflowStateStore(Store()).load()


def test_nothing_in_airflows_store_is_an_empty_record():
    class Store:
        def get(self, _):
            return None

    assert AirflowStateStore(Store()).load() == {}


@pytest.fixture
def store(tmp_path):
    return FileStateStore(str(tmp_path), WORK)


@pytest.fixture
def damaged(store, tmp_path):
    """Leave something else in the place of a record; return what is said of it."""

    def read(content):
        store.save({"task_id": "1"})
        (file,) = tmp_path.iterdir()
        file.write_bytes(content)
        with pytest.raises(errors.StateUnavailableError) as caught:
            store.load()
        return str(caught.value)

    return read


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b'{"task_id": "83', "is damaged (15 bytes)"),
        (b"[]", "is damaged (2 bytes)"),
        (b"\xff\xfe\x00", "is damaged (3 bytes)"),
    ],
    ids=["empty", "cut", "a list", "no text"],
)
def test_a_damaged_file_says_what_happened_and_what_to_do(damaged, tmp_path, content, what):
    said = damaged(content)

    assert f"state_path {tmp_path}/news-clip-" in said
    assert what in said
    assert "nothing new is sent without it" in said
    assert "vendor's console" in said
    assert "delete the file" in said
    assert "on_unknown_submission='resubmit'" in said


def test_a_note_survives_a_power_cut_and_two_workers_never_write_one_file(store, tmp_path, monkeypatch):
    """The content goes to the disk before its name, the name after; no other worker can hit on the same name."""
    steps = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(handle):
        steps.append("sync folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "sync file")
        fsync(handle)

    def note_replace(path, target):
        steps.append("rename")
        names.append(path.name)
        return replace(path, target)

    names = []
    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)

    store.save({"task_id": "1"})
    store.save({"task_id": "2"})

    assert steps == ["sync file", "rename", "sync folder"] * 2
    assert len(set(names)) == 2, "a process id is not enough: two machines may have the same"
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text()) == {"task_id": "2"}


def test_a_note_that_cannot_be_finished_leaves_the_old_one_and_nothing_else(store, tmp_path, monkeypatch):
    store.save({"task_id": "1"})

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(errors.StateUnavailableError, match="cannot be written"):
        store.save({"task_id": "2"})

    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text()) == {"task_id": "1"}


def test_a_note_that_fails_after_paying_does_not_say_that_nothing_was_sent(
    connect, sim, face, voice, context, tmp_path, caplog, monkeypatch
):
    """The intent is written down, then the disk is full: the clip is paid for by then."""
    write = FileStateStore.save

    def save(self, record):
        if "task_id" in record:
            monkeypatch.setattr(
                os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left"))
            )
        write(self, record)

    monkeypatch.setattr(FileStateStore, "save", save)
    operator = KlingAvatarSubmitOperator(task_id="clip", image=face, audio=voice, state_path=str(tmp_path))

    with caplog.at_level(logging.WARNING, "airflow_provider_kling_avatar"):
        assert operator.execute(context)

    (line,) = [
        r.getMessage()
        for r in caplog.records
        if "could not note down that the clip is task" in r.msg % r.args
    ]
    assert "nothing was sent" not in line
    assert "nothing new is sent without it" in line
    assert sim.ledger()["total"]["tasks"] == 1
