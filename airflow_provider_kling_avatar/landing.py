"""
The landing of a finished clip: from the vendor's link to a verified file in the user's storage, whole or not at all.

Knows the order of things: the clip is fetched and checked on this machine, compared with what is there, and only
then published. Never asks for anything to be made, so nothing here can be paid twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from airflow_provider_kling_avatar.kling.download import MAX_BYTES
from airflow_provider_kling_avatar.kling.errors import (
    CLIP_IS_SAFE,
    InvalidRequestError,
    NoWatermarkError,
    OutputExistsError,
    OutputPathError,
    StorageError,
    TaskLostError,
)
from airflow_provider_kling_avatar.storage import file_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
    from airflow_provider_kling_avatar.kling.download.http import Fetched
    from airflow_provider_kling_avatar.kling.models import EndpointName, Video, VideoTask
    from airflow_provider_kling_avatar.storage import StoredFile

OnExisting = Literal["fail", "replace"]
"""What to do with another file at ``output_path``."""

WATERMARKED = "watermarked"


@dataclass(frozen=True, slots=True)
class Landed:
    """
    What lies in the storage.

    :param file: what to open it by: a path if ``output_path`` was one, otherwise `file_uri`.
    :param file_uri: its URI, with the connection id as ``output_path`` named it.
    :param size: bytes.
    :param sha256: of the file, in hexadecimal digits.
    :param seconds: how long the landing took, both variants together.
    :param duration: of the film, in seconds, by its own header; the vendor's word if that has none.
    :param watermark_file: the watermarked variant, if asked for, in the form of `file`.
    :param was_there: the same file was there already, and nothing was written.
    """

    file: str
    file_uri: str
    size: int
    sha256: str
    seconds: float
    duration: float | None
    watermark_file: str | None = None
    was_there: bool = False


class Landing:
    """
    Lands clips as one file or into one folder.

    **Names.** ``output_path`` is a path or any URI that ``ObjectStoragePath`` takes. One that ends in ``/``, or an
    existing folder of this machine, is a folder: there the file is called by the vendor's id of the task,
    ``<task_id>.mp4``, the same on every try. The watermarked variant lies beside it as ``<stem>.watermarked.mp4``.

    **Equal.** What is there counts as this clip if its size and its SHA-256 are those of the clip, which is
    fetched to be compared. Then nothing is written. A file of another size is another one: nothing is fetched then.

    :param output_path: where to.
    :param on_existing: ``fail`` (default) or ``replace``, if another file is there.
    :param watermarked: land the watermarked variant too; it has to have been asked for when the clip was made.
    :param max_bytes: of a clip, at most.
    :param sleep: pauses between attempts to fetch, for so many seconds.
    """

    def __init__(
        self,
        output_path: str,
        *,
        on_existing: OnExisting = "fail",
        watermarked: bool = False,
        max_bytes: int = MAX_BYTES,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.output_path = output_path
        self.on_existing = on_existing
        self.watermarked = watermarked
        self.max_bytes = max_bytes
        self.sleep = sleep

    def check(self) -> None:
        """
        Say what is wrong with the path, as far as it shows without writing.

        :raises InvalidRequestError: a parameter has an unknown value.
        :raises OutputPathError: no file can be there: the storage's provider, the connection or the bucket is missing,
            the path is a folder without ``/`` at its end or no file at all, a file stands where a folder should, or
            there is no right to write. A storage that does not let itself be looked at is no reason.
        :raises StorageError: the storage cannot be asked.
        """
        self._check_parameters()
        for target in self._targets():
            target.check()

    def check_free(self) -> None:
        """
        Say that another file is there already, before a clip is paid for that could not land.

        Where that is in doubt it is left to the landing. In a folder nothing can be in the way.

        :raises OutputExistsError: a file is certainly there, and has to stay.
        """
        for target in self._targets() if self.on_existing == "fail" else ():
            size = None
            with contextlib.suppress(StorageError, OutputPathError):
                size = target.size()
            if size is not None:
                raise _exists(target, size, "a new clip could not land there")

    def land(self, hook: KlingAvatarHook, endpoint: EndpointName, task: VideoTask) -> Landed:
        """
        Land a finished clip.

        :param hook: of the account; asked for new links when those at hand have expired.
        :param endpoint: ``avatar`` or ``image_to_video``.
        :param task: succeeded, as it was just seen.
        :raises LandingError: it is not there, and nothing half-written either; the children say why. Another try
            lands it without paying.
        """
        begin = time.monotonic()
        self._check_parameters()
        if self.watermarked and not _video(task).watermark_url:
            raise NoWatermarkError(
                f"task {task.task_id} has no watermarked variant: it is made only if watermark=True was set when "
                "the clip was ordered"
            )
        targets = zip(self._targets(_safe_name(task.task_id)), (_plain_link, _watermarked_link), strict=False)
        main, *others = [
            _Variant(self, hook, endpoint, task, target, link).land() for target, link in targets
        ]
        return replace(
            main,
            seconds=round(time.monotonic() - begin, 3),
            watermark_file=others[0].file if others else None,
        )

    def _targets(self, name: str = "<task_id>") -> list[StoredFile]:
        """Return the file of each variant, in a folder with a name for the task's id."""
        kinds = ("", WATERMARKED) if self.watermarked else ("",)
        return [file_at(self.output_path, f"{name}.mp4", kind=kind) for kind in kinds]

    def _check_parameters(self) -> None:
        if self.on_existing not in get_args(OnExisting):
            raise InvalidRequestError(
                f"on_existing must be one of {', '.join(get_args(OnExisting))}, not {self.on_existing!r}",
                field="on_existing",
            )
        if isinstance(self.max_bytes, bool) or not isinstance(self.max_bytes, int) or self.max_bytes < 1:
            raise InvalidRequestError(
                f"max_bytes must be a number of bytes above 0, not {self.max_bytes!r}", field="max_bytes"
            )


