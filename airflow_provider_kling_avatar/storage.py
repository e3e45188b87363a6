"""
Where a clip or a note can be put: a folder of this machine, or any storage that Airflow knows. Whole, or not at all.

Knows file systems, fsspec and what they raise. What is put there, and whether it may be, is `landing`'s to say.
"""

from __future__ import annotations

import contextlib
import errno
import inspect
import logging
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_provider_kling_avatar.compat import BaseHook, ObjectStoragePath, get_fs
from airflow_provider_kling_avatar.kling.download.tempfiles import partial_file
from airflow_provider_kling_avatar.kling.errors import KlingError, LandingError, OutputPathError, StorageError
from airflow_provider_kling_avatar.kling.local_paths import local_path
from airflow_provider_kling_avatar.kling.redact import public_source, redact, scheme_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedIOBase
    from typing import BinaryIO

    from fsspec import AbstractFileSystem

log = logging.getLogger(__name__)

UPLOAD_PART = 6 << 20
"""Bytes that are sent to a storage at once; S3 takes no fewer than 5 MiB. s3fs would take 50 MB, ten at a time."""

UPLOADS_AT_ONCE = 1

_READ_BLOCK = 4 << 20

LONGEST_NAME = 255
"""Bytes of a file's or a folder's name that file systems take."""
LONGEST_FOLDER = 3800
"""Bytes of a folder's path. Linux takes 4095 with the file's name, and that of the partial file beside it."""

PROVIDERS = {
    **dict.fromkeys(("s3", "s3a", "s3n"), "apache-airflow-providers-amazon[s3fs]"),
    **dict.fromkeys(("gs", "gcs"), "apache-airflow-providers-google"),
    **dict.fromkeys(("abfs", "abfss", "adl"), "apache-airflow-providers-microsoft-azure"),
    **dict.fromkeys(("sftp", "ssh"), "apache-airflow-providers-sftp[sshfs]"),
}
"""
What has to be installed for the schemes of ``ObjectStoragePath``, as the modules say that providers name under
``filesystems``. Seen in Airflow's repository on 2026-11-28.
"""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_LOCAL = ("", "file", "local")
_VARIABLE = re.compile(r"(?:^|/)\$(?:[A-Za-z_]|\{)")
_FILE_OR_FOLDER = (
    "may be meant as a folder or as a file: end it with / for a folder, or give the file's name with its extension, "
    "such as clip.mp4"
)
_BAD_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "RequestTimeTooSkewed"}
"""Codes of S3's 403 that are no matter of rights: nothing can be written with such a key either, nor without any."""


def file_at(path: str, file_name: str, *, kind: str = "", parameter: str = "output_path") -> StoredFile:
    """
    Return where a file belongs.

    :param path: a path or a storage URI; one that ends in ``/``, or an existing folder of this machine, is a folder.
        A ``~`` at its beginning is the home of the user that runs this process; variables are not filled in.
    :param file_name: its name in such a folder.
    :param kind: of a variant, which lies beside the file: ``clip.mp4`` has ``clip.watermarked.mp4`` beside it.
    :param parameter: what the user calls the path.
    :raises OutputPathError: no file can be there, the path is of no storage that this Airflow knows, or nobody can
        tell whether it is a file or a folder.
    """
    if not isinstance(path, str) or not path.strip():
        raise OutputPathError(
            f"{parameter} came as {type(path).__name__}, or empty: give a path, or a URI such as "
            "s3://conn_id@bucket/key; if it comes from an upstream task, that task returned nothing"
        )
    name = f"{parameter} {public_source(path)}"
    if "\0" in path:
        raise OutputPathError(f"{name} has a zero byte in it: look where it comes from")
    scheme = scheme_of(path)
    if scheme in ("http", "https"):
        raise OutputPathError(f"{name} is a web address: a file cannot be put there")
    if scheme not in _LOCAL:
        if "." not in path.rpartition("/")[2] and not path.endswith("/"):
            raise OutputPathError(f"{name} {_FILE_OR_FOLDER}")
        return StorageFile(_variant(path + file_name if path.endswith("/") else path, kind), parameter)
    local = _local_path(path, name)
    if path.endswith("/") or LocalFile(local, parameter).is_folder():
        local /= file_name
    elif not local.suffix and not os.path.lexists(local):
        raise OutputPathError(f"{name} {_FILE_OR_FOLDER}")
    return LocalFile(Path(_variant(str(local), kind)), parameter)


