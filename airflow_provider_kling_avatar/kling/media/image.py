"""
Measures pictures by their content.

It knows Pillow and how to keep it from decoding a bomb. It must not know any vendor's limits.
"""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.kling.errors import MediaError
from airflow_provider_kling_avatar.kling.media.rules import ImageInfo, looks_like

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_SAME = {"mpo": "jpeg"}
"""Phones append a depth map or a second view to a JPEG; Pillow calls that MPO, everybody else JPEG."""
_PROGRESSIVE_PIXELS = 8_000_000
"""A larger progressive JPEG is not unpacked: libjpeg keeps up to 8 bytes for each pixel until it has the last scan."""
_END = b"\xff\xd9"
"""The marker at the end of a JPEG; nothing in a scan reads like it."""


def measure_image(data: bytes) -> ImageInfo:
    """
    Measure a picture; its format comes from the content, never from a name.

    :raises MediaError: it is empty, no picture, damaged, or would need an absurd amount of memory.
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise MediaError("the file is empty (0 bytes); check the task that should have written it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a sloppy EXIF block harms nobody
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(stream := BytesIO(data)) as image:
                name = (image.format or "").lower()
                info = ImageInfo(_SAME.get(name, name), *image.size, len(data))
                _read_through(image, stream)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise MediaError(
            f"the picture has more than {Image.MAX_IMAGE_PIXELS} pixels and was not opened; make it smaller"
        ) from None
    except UnidentifiedImageError:
        raise MediaError(
            f"the file is no picture that can be read: {looks_like(data)}; save it as JPEG or PNG"
        ) from None
    except Exception as error:  # noqa: BLE001 - parsers of hostile bytes fail in any way, all meaning the same
        raise MediaError(
            f"the picture is damaged or cut off ({type(error).__name__}); copy or save it again as JPEG or PNG"
        ) from None
    return info


def _read_through(image: ImageFile, stream: BytesIO) -> None:
    """
    Reach the end of the file, so that a truncated one is noticed, at the least cost there is.

    :param stream: what the picture was opened from; of a JPEG it stands where the first scan begins.
    """
    if image.format not in ("JPEG", "MPO"):
        image.verify()  # for PNG: every chunk's checksum, nothing unpacked
    elif "progressive" in image.info and image.width * image.height > _PROGRESSIVE_PIXELS:
        if _END not in stream.read():
            raise EOFError
    else:
        image.draft("L", (1, 1))  # an eighth of the size: the stream is read, hardly anything is computed
        image.load()
