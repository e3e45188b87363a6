"""Whether a file is a whole film."""

from __future__ import annotations

from decimal import Decimal
from io import BytesIO

import pytest
from film_server import FTYP, box, film, index, long_box
from PIL import Image

from airflow_provider_kling_avatar.kling.errors import DamagedVideoError
from airflow_provider_kling_avatar.kling.media.mp4 import DURATION_TOLERANCE, check_film
from airflow_provider_kling_avatar.simulator.video import Film, render

MDAT = box(b"mdat", bytes(500))


def check(data, expected=None):
    return check_film(BytesIO(data), expected)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("film")
    Image.new("RGB", (64, 64), (90, 120, 160)).save(folder / "face.png")
    target = folder / "film.mp4"
    render(Film(image=folder / "face.png", audio=None, seconds=Decimal(3), mode="std"), target)
    return target.read_bytes()


def test_a_real_film_is_one(real):
    assert check(real, 3.0) == pytest.approx(3.0, abs=0.1)


def test_no_cut_of_a_real_film_is_one(real):
    for length in [0, 1, 7, 8, 40, *range(100, len(real), max(len(real) // 50, 1)), len(real) - 1]:
        with pytest.raises(DamagedVideoError):
            check(real[:length])


def test_a_real_film_with_something_behind_it_is_none(real):
    for tail in (b"\0", b"trailing", b"<html>sorry</html>"):
        with pytest.raises(DamagedVideoError):
            check(real + tail)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b'{"code": 1}', "a JSON text"),
        (b"<?xml version='1.0'?><Error/>", "an SVG or XML text"),
        (b"RIFF1234WAVE", "a WAV audio"),
        (FTYP, "no index"),
        (FTYP + MDAT, "no index"),
        (FTYP + index(), "no film"),
        (FTYP + index() + box(b"mdat"), "no film"),
        (FTYP + index(kind=b"soun") + MDAT, "no picture"),
        (FTYP + index(offset=999_999) + MDAT, "a piece of the film is at byte 999999"),
        (FTYP + index(0) + MDAT, "0 seconds long"),
        (FTYP + box(b"moov", box(b"trak")) + MDAT, "no picture"),
        (FTYP + index()[:-9] + MDAT, "cut off|damaged"),
        (FTYP + (4).to_bytes(4, "big") + b"moov" + MDAT, "smaller than its own head"),
    ],
)
def test_what_is_no_film_is_told_apart(data, says):
    with pytest.raises(DamagedVideoError, match=says):
        check(data)


def test_the_index_may_come_last():
    assert check(FTYP + MDAT + index()) == 3.0


def test_sizes_of_64_bits_and_padding_are_known():
    assert check(FTYP + box(b"free", bytes(99)) + index() + long_box(b"mdat", bytes(500))) == 3.0


def test_a_last_box_without_a_size_goes_to_the_end():
    open_ended = bytes(4) + b"mdat" + bytes(500)

    assert check(FTYP + index() + open_ended) == 3.0


def test_a_last_box_without_a_size_is_held_against_the_index():
    """Its boxes cannot tell that it is cut off, but what the index points to is not there."""
    with pytest.raises(DamagedVideoError, match="is at byte 2000"):
        check(FTYP + index(offset=2000) + bytes(4) + b"mdat" + bytes(500))


def test_fragments_may_tell_their_length_or_not():
    told = box(b"mvex", box(b"mehd", bytes(4), (4500).to_bytes(4, "big")))
    fragments = box(b"moof", bytes(20)) + MDAT

    assert check(FTYP + index(0, more=told) + fragments, 4.5) == 4.5
    assert check(FTYP + index(0, more=box(b"mvex")) + fragments, 99) is None


@pytest.mark.parametrize("difference", [-DURATION_TOLERANCE, 0, DURATION_TOLERANCE])
def test_a_duration_near_the_vendors_is_right(difference):
    assert check(film(10), 10 + difference)


@pytest.mark.parametrize("difference", [-DURATION_TOLERANCE - 0.1, DURATION_TOLERANCE + 0.1])
def test_another_duration_is_another_clip(difference):
    with pytest.raises(DamagedVideoError, match=r"10\.0 s long, but the vendor said"):
        check(film(10), 10 + difference)


def test_a_vendor_that_tells_no_duration_is_believed():
    assert check(film(10), None)
    assert check(film(10), 0)