def _variant(path: str, kind: str) -> str:
    if not kind:
        return path
    folder, slash, name = path.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    return folder + slash + (f"{stem}.{kind}.{suffix}" if dot and stem else f"{name}.{kind}")


def _local_path(path: str, name: str) -> Path:
    if _VARIABLE.search(path):
        raise OutputPathError(
            f"{name}: variables such as $HOME are not filled in; begin with ~ for the home of the user that runs the "
            "workers, or let a template write the path"
        )
    if not scheme_of(path):
        expanded = os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser raises where nobody is called so
        if path.startswith("~") and expanded == path:
            raise OutputPathError(f"{name}: there is no user of that name on this worker; write the path out")
        return Path(expanded).absolute()
    try:
        return Path(local_path(path))
    except ValueError as error:
        raise OutputPathError(f"{name} {error}") from None


# ------------------------------------------------------------------------------------------ this machine


class LocalFile:
    """
    A file of the machine that runs the task.

    :param path: absolute.
    :param parameter: what the user calls it.
    :raises OutputPathError: no file can be called so.
    """

    def __init__(self, path: Path, parameter: str = "output_path") -> None:
        self._path = path
        self.uri = f"file://{path}"
        self.shown = f"{parameter} {public_source(str(path))}"
        longest = max(len(os.fsencode(part)) for part in path.parts)
        if longest > LONGEST_NAME:
            raise OutputPathError(
                f"{self.shown} has a name of {longest} bytes in it: file systems take {LONGEST_NAME}; shorten it"
            )
        if len(os.fsencode(path.parent)) > LONGEST_FOLDER:
            raise OutputPathError(
                f"{self.shown}: its folder is longer than {LONGEST_FOLDER} bytes; shorten it"
            )

    def is_folder(self) -> bool:
        """Tell whether this is an existing folder, in which a file would get a name of its own."""
        try:
            return self._path.is_dir()
        except PermissionError as error:
            raise OutputPathError(
                f"{self.shown}: no right to look there; let the user that runs the workers in"
            ) from error
        except OSError:
            return False  # what is wrong is said by `check`

    def check(self) -> None:
        """Say what is wrong, as far as can be known without writing."""
        with storage_errors(self.shown):
            self._status()
            folder = self._path.parent
            while not os.path.lexists(folder):
                folder = folder.parent
            self._check_folder(folder)

    def check_folder(self) -> None:
        """Say whether the folder is there and can be written to."""
        with storage_errors(self.shown):
            self._check_folder(self._path.parent)

    def _check_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            if folder.is_symlink():
                raise OutputPathError(
                    f"{self.shown}: {folder} is a link that leads nowhere; mend or remove it"
                )
            if not folder.exists():
                raise FileNotFoundError(errno.ENOENT, "is not there")
            raise NotADirectoryError(errno.ENOTDIR, "not a directory")
        if not os.access(folder, os.W_OK | os.X_OK):
            if os.statvfs(folder).f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, "is on a read-only file system")
            raise PermissionError(errno.EACCES, "no right to write")

    def _status(self) -> os.stat_result | None:
        """
        Return what is known of the file that is there, ``None`` if nothing is.

        :raises OutputPathError: what is there is no file; to open a pipe would block for ever.
        """
        try:
            status = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            if self._path.is_symlink():
                raise OutputPathError(
                    f"{self.shown} is a link that leads nowhere: remove it, or make what it leads to"
                ) from None
            return None
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise OutputPathError(f"{self.shown} is a pipe, a socket or a device: name a file")
        return status

    def size(self) -> int | None:
        """Return the bytes that are there; `None` if nothing is."""
        with storage_errors(self.shown):
            status = self._status()
            return None if status is None else status.st_size

    @contextlib.contextmanager
    def open(self) -> Iterator[BufferedIOBase]:
        """Open what is there for reading."""
        with storage_errors(self.shown), self._path.open("rb") as file:
            yield file

    @contextlib.contextmanager
    def partial_file(self) -> Iterator[tuple[BinaryIO, Path]]:
        """Make a file to fetch the clip into."""
        with storage_errors(self.shown, OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with partial_file(self._path.parent, self._path.name) as made:
                yield made

    def publish(self, file: BinaryIO, partial: Path, *, replace: bool) -> bool:
        """Put a finished file there, whole or not at all; `False` if something is there and must stay."""
        with storage_errors(self.shown):
            os.fsync(file.fileno())
            self._status()
            if replace:
                partial.replace(self._path)
            else:
                try:
                    os.link(partial, self._path)
                except FileExistsError:
                    return False
                except OSError as error:
                    if error.errno not in _NO_LINKS:
                        raise
                    # A file system without hard links: a moment between looking and moving is left.
                    if self._path.exists():
                        return False
                    partial.replace(self._path)
            _sync_folder(self._path.parent)
        return True

    def read_bytes(self) -> bytes:
        """Return what is there; raises what the file system raises."""
        return self._path.read_bytes()

    def write_bytes(self, content: bytes) -> None:
        """Put a small file there; its name on the way is random, since other machines may share the folder."""
        partial = self._path.with_name(f"{self._path.name}.{os.urandom(6).hex()}.partial")
        try:
            with partial.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path)
        finally:
            with contextlib.suppress(OSError):  # it was moved, unless that failed
                partial.unlink()
        _sync_folder(self._path.parent)


