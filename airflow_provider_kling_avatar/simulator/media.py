"""The pictures and audios that arrive: fetches or decodes them, measures their content, keeps them.

It knows formats, limits from the contracts, and which addresses may be contacted. It must not know tasks.
By default only this machine is contacted: a simulator is for working offline, and one that fetched any
address a request names would be an open proxy. A shipped picture or greeting stands in for the rest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import logging
import os
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

import av
import requests
from PIL import Image, UnidentifiedImageError

from airflow_provider_kling_avatar.simulator.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from airflow_provider_kling_avatar.simulator.contracts import MediaField

log = logging.getLogger(__name__)

PLACEHOLDERS: Final = {"image": "presenter.jpg", "audio": "greeting.mp3"}
"""What stands in for media at addresses that are not contacted, by kind; in `assets/`."""

_CONTAINERS: Final = {"mp3": "mp3", "wav": "wav", "aac": "aac", "mov,mp4,m4a,3gp,3g2,mj2": "m4a"}
"""FFmpeg's names of audio containers -> the names the documentation uses."""

_SUFFIXES: Final = {"jpeg": ".jpg", "png": ".png"}
_FETCH_SECONDS = 20
_FETCH_BYTES = 64 * 1024 * 1024
_REDIRECTS = 3
_UNREADABLE_IMAGE: Final = (
    UnidentifiedImageError,
    OSError,
    ValueError,
    SyntaxError,  # Pillow's word for a broken PNG
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # raised where warnings are errors
)


