"""
Where a clip can be put: a folder of this machine, or any storage that Airflow knows. Whole, or not at all.

Knows file systems, fsspec and what they raise. What is put there, and whether it may be, is `landing`'s to say.
"""

from __future__ import annotations

import contextlib
import errno
import inspect
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from airflow_provider_kling_avatar.compat import ObjectStoragePath
from airflow_provider_kling_avatar.kling.errors import KlingError, LandingError, OutputPathError, StorageError
from airflow_provider_kling_avatar.kling.landing.partial import partial_file
from airflow_provider_kling_avatar.kling.redact import redact, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from fsspec import AbstractFileSystem

    from airflow_provider_kling_avatar.kling.media.boxes import Reader

UPLOAD_PART = 6 << 20
"""Bytes that are sent to a storage at once; S3 takes no fewer than 5 MiB. s3fs would take 50 MB, ten at a time."""

UPLOADS_AT_ONCE = 1

_READ_BLOCK = 4 << 20

_FULL = {errno.ENOSPC, errno.EDQUOT}
_LOCAL = ("", "file", "local")


class Place(Protocol):
    """One file's place."""

    uri: str
    shown: str

    def check(self) -> None:
        """Say what is wrong with it as far as can be known without writing; raises `LandingError`."""
        ...

    def size(self) -> int | None:
        """Return how many bytes are there, or ``None`` if nothing is."""
        ...

    def open(self) -> AbstractContextManager[Reader]:
        """Open what is there, for reading pieces of it."""
        ...

    def partial(self) -> AbstractContextManager[tuple[BinaryIO, Path]]:
        """Make a file on this machine to collect the clip in."""
        ...

    def publish(self, file: BinaryIO, partial: Path, *, replace: bool) -> bool:
        """Put a finished file there, whole or not at all; ``False`` if something is there and must stay."""
        ...


def place_of(output_path: str, file_name: str) -> Place:
    """
    Return where a file belongs.

    :param output_path: a path or a storage URI; one that ends in ``/``, or an existing folder of this machine, is a
        folder.
    :param file_name: its name in such a folder.
    :raises OutputPathError: the path is of no storage that this Airflow knows.
    """
    if not isinstance(output_path, str) or not output_path.strip():
        raise OutputPathError(
            f"output_path came as {type(output_path).__name__}, or empty: give a path, or a URI such as "
            "s3://conn_id@bucket/key; if it comes from an upstream task, that task returned nothing"
        )
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", output_path)
    scheme = match[1].lower() if match else ""
    if scheme in _LOCAL:
        path = _local_path(output_path)
        return LocalPlace(path / file_name if output_path.endswith("/") or _is_folder(path) else path)
    if scheme in ("http", "https"):
        raise OutputPathError(
            f"output_path {shown(output_path)} is a web address: a clip cannot be put there"
        )
    return StoragePlace(output_path + file_name if output_path.endswith("/") else output_path)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except PermissionError as error:
        raise OutputPathError(
            f"output_path {path}: no right to look there; let the user that runs the workers in"
        ) from error


def _local_path(output_path: str) -> Path:
    if "://" not in output_path:
        return Path(output_path).absolute()
    parts = urlsplit(output_path)
    if parts.netloc.rpartition("@")[2] not in ("", "localhost"):
        raise OutputPathError(
            f"output_path {shown(output_path)} names a host: local files are file:///path, with three slashes"
        )
    # As `ObjectStoragePath` reads it: nothing is unquoted, and a question mark or a hash belongs to a file's name.
    return Path("/" + output_path.partition("://")[2].partition("/")[2].lstrip("/"))


def sibling(output_path: str, kind: str) -> str:
    """Return the path of a variant: ``clip.mp4`` becomes ``clip.watermarked.mp4``; a folder stays one."""
    if output_path.endswith("/"):
        return output_path
    folder, slash, name = output_path.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    return folder + slash + (f"{stem}.{kind}.{suffix}" if dot and stem else f"{name}.{kind}")


# ------------------------------------------------------------------------------------------ this machine