def _sync_folder(folder: Path) -> None:
    """Make sure that a new name outlives a power cut; not every file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# ------------------------------------------------------------------------------------------ storages


class StorageFile:
    """
    A file in any storage that Airflow knows.

    :param uri: such as ``s3://conn_id@bucket/key``.
    :param parameter: what the user calls it.
    :raises OutputPathError: there is no such storage here, or its connection is missing.
    """

    def __init__(self, uri: str, parameter: str = "output_path") -> None:
        self.uri = uri
        self.shown = f"{parameter} {public_source(uri)}"
        try:
            path = ObjectStoragePath(uri)
            self._fs: AbstractFileSystem = path.fs
            self._path = str(path.path)
        except Exception as error:
            raise OutputPathError(
                f"{self.shown} cannot be used ({type(error).__name__}: {redact(error)}): "
                f"{_what_to_install(uri.partition(':')[0].lower(), error)}"
            ) from error
        self._bucket = self._path.strip("/").partition("/")[0]

    def check(self) -> None:
        """Say what is wrong, as far as can be known without writing; 403 may mean that one may only write."""
        with storage_errors(self.shown):
            try:
                if self._look() is None and not self._fs.exists(self._bucket):
                    self._list()
            except PermissionError:
                self._list()

    def _list(self) -> None:
        """List the bucket: that says why, which `exists` does not: not there, no right, not reached."""
        try:
            self._fs.ls(self._bucket)
        except PermissionError as error:
            told = getattr(error.__cause__, "response", {}).get("Error", {})
            if told.get("Code") in _BAD_KEYS or getattr(self._fs, "anon", False):
                raise
            log.warning("%s may not be looked at with this connection: taken for one to write to", self.shown)

    def size(self) -> int | None:
        """Return the bytes that are there; `None` if nothing is, or if nobody may look."""
        with storage_errors(self.shown):
            try:
                facts = self._look()
            except PermissionError:
                return None
            return None if facts is None else int(facts["size"])

    def _look(self) -> dict[str, Any] | None:
        self._fs.invalidate_cache()  # another worker may have written it
        try:
            facts: dict[str, Any] = self._fs.info(self._path)
        except FileNotFoundError:
            return None
        if facts.get("type") == "directory":
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        return facts

    @contextlib.contextmanager
    def open(self) -> Iterator[BufferedIOBase]:
        """Open what is there for reading."""
        with (
            storage_errors(self.shown),
            self._fs.open(self._path, "rb", block_size=_READ_BLOCK, cache_type="readahead") as file,
        ):
            yield file

    @contextlib.contextmanager
    def partial_file(self) -> Iterator[tuple[BinaryIO, Path]]:
        """Make a file to fetch the clip into."""
        folder = Path(tempfile.gettempdir())
        with (
            storage_errors(f"the folder for temporary files, {folder}, on the way to {self.shown}", OSError),
            partial_file(folder, "kling-landing", 0o600) as made,
        ):
            yield made

    def publish(self, file: BinaryIO, partial: Path, *, replace: bool) -> bool:
        """Put a finished file there, whole or not at all; `False` if something is there and must stay."""
        with storage_errors(self.shown):
            if not replace and self.size() is not None:
                return False
            size = os.fstat(file.fileno()).st_size
            try:
                written = self._upload(partial, size, replace=replace)
            except FileExistsError:
                return False
            try:
                facts = self._look()
            except PermissionError:
                return True  # a bucket that may only be written to
            there = None if facts is None else int(facts["size"])
            if there != size:
                fate = "it was deleted again" if self._take_back(facts, written) else _LEFT
                raise StorageError(f"{self.shown} holds {there} bytes after an upload of {size}: {fate}")
        return True

    def _upload(self, partial: Path, size: int, *, replace: bool) -> dict[str, Any]:
        """
        Upload in one go where a storage shows an object only when it is whole; elsewhere beside it, then move it.

        :return: what the storage says of the object that it has made, if it says anything.
        """
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
            return {}
        options: dict[str, Any] = {"chunksize": UPLOAD_PART, "max_concurrency": UPLOADS_AT_ONCE}
        if not replace:
            options["mode"] = "create"  # the storage itself refuses if somebody was faster
        options = {name: value for name, value in options.items() if name in parameters}
        try:
            return self._send(partial, size, options)
        except Exception as error:
            if options.pop("mode", None) is None or not _has_no_conditional_writes(error):
                raise
            return self._send(partial, size, options)

    def _send(self, partial: Path, size: int, options: dict[str, Any]) -> dict[str, Any]:
        """Upload; of what goes in one piece s3fs hands on S3's answer, with ETag and version, only from `pipe_file`."""
        in_one_piece = _is_s3(self._fs) and size < 2 * UPLOAD_PART
        if in_one_piece and options.keys() <= _parameters_of(self._fs, "_pipe_file"):
            answer = self._fs.pipe_file(self._path, partial.read_bytes(), ContentType="video/mp4", **options)
            return answer if isinstance(answer, dict) else {}
        self._fs.put_file(str(partial), self._path, **options)
        return {}

    def _take_back(self, facts: dict[str, Any] | None, written: dict[str, Any]) -> bool:
        """
        Delete an upload of the wrong size, if it is known to be the one of this try; tell whether that was done.

        Somebody else may have replaced it since: S3 deletes only this version, or only what has this ETag.
        """
        version, etag = written.get("VersionId"), written.get("ETag")
        if facts is None or not etag or facts.get("ETag") != etag:
            return False
        bucket, key, _ = self._fs.split_path(self._path)
        only = {"VersionId": version} if version else {"IfMatch": etag}
        try:
            self._fs.call_s3("delete_object", Bucket=bucket, Key=key, **only)
        except Exception as error:  # noqa: BLE001  # the wrong upload itself is what has to be told
            log.warning(
                "%s could not be taken back (%s: %s)", self.shown, type(error).__name__, redact(error)
            )
            return False
        return True

    def read_bytes(self) -> bytes:
        """Return what is there, as another worker has just left it; raises what the storage raises."""
        self._fs.invalidate_cache()
        content: bytes = self._fs.cat_file(self._path)
        return content

    def write_bytes(self, content: bytes) -> None:
        """Put a small file there; object stores show an object whole or not at all."""
        self._fs.pipe_file(self._path, content)


