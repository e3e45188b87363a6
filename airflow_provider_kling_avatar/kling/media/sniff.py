"""
Says what a file is that is not what it should be.

It knows how common files begin. It must not decide anything: its words end up in error messages only.
"""

from __future__ import annotations

import re

_BEGINNINGS = (
    (rb"GIF8", "a GIF"),
    (rb"\x89PNG", "a damaged PNG"),
    (rb"\xff\xd8\xff", "a damaged JPEG"),
    (rb"RIFF....WEBP", "a WebP picture"),
    (rb"....ftyp(?:heic|heix|hevc|mif1|msf1)", "a HEIC picture, as iPhones take it"),
    (rb"....ftypavi[fs]", "an AVIF picture"),
    (rb"....ftyp", "an MP4 or QuickTime file"),
    (rb"RIFF....WAVE", "a WAV audio"),
    (rb"RIFF....AVI ", "an AVI video"),
    (rb"OggS", "an Ogg audio (Vorbis or Opus)"),
    (rb"fLaC", "a FLAC audio"),
    (rb"FORM....AIF[FC]", "an AIFF audio"),
    (rb"#!AMR", "an AMR audio"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a WMA audio"),
    (rb"\x1a\x45\xdf\xa3", "a WebM or Matroska file"),
    (rb"ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]", "an MPEG audio"),
    (rb"\xff[\xf0\xf1\xf8\xf9]", "an AAC audio"),
    (rb"%PDF", "a PDF"),
    (rb"PK\x03\x04", "a ZIP archive"),
    (rb"\x1f\x8b", "a gzip archive"),
    (rb"\s*<svg|\s*<\?xml", "an SVG or XML text"),
    (rb"(?i)\s*<!doctype html|\s*<html", "a web page, perhaps an error page saved under this name"),
    (rb"\s*[\[{]\s*[\"{\]}]", "a JSON text, perhaps an error message saved under this name"),
)
_NAMES = tuple((re.compile(beginning, re.DOTALL), name) for beginning, name in _BEGINNINGS)


def looks_like(data: bytes) -> str:
    """Describe a file by its first bytes, as in "it looks like a GIF"."""
    head = data[:64]
    for pattern, name in _NAMES:
        if pattern.match(head):
            return f"it looks like {name}"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character was merely cut in two
            return "its content has no known beginning"
    return "its content has no known beginning" if b"\0" in head else "it looks like a text"