class LocalPlace:
    """
    A file of the machine that runs the task.

    :param path: absolute.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.uri = f"file://{path}"
        self.shown = f"output_path {shown(str(path))}"

    def check(self) -> None:
        """Say what is wrong, as far as can be known without writing."""
        with storage_errors(self.shown):
            if self._path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a directory")
            folder = self._path.parent
            while not folder.exists():
                folder = folder.parent
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "not a directory")
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "no right to write")

    def size(self) -> int | None:
        """Return the bytes that are there, or `None`."""
        with storage_errors(self.shown):
            try:
                status = self._path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            if self._path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a directory")
            return status.st_size

    @contextlib.contextmanager
    def open(self) -> Iterator[Reader]:
        """Open what is there, for reading pieces."""
        with storage_errors(self.shown), self._path.open("rb") as file:
            yield reader(file)

    @contextlib.contextmanager
    def partial(self) -> Iterator[tuple[BinaryIO, Path]]:
        """Make a file to collect the clip in."""
        with storage_errors(self.shown, OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with partial_file(self._path.parent, self._path.name) as made:
                yield made

    def publish(self, file: BinaryIO, partial: Path, *, replace: bool) -> bool:
        """Put a finished file there; `False` if something is there and must stay."""
        with storage_errors(self.shown):
            os.fsync(file.fileno())
            if self._path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a directory")
            if replace:
                partial.replace(self._path)
            else:
                try:
                    os.link(partial, self._path)
                except FileExistsError:
                    return False
                except OSError as error:
                    if error.errno in _FULL or not _has_no_links(error):
                        raise
                    # A file system without hard links: a moment between looking and moving is left.
                    if self._path.exists():
                        return False
                    partial.replace(self._path)
            _sync_folder(self._path.parent)
        return True


def _has_no_links(error: OSError) -> bool:
    return error.errno in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def _sync_folder(folder: Path) -> None:
    """Make sure that a new name outlives a power cut; not every file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def reader(file: BinaryIO) -> Reader:
    """Return a function that reads pieces of an open file."""

    def read(position: int, size: int) -> bytes:
        file.seek(position)
        pieces = []
        while size and (piece := file.read(size)):
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    return read


# ------------------------------------------------------------------------------------------ storages