StoredFile: TypeAlias = LocalFile | StorageFile
"""One file's place; both kinds have the same methods, but for those about folders."""

_LEFT = (
    "somebody else has replaced it meanwhile, or the storage cut it; it was left alone, since it is not known to be "
    "what was uploaded. Look at it, and delete it if it is half a clip"
)


def _what_to_install(scheme: str, error: Exception) -> str:
    """Say what is missing where a storage cannot be opened."""
    package = PROVIDERS.get(scheme)
    if package is None:
        return (
            f"no provider has {scheme}://; there are {', '.join(PROVIDERS)}, and paths of the worker's disk"
        )
    if isinstance(error, ImportError) or "No filesystem registered" in str(error):
        return f"install what Airflow needs for {scheme}:// on the workers: pip install '{package}'"
    return "check that the connection named before the @ exists and is complete"


def _is_s3(fs: AbstractFileSystem) -> bool:
    return "s3" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def _parameters_of_put(fs: AbstractFileSystem) -> frozenset[str] | None:
    """
    Return the parameters of a storage's own upload; ``None`` if it has none and fsspec's is used.

    That one writes through a file object, which fsspec closes, and so publishes, when the upload fails midway.
    """
    own = getattr(type(fs), "_put_file", None)
    if own is None or own.__module__.startswith("fsspec."):
        return None
    return _parameters_of(fs, "_put_file")


