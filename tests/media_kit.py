"""A picture and a sound as small as every vendor takes, as files' bytes."""

from __future__ import annotations

import base64
import io
import wave

from PIL import Image


def picture(width: int = 320, height: int = 320, kind: str = "PNG") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 160)).save(target, kind)
    return target.getvalue()


def sound(seconds: float = 2.5) -> bytes:
    """Silence, as a WAV."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(2 * int(8000 * seconds)))
    return target.getvalue()


def inline(content: bytes) -> str:
    """The same as an API takes it in a body: bare base64."""
    return base64.b64encode(content).decode()