class StoragePlace:
    """
    A file in any storage that Airflow knows.

    :param uri: such as ``s3://conn_id@bucket/key``.
    :raises OutputPathError: there is no such storage here, or its connection is missing.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.shown = f"output_path {shown(uri)}"
        scheme = uri.partition(":")[0]
        try:
            path = ObjectStoragePath(uri)
            self._fs: AbstractFileSystem = path.fs
            self._path = str(path.path)
        except Exception as error:
            raise OutputPathError(
                f"{self.shown} cannot be used ({type(error).__name__}: {redact(error)}): check that the provider for "
                f"{scheme}:// is installed, and that the connection named before the @ exists"
            ) from error
        self._bucket = self._path.strip("/").partition("/")[0]

    def check(self) -> None:
        """Say what is wrong, as far as can be known without writing."""
        with storage_errors(self.shown):
            if self._look() is None and not self._fs.exists(self._bucket):
                self._fs.ls(
                    self._bucket
                )  # says why, which `exists` does not: not there, no right, not reached

    def size(self) -> int | None:
        """Return the bytes that are there, or `None`."""
        with storage_errors(self.shown):
            return self._look()

    def _look(self) -> int | None:
        self._fs.invalidate_cache()  # another worker may have written it
        try:
            facts: dict[str, Any] = self._fs.info(self._path)
        except FileNotFoundError:
            return None
        if facts.get("type") == "directory":
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        return int(facts["size"])

    @contextlib.contextmanager
    def open(self) -> Iterator[Reader]:
        """Open what is there, for reading pieces."""
        with (
            storage_errors(self.shown),
            self._fs.open(self._path, "rb", block_size=_READ_BLOCK, cache_type="readahead") as file,
        ):
            yield reader(file)

    @contextlib.contextmanager
    def partial(self) -> Iterator[tuple[BinaryIO, Path]]:
        """Make a file to collect the clip in."""
        folder = Path(tempfile.gettempdir())
        with (
            storage_errors(f"the folder for temporary files, {folder}, on the way to {self.shown}", OSError),
            partial_file(folder, "kling-landing", 0o600) as made,
        ):
            yield made

    def publish(self, file: BinaryIO, partial: Path, *, replace: bool) -> bool:
        """Put a finished file there; `False` if something is there and must stay."""
        with storage_errors(self.shown):
            if not replace and self.size() is not None:
                return False
            size = os.fstat(file.fileno()).st_size
            try:
                self._upload(partial, replace=replace)
            except FileExistsError:
                return False
            there = self.size()
            if there != size:
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm_file(self._path)
                raise StorageError(
                    f"{self.shown} holds {there} bytes after an upload of {size}: it was deleted again"
                )
        return True

    def _upload(self, partial: Path, *, replace: bool) -> None:
        """Upload in one go where a storage shows an object only when it is whole; elsewhere beside it, then move it."""
        parameters = _parameters_of_put(self._fs)
        if parameters is None:
            beside = f"{self._path}.{os.urandom(6).hex()}.partial"
            try:
                self._fs.put_file(str(partial), beside)
                self._fs.mv(beside, self._path)
            except BaseException:
                with contextlib.suppress(Exception):
                    self._fs.rm_file(beside)
                raise
            return
        wishes: dict[str, Any] = {"chunksize": UPLOAD_PART, "max_concurrency": UPLOADS_AT_ONCE}
        if not replace:
            wishes["mode"] = "create"  # the storage itself refuses if somebody was faster
        options = {name: value for name, value in wishes.items() if name in parameters}
        try:
            self._fs.put_file(str(partial), self._path, **options)
        except Exception as error:
            if options.pop("mode", None) is None or not _is_unknown_wish(error):
                raise
            self._fs.put_file(str(partial), self._path, **options)


def _parameters_of_put(fs: AbstractFileSystem) -> frozenset[str] | None:
    """
    Return the parameters of a storage's own upload; ``None`` if it has none and fsspec's is used.

    That one writes through a file object, which fsspec closes, and so publishes, when the upload fails midway.
    """
    own = getattr(type(fs), "_put_file", None)
    if own is None or own.__module__.startswith("fsspec."):
        return None
    return frozenset(inspect.signature(own).parameters)


def _is_unknown_wish(error: Exception) -> bool:
    """Tell whether a storage does not know "only if nothing is there": some that speak S3 do not."""
    return isinstance(error, NotImplementedError) or "NotImplemented" in str(error)


@contextlib.contextmanager
def storage_errors(where: str, kinds: type[Exception] = Exception) -> Iterator[None]:
    """
    Turn what a storage raises into errors that name the place and say what to do.

    :param where: the place.
    :param kinds: what comes from the storage, and not from elsewhere.
    """
    try:
        yield
    except KlingError:
        raise
    except kinds as error:
        raise _told(where, error) from error


def _told(where: str, error: Exception) -> LandingError:
    code = error.errno if isinstance(error, OSError) else None
    what = f"{type(error).__name__}: {redact(error)}"
    if code in _FULL:
        return StorageError(f"{where}: the disk is full ({what}); make room")
    for kinds, codes, remedy in _REMEDIES:
        if isinstance(error, kinds) or code in codes:
            return OutputPathError(f"{where}: {remedy} ({what})")
    return StorageError(f"{where}: the storage failed ({what})")


_REMEDIES: tuple[tuple[tuple[type[Exception], ...], tuple[int, ...], str], ...] = (
    ((IsADirectoryError,), (errno.EISDIR,), "this is a folder; end it with / to land files in it"),
    ((NotADirectoryError, FileExistsError), (), "a part of this path is a file, not a folder"),
    ((FileNotFoundError,), (), "there is no such bucket or folder; make it, or correct the path"),
    ((PermissionError,), (errno.EROFS,), "no right to read or write there; give it, or take another path"),
    ((), (errno.ENAMETOOLONG,), "this name is too long"),
)
"""What a person has to change: kinds of errors, numbers of errors, and what to say."""