def _parameters_of(fs: AbstractFileSystem, method: str) -> frozenset[str]:
    return frozenset(inspect.signature(getattr(type(fs), method)).parameters)


def _has_no_conditional_writes(error: Exception) -> bool:
    """Tell whether a storage does not know "only if nothing is there": some that speak S3 answer NotImplemented."""
    return isinstance(error, NotImplementedError) or (
        isinstance(error, OSError) and error.errno == errno.ENOSYS
    )


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
        raise _landing_error(where, error) from error


def _landing_error(where: str, error: Exception) -> LandingError:
    code = error.errno if isinstance(error, OSError) else None
    what = f"{type(error).__name__}: {redact(error)}"
    if code in _FULL:
        return StorageError(f"{where}: the disk is full ({what}); free some of it")
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
    ((), (errno.ELOOP,), "links on this path lead in a circle"),
)
"""What a person has to change: kinds of errors, numbers of errors, and what to say."""


def parts_of(uri: str) -> tuple[str, str, str]:
    """
    Return scheme, connection id (may be empty) and bucket with key of a storage URI.

    As `ObjectStoragePath` reads it: nothing is unquoted, and a question mark or a hash belongs to the key.
    """
    account, _, key = uri.partition("://")[2].partition("/")
    conn_id, _, bucket = account.rpartition("@")
    return scheme_of(uri), conn_id, f"{bucket}/{key}"


def signed_link(uri: str, seconds: int) -> str:
    """
    Make a link to a file in a storage, signed with the connection as it is now.

    By a file system of its own. `ObjectStoragePath` goes on with the connection that it met first for as long as the
    process lives; and that of Amazon (s3fs 2026.4 and older), asked for a second link before anything was read,
    forgets the connection and takes what rights the process itself has.

    :param uri: such as ``s3://conn_id@bucket/key``.
    :param seconds: how long it lives.
    :raises NotImplementedError: the storage cannot sign links.
    """
    scheme, conn_id, place = parts_of(uri)
    if conn_id:  # Amazon's file system goes on without it, with what rights the process itself has
        BaseHook.get_connection(conn_id)
    file_system = get_fs(scheme, conn_id or None)
    file_system.clear_instance_cache()  # or fsspec would keep each for as long as the process lives
    return str(file_system.sign(place, expiration=seconds))