@dataclass(frozen=True, slots=True)
class _Variant:
    """One file's way."""

    landing: Landing
    hook: KlingAvatarHook
    endpoint: EndpointName
    task: VideoTask
    target: StoredFile
    link: Callable[[VideoTask], str]

    def land(self) -> Landed:
        """Fetch, check and publish, unless the same content is there."""
        from airflow_provider_kling_avatar.kling.download.http import Clip

        config = self.hook.config
        begin = time.monotonic()
        clip = Clip(
            self.link(self.task),
            refresh=self._new_link,
            address_rules=config.address_rules,
            connect_timeout=config.connect_timeout,
            read_timeout=config.read_timeout,
            sleep=self.landing.sleep,
        )
        with self.target.partial_file() as (file, path):
            fetched = clip.fetch(file, self.landing.max_bytes, self._check_announced)
            duration = self._duration(path)
            was_there = not self._publish(file, path, fetched)
        self.hook.log.info(
            "task %s %s at %s: %s bytes, sha256 %s, after %.1f s",
            self.task.task_id,
            "was already" if was_there else "landed",
            self.target.shown,
            fetched.size,
            fetched.sha256,
            time.monotonic() - begin,
        )
        uri = self.target.uri
        return Landed(
            file=uri if "://" in self.landing.output_path else uri.removeprefix("file://"),
            file_uri=uri,
            size=fetched.size,
            sha256=fetched.sha256,
            seconds=0.0,
            duration=duration,
            was_there=was_there,
        )

    def _new_link(self) -> str:
        self.hook.log.info("the link to task %s has expired: asking for a new one", self.task.task_id)
        return self.link(self.hook.get_task(self.task.task_id, self.endpoint))

    def _check_announced(self, announced: int) -> None:
        """Raise if another file is there, which must stay: one of another size is known before the clip is fetched."""
        size = self.target.size()
        if size not in (None, announced) and self.landing.on_existing == "fail":
            raise self._another(size)

    def _publish(self, file: BinaryIO, path: Path, fetched: Fetched) -> bool:
        """Publish; ``False`` if the same content was there."""
        if self._is_there(fetched):
            return False
        if self.target.publish(file, path, replace=self.landing.on_existing == "replace"):
            return True
        if self._is_there(fetched):  # somebody was faster, perhaps another try of this task
            return False
        raise self._another(self.target.size())

    def _is_there(self, fetched: Fetched) -> bool:
        size = self.target.size()
        if size is None or size != fetched.size:
            return False
        with self.target.open() as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == fetched.sha256

    def _another(self, size: int | None) -> OutputExistsError:
        return _exists(self.target, size, f"it is not task {self.task.task_id}")

    def _duration(self, path: Path) -> float | None:
        """Check that a file is a film; return its seconds."""
        from airflow_provider_kling_avatar.kling.media.mp4 import check_film

        expected = _video(self.task).duration
        with path.open("rb") as film:
            seconds = check_film(film, expected)
        return expected if seconds is None else round(seconds, 3)


def _exists(target: StoredFile, size: int | None, problem: str) -> OutputExistsError:
    """
    Return the error of a place that is taken.

    :param size: bytes of what is there, ``None`` where that may not be looked at.
    :param problem: what follows from it.
    """
    what = (
        "holds a file already that may not be read, so that nobody can tell whether it is this clip"
        if size is None
        else f"holds another file already ({size} bytes): {problem}"
    )
    return OutputExistsError(
        f"{target.shown} {what}. Give each clip a path of its own (a path that ends in / does), or set "
        "on_existing='replace'"
    )


def _video(task: VideoTask) -> Video:
    if task.video is None:
        raise TaskLostError(f"task {task.task_id} has no video URL: it cannot be landed. {CLIP_IS_SAFE}")
    return task.video


def _plain_link(task: VideoTask) -> str:
    return _video(task).url


def _watermarked_link(task: VideoTask) -> str:
    link = _video(task).watermark_url
    if not link:
        raise NoWatermarkError(f"task {task.task_id} has no watermarked variant any more")
    return link


def _safe_name(task_id: str) -> str:
    """Return a task's id as a file name: the same for the same id, and never the same for another."""
    if re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", task_id):
        return task_id
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", task_id).strip("-")[:60]
    return f"{readable}-{hashlib.sha256(task_id.encode()).hexdigest()[:16]}"
