"""A JPEG that is unpacked in part is judged as if it were whole: what a decoder refuses is refused, nothing else."""

from __future__ import annotations

import random
from functools import cache
from io import BytesIO

import pytest
from PIL import Image

from airflow_provider_kling_avatar.kling.errors import MediaError
from airflow_provider_kling_avatar.kling.media import image as reader
from airflow_provider_kling_avatar.kling.media import measure_image

SCAN, END = b"\xff\xda", b"\xff\xd9"
KINDS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "with restarts": {"restart_marker_blocks": 4},
    "fine colours": {"subsampling": 0},
    "tables of its own": {"optimize": True},
}


@cache
def jpeg(kind="baseline", mode="RGB", side=400, **more):
    stream = BytesIO()
    Image.effect_noise((side, side), 60).convert(mode).save(stream, "JPEG", **KINDS[kind], **more)
    return stream.getvalue()


def decoder_takes(data):
    """Ask libjpeg for the whole picture."""
    try:
        with Image.open(BytesIO(data)) as image:
            image.load()
    except Exception:  # noqa: BLE001  # whatever it raises, it refuses
        return False
    return True


def we_take(data):
    try:
        measure_image(data)
    except MediaError:
        return False
    return True


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_jpeg_passes(kind, mode):
    assert measure_image(jpeg(kind, mode)).format == "jpeg"


@pytest.mark.parametrize("kind", KINDS)
def test_wherever_it_is_cut_off_it_is_refused(kind):
    data = jpeg(kind)
    for size in range(0, len(data) - 2, 997):
        assert not we_take(data[:size]), size


@pytest.mark.parametrize("kind", KINDS)
def test_damage_to_the_tables_is_refused_as_often_as_a_decoder_refuses_it(kind):
    data = jpeg(kind)
    luck = random.Random(5)
    verdicts = []
    for _ in range(200):
        broken = bytearray(data)
        broken[luck.randrange(2, data.index(SCAN))] = luck.randrange(256)
        verdicts.append((we_take(broken := bytes(broken)), decoder_takes(broken)))
    assert [ours for ours, _ in verdicts].count(False) >= 20, "otherwise this shows nothing"
    assert verdicts.count((True, False)) <= 2


@pytest.mark.parametrize("kind", KINDS)
def test_damage_in_the_midst_of_the_picture_is_refused_as_often_as_a_decoder_refuses_it(kind):
    data = jpeg(kind)
    luck = random.Random(7)
    ours = decoders = 0
    for _ in range(100):
        broken = bytearray(data)
        spot = luck.randrange(data.index(SCAN) + 100, len(data) - 200)
        broken[spot : spot + 100] = luck.randbytes(100)
        ours += not we_take(bytes(broken))
        decoders += not decoder_takes(bytes(broken))
    assert decoders >= 5, "otherwise this shows nothing"
    assert ours >= 0.9 * decoders


@pytest.fixture(params=["baseline", "progressive", "too large to unpack"])
def camera(request, monkeypatch):
    if request.param == "too large to unpack":
        monkeypatch.setattr(reader, "_PROGRESSIVE_PIXELS", 0)
    return jpeg("baseline" if request.param == "baseline" else "progressive")


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture(camera):
    thumbnail = jpeg(side=40)
    segment = b"Exif\0\0" + thumbnail
    data = camera[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + camera[2:]
    assert END in segment
    assert we_take(data)
    for size in range(0, len(data) - 2, 997):
        assert not we_take(data[:size]), size


def test_what_stands_behind_the_picture_does_not_matter(camera):
    assert we_take(camera + b"a camera's own notes" + bytes(1000))


def test_filling_before_a_marker_is_allowed():
    data = jpeg()
    assert we_take(data[:2] + b"\xff\xff" + data[2:])
    assert we_take(data[:-2] + b"\xff\xff" + END)


@pytest.mark.parametrize("rest", [b"", bytes(20_000)], ids=["nothing", "a hole"])
def test_a_picture_without_an_end_is_judged_by_the_decoder(rest):
    data = jpeg()[:-2] + rest
    assert we_take(data) == decoder_takes(data)