def is_loopback(url: str) -> bool:
    """Whether an address points at this machine, judged by its name alone."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, or no URL at all
        return False


def audio_seconds(source: Path | BytesIO) -> tuple[str, Decimal]:
    """Measure audio: its format as documented (`mp3`, `wav`, `m4a`, `aac`) and its length in seconds.

    Adds up the packets instead of trusting the header, which lies in VBR and ADTS files. Raises Refusal.
    """
    try:
        with av.open(source if isinstance(source, BytesIO) else str(source), "r") as container:
            kind = _CONTAINERS.get(container.format.name, container.format.name)
            stream = container.streams.audio[0]
            ticks = (Fraction(p.duration or 0) * (p.time_base or 0) for p in container.demux(stream))
            length = sum(ticks, Fraction(0))
            container.seek(0)
            next(container.decode(stream))
    except (av.FFmpegError, IndexError, StopIteration, ValueError) as error:
        raise Refusal(1201, "Audio cannot be read, please check the file") from error
    return kind, Decimal(length.numerator) / Decimal(length.denominator)


def stand_in(kind: str) -> bytes:
    """Read the shipped picture (`image`) or greeting (`audio`)."""
    return (files("airflow_provider_kling_avatar") / "simulator" / "assets" / PLACEHOLDERS[kind]).read_bytes()


class MediaCupboard:
    """Keeps media by content, so that the same picture sent a hundred times is stored once."""

    def __init__(self, folder: Path, *, fetch_remote: bool) -> None:
        """Keep files in `folder`; contact hosts other than this machine only if `fetch_remote`."""
        self.folder = folder
        self._fetch_remote = fetch_remote

    def take(self, field: MediaField) -> tuple[str, Decimal]:
        """Check one field of a request and keep its content; answer the file's name and its seconds (0 for pictures).

        Raises Refusal with code 1201 for whatever the vendor would refuse.
        """
        kind = field.rules["kind"]
        data = self._bytes_of(field)
        limit = field.rules.get("max_bytes")
        if limit is not None and len(data) > limit:
            raise Refusal(1201, f"{field.name} is too large: {len(data)} bytes, at most {limit} are accepted")
        if not data:
            raise Refusal(1201, f"{field.name} is empty")
        return self._check_image(field, data) if kind == "image" else self._check_audio(field, data)

    def keep(self, data: bytes, suffix: str) -> str:
        """Store bytes under a name made from their content, whole or not at all."""
        name = hashlib.sha256(data).hexdigest()[:40] + suffix
        target = self.folder / name
        if not target.exists():
            partial = target.with_suffix(f".{os.urandom(4).hex()}.partial")
            partial.write_bytes(data)
            partial.replace(target)
        return name

    def _bytes_of(self, field: MediaField) -> bytes:
        accepts = field.rules.get("accepts", ["url", "base64"])
        if field.value.lower().startswith(("http://", "https://")):
            if "url" not in accepts:
                raise Refusal(1201, f"{field.name} must not be a URL")
            return self._at_url(field)
        if "base64" not in accepts:
            raise Refusal(1201, f"{field.name} must be a URL")
        if field.value.startswith("data:"):
            raise Refusal(1201, f"{field.name} must be bare base64, without a data: prefix")
        try:
            return base64.b64decode(field.value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Refusal(1201, f"{field.name} is neither a URL nor base64") from error

    def _at_url(self, field: MediaField) -> bytes:
        url = field.value
        for _ in range(_REDIRECTS):
            if not (self._fetch_remote or is_loopback(url)):
                kind = field.rules["kind"]
                log.warning(
                    "%s is not on this machine and was not fetched: %s stands in",
                    field.name,
                    PLACEHOLDERS[kind],
                )
                return stand_in(kind)
            try:
                answer = _fetch(url)
            except (requests.RequestException, ValueError) as error:
                raise Refusal(1201, f"{field.name} cannot be downloaded ({type(error).__name__})") from error
            if isinstance(answer, bytes):
                return answer
            url = answer
        raise Refusal(1201, f"{field.name} cannot be downloaded (too many redirects)")

    def _check_image(self, field: MediaField, data: bytes) -> tuple[str, Decimal]:
        rules = field.rules
        try:
            with Image.open(BytesIO(data)) as image:
                kind = (image.format or "").lower()
                kind = "jpeg" if kind == "mpo" else kind  # what some phones write into a .jpg
                width, height = image.size
                image.load()
        except _UNREADABLE_IMAGE as error:
            raise Refusal(1201, f"{field.name} cannot be read as an image") from error
        if kind not in rules.get("formats", (kind,)):
            raise Refusal(1201, f"{field.name} has format {kind}, which is not supported")
        if min(width, height) < rules.get("min_side_pixels", 0):
            raise Refusal(1201, f"Image pixel is invalid: {field.name} is {width} x {height}")
        ratio = rules.get("max_aspect_ratio")
        if ratio is not None and max(width, height) > ratio * min(width, height):
            raise Refusal(1201, f"Image aspect ratio is invalid: {field.name} is {width} x {height}")
        return self.keep(data, _SUFFIXES.get(kind, f".{kind}")), Decimal(0)

    def _check_audio(self, field: MediaField, data: bytes) -> tuple[str, Decimal]:
        kind, seconds = audio_seconds(BytesIO(data))
        if kind not in field.rules.get("formats", (kind,)):
            raise Refusal(1201, f"{field.name} has format {kind}, which is not supported")
        check_length(field.name, seconds, field.rules)
        return self.keep(data, f".{kind}"), seconds


def check_length(name: str, seconds: Decimal, rules: Mapping[str, Any]) -> None:
    """Refuse audio shorter or longer than the rules allow."""
    shortest, longest = rules.get("min_seconds"), rules.get("max_seconds")
    if shortest is not None and seconds < shortest:
        raise Refusal(1201, f"{name} is too short: {seconds:.2f} s, at least {shortest} s are needed")
    if longest is not None and seconds > longest:
        raise Refusal(1201, f"{name} is too long: {seconds:.2f} s, at most {longest} s are accepted")


def _fetch(url: str) -> bytes | str:
    """Download `url`, or answer the address it redirects to, which the caller must judge anew."""
    with requests.Session() as session:
        session.trust_env = False  # a proxy from the environment would defeat the loopback rule
        with session.get(url, timeout=_FETCH_SECONDS, stream=True, allow_redirects=False) as answer:
            if answer.is_redirect:
                return urljoin(url, answer.headers["location"])
            answer.raise_for_status()
            data = bytearray()
            for chunk in answer.iter_content(65_536):
                data += chunk
                if len(data) > _FETCH_BYTES:
                    break  # more than any limit; the size check words the refusal
    return bytes(data)
