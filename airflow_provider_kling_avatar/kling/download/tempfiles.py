"""
Files that are not finished yet, and what killed processes leave of them.

Each is locked (flock) by who writes it, for as long as that process lives; the kernel lets go when it dies, however it
dies. So what is named like such a file and can be locked belongs to nobody any more, and is removed by whoever comes
next. A living try is never disturbed, on the same machine or, where locks reach so far (NFS 4, most cluster file
systems), on another.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIX: Final = ".partial.mp4"
"""Ends as a film does: storages tell the kind of an upload by the name."""

_ATTEMPTS: Final = 100
_LONGEST_NAME: Final = 255 - 40
"""Bytes of a target's name that go into that of its partial file: file systems take 255 in all."""


@contextlib.contextmanager
def partial_file(folder: Path, name: str, mode: int = 0o666) -> Iterator[tuple[BinaryIO, Path]]:
    """
    Make an empty file that is removed at the end, unless it was moved away.

    :param folder: where; what dead processes left there under the same name is removed.
    :param name: what is to become of it.
    :param mode: its rights, of which the process's umask takes some.
    :return: the file, open and unbuffered, and its path.
    """
    prefix = "." + os.fsdecode(os.fsencode(name)[:_LONGEST_NAME]) + "."
    _remove_abandoned(folder, prefix)
    file, path = _locked(folder, prefix, mode)
    try:
        yield file, path
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        file.close()


def _remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove partial files whose makers are dead. Those of others, and pipes, are left alone."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        if not (name.startswith(prefix) and name.endswith(SUFFIX)):
            continue
        path = folder / name
        try:
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
        except OSError:
            continue  # somebody lives and writes it, or just removed it
        finally:
            os.close(handle)


def _locked(folder: Path, prefix: str, mode: int) -> tuple[BinaryIO, Path]:
    for _ in range(_ATTEMPTS):
        path = folder / f"{prefix}{os.urandom(6).hex()}{SUFFIX}"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        file = os.fdopen(handle, "w+b", buffering=0)
        if _lock(handle, path):
            return file, path
        file.close()  # taken for abandoned in the moment between making and locking it
    raise OSError(f"no file in {folder} stays for a moment")


def _lock(handle: int, path: Path) -> bool:
    """Lock a file; tell whether it is still there. Where there are no locks nobody can take it for abandoned either."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
