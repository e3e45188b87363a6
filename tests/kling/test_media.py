"""What happens to an image or an audio before anything is paid for it."""

from __future__ import annotations

import base64
import math
import os
import random
import struct
import subprocess
import sys
import threading
import wave
import zlib
from contextlib import suppress
from fractions import Fraction
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from airflow_provider_kling_avatar.kling.dialects import DIALECTS
from airflow_provider_kling_avatar.kling.download.ssrf import AddressRules
from airflow_provider_kling_avatar.kling.errors import ConnectionFailedError, MediaError
from airflow_provider_kling_avatar.kling.media import (
    AudioInfo,
    ImageInfo,
    MediaRules,
    check,
    fetch_url,
    is_url,
    measure_audio,
    measure_image,
    prepare_media,
    read_source,
)

MIB = 1 << 20
PAGE = "https://vendor.example/avatar"
IMAGE = MediaRules(
    kind="image",
    accepts=("url", "base64"),
    formats=("jpeg", "png"),
    max_bytes=10 * MIB,
    min_side_pixels=300,
    max_aspect_ratio=2.5,
    source=PAGE,
)
AUDIO = MediaRules(
    kind="audio",
    accepts=("url", "base64"),
    formats=("mp3", "wav", "m4a", "aac"),
    max_bytes=5 * MIB,
    min_seconds=2,
    max_seconds=300,
    source=PAGE,
)


@cache
def picture(width=300, height=300, form="PNG", mode="RGB", **options):
    stream = BytesIO()
    Image.new(mode, (width, height)).save(stream, form, **options)
    return stream.getvalue()


@cache
def photo():
    """A JPEG with something in it, so that a part of it is not the whole."""
    stream = BytesIO()
    Image.effect_noise((400, 400), 60).save(stream, "JPEG")
    return stream.getvalue()


@cache
def wav(seconds=2.0, rate=8000):
    stream = BytesIO()
    with wave.open(stream, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(rate)
        out.writeframes(b"\x80" * round(seconds * rate))
    return stream.getvalue()


@cache
def sound(container, codec, seconds, *, rate=16000, options=(), muxing=()):
    """Encode noise that starts after a second of silence: what misleads those who guess from the first frames."""
    noise = random.Random(1).randbytes(2 * rate)  # a second of it
    stream = BytesIO()
    with av.open(stream, "w", format=container, options=dict(muxing)) as out:
        track = out.add_stream(codec, rate=rate, layout="mono", options=dict(options))
        total = round(seconds * rate)
        for position in range(0, total, rate):
            count = min(rate, total - position)
            frame = av.AudioFrame(format="s16", layout="mono", samples=count)
            content = (noise if position else bytes(2 * rate))[: 2 * count]
            frame.planes[0].update(content.ljust(frame.planes[0].buffer_size, b"\0"))
            frame.sample_rate, frame.pts, frame.time_base = rate, position, Fraction(1, rate)
            out.mux(track.encode(frame))
        out.mux(track.encode(None))
    return stream.getvalue()


def mp3(seconds=3.0, **options):
    return sound("mp3", "libmp3lame", seconds, **options)


def m4a(seconds=3.0):
    return sound("ipod", "aac", seconds)


def adts(seconds=3.0):
    return sound("adts", "aac", seconds)


def mp4_video():
    stream = BytesIO()
    with av.open(stream, "w", format="mp4") as out:
        film = out.add_stream("mpeg4", rate=10, width=64, height=64, pix_fmt="yuv420p")
        track = out.add_stream("aac", rate=16000, layout="mono")
        for index in range(20):
            still = av.VideoFrame(64, 64, "yuv420p")
            still.pts = index
            out.mux(film.encode(still))
        out.mux(film.encode(None))
        frame = av.AudioFrame(format="s16", layout="mono", samples=32000)
        frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        out.mux(track.encode(frame))
        out.mux(track.encode(None))
    return stream.getvalue()


def as_file(folder, data, name="media.bin"):
    path = folder / name
    path.write_bytes(data)
    return str(path)


def encoded(data):
    return base64.b64encode(data).decode()


def refusal(source, rules=IMAGE, field="image", opener=None):
    with pytest.raises(MediaError) as caught:
        prepare_media(source, rules, field=field, opener=opener)
    error = caught.value
    assert error.field == field
    assert error.source == rules.source
    assert PAGE in str(error)
    return str(error)


# ----------------------------------------------------------------------- what passes


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_picture_is_sent_as_bare_base64_of_the_very_file(tmp_path, form):
    data = picture(form=form)
    prepared = prepare_media(as_file(tmp_path, data), IMAGE, field="image")
    assert base64.b64decode(prepared.value) == data
    assert prepared.info == ImageInfo(form.lower(), 300, 300, len(data))
    assert prepared.warnings == ()


@pytest.mark.parametrize(("name", "make"), [("mp3", mp3), ("wav", wav), ("m4a", m4a), ("aac", adts)])
def test_an_audio_is_known_by_its_content_and_measured_to_a_tenth_of_a_second(tmp_path, name, make):
    data = make(3.0)
    prepared = prepare_media(as_file(tmp_path, data, "voice.txt"), AUDIO, field="audio")
    assert prepared.info.format == name
    assert prepared.info.seconds == pytest.approx(3.0, abs=0.15)
    assert prepared.info.size == len(data)


def test_the_value_is_not_in_the_repr(tmp_path):
    inline = prepare_media(as_file(tmp_path, photo()), IMAGE, field="image")
    signed = prepare_media("https://cdn.example/face.png?signature=secret", IMAGE, field="image")
    assert inline.value[:40] not in repr(inline)
    assert "secret" not in repr(signed)


def test_a_url_passes_untouched_and_is_not_fetched():
    url = "HTTPS://cdn.invalid/face.png?X-Signature=a%2Fb&x=1#frag"
    prepared = prepare_media(url, IMAGE, field="image")
    assert prepared.value == url
    assert prepared.info is None


@pytest.mark.parametrize(
    "size", [(300, 300), (300, 750), (750, 300), (299 + 1, 301)], ids=lambda size: f"{size[0]}x{size[1]}"
)
def test_a_picture_exactly_at_the_limits_passes(tmp_path, size):
    prepared = prepare_media(as_file(tmp_path, picture(*size)), IMAGE, field="image")
    assert (prepared.info.width, prepared.info.height) == size


@pytest.mark.parametrize("seconds", [1.999, 2.0, 300.0, 300.04])
def test_an_audio_at_the_limits_passes_and_so_does_an_encoders_padding(tmp_path, seconds):
    assert prepare_media(as_file(tmp_path, wav(seconds)), AUDIO, field="audio").warnings == ()


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_an_mp3_made_from_exactly_300_seconds_passes_at_any_sampling_rate(rate):
    frame = 1152 if rate > 24000 else 576
    padded = (math.ceil(300 * rate / frame) + 2) * frame / rate
    assert check(AudioInfo("mp3", padded, 1), AUDIO, "audio") == []


def test_a_file_of_exactly_the_largest_size_passes_and_one_byte_more_does_not(tmp_path):
    data = picture()
    source = as_file(tmp_path, data)
    assert prepare_media(
        source, MediaRules("image", ("base64",), ("png",), max_bytes=len(data)), field="image"
    ).info
    with pytest.raises(MediaError, match=f"{len(data)} bytes .*at most {len(data) - 1} "):
        prepare_media(
            source, MediaRules("image", ("base64",), ("png",), max_bytes=len(data) - 1), field="image"
        )


@pytest.mark.parametrize("mode", ["CMYK", "L", "RGB"])
def test_a_jpeg_in_any_colours_passes(mode):
    assert measure_image(picture(form="JPEG", mode=mode)).format == "jpeg"


def test_a_phones_picture_with_a_second_view_in_it_is_a_jpeg():
    stream = BytesIO()
    Image.new("RGB", (400, 300)).save(
        stream, "MPO", save_all=True, append_images=[Image.new("RGB", (400, 300))]
    )
    assert measure_image(stream.getvalue()).format == "jpeg"


def test_an_animated_png_and_one_with_transparency_pass():
    stream = BytesIO()
    Image.new("RGBA", (300, 300)).save(
        stream, "PNG", save_all=True, append_images=[Image.new("RGBA", (300, 300), "red")]
    )
    assert measure_image(stream.getvalue()) == ImageInfo("png", 300, 300, len(stream.getvalue()))


def test_a_turned_picture_is_judged_by_its_sides_either_way():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    stream = BytesIO()
    Image.new("RGB", (750, 300)).save(stream, "JPEG", exif=exif)
    assert check(measure_image(stream.getvalue()), IMAGE, "image") == []


def test_a_limit_documents_disagree_on_is_a_warning():
    rules = MediaRules("audio", ("base64",), ("wav",), max_seconds=300, warn_above_seconds=60, source=PAGE)
    assert check(AudioInfo("wav", 60.1, 1), rules, "audio") == []
    (warning,) = check(AudioInfo("wav", 90, 1), rules, "audio")
    assert "90.00 seconds" in warning
    assert "60" in warning
    assert PAGE in warning


# ------------------------------------------------------------- what is refused, and how


@pytest.mark.parametrize("nothing", [None, "", "  ", "None", "none", "None\n"], ids=repr)
def test_a_field_that_came_empty_blames_the_task_before(nothing):
    message = refusal(nothing)
    assert message.startswith("image: came empty")
    assert "upstream task that returned nothing" in message


@pytest.mark.parametrize(
    "odd", [42, {"path": "secret"}, b"GIF89a", ["a"]], ids=lambda odd: type(odd).__name__
)
def test_a_field_that_is_no_string_names_its_type_and_not_its_content(odd):
    message = refusal(odd)
    assert type(odd).__name__ in message
    assert "upstream task" in message
    assert "secret" not in message


def test_a_missing_file_is_named_with_what_a_worker_must_see(tmp_path):
    message = refusal(str(tmp_path / "face.png"))
    assert "face.png does not exist on the machine that runs this task" in message


def test_a_file_below_a_file_is_missing(tmp_path):
    assert "does not exist" in refusal(as_file(tmp_path, b"x") + "/face.png")


def test_a_directory_is_refused(tmp_path):
    assert "is a directory; name one file in it" in refusal(str(tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "a device or a pipe" in refusal(str(tmp_path / "pipe"))


def test_an_empty_file_is_refused(tmp_path):
    source = as_file(tmp_path, b"")
    assert "the file is empty (0 bytes)" in refusal(source)
    assert "the file is empty (0 bytes)" in refusal(source, AUDIO, "audio")


def test_a_picture_of_12_megabytes_is_refused_before_it_is_read(tmp_path, monkeypatch):
    source = as_file(tmp_path, bytes(12 * MIB))
    monkeypatch.setattr("pathlib.Path.open", lambda *_: pytest.fail("was read"))
    message = refusal(source)
    assert "12582912 bytes (12.0 MiB)" in message
    assert "at most 10485760 (10.0 MiB)" in message
    assert "compress it" in message


def test_a_gif_renamed_to_png_is_called_a_gif(tmp_path):
    message = refusal(as_file(tmp_path, picture(form="GIF"), "face.png"))
    assert "image is GIF, whatever its name says; it must be JPEG, PNG: convert it" in message


def test_299_pixels_are_one_too_few(tmp_path):
    message = refusal(as_file(tmp_path, picture(299, 400)))
    assert "image is 299x400 pixels; every side must be at least 300: enlarge it" in message


@pytest.mark.parametrize("size", [(900, 300), (300, 900)])
def test_three_to_one_is_refused_either_way(tmp_path, size):
    message = refusal(as_file(tmp_path, picture(*size)))
    assert f"image is {size[0]}x{size[1]} pixels, an aspect ratio of 3.00:1; at most 2.5:1" in message
    assert "crop it" in message


def test_the_ratio_is_judged_to_the_pixel(tmp_path):
    assert "at most 2.5:1" in refusal(as_file(tmp_path, picture(751, 300)))


def test_audio_of_1_9_seconds_is_too_short(tmp_path):
    message = refusal(as_file(tmp_path, wav(1.9)), AUDIO, "audio")
    assert "audio is 1.90 seconds long; at least 2 are needed: say more" in message


def test_audio_of_301_seconds_is_too_long(tmp_path):
    message = refusal(as_file(tmp_path, wav(301)), AUDIO, "audio")
    assert "audio is 301.00 seconds long; at most 300 are accepted: split it" in message


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"Dear diary, today I was saved as an MP3.", "a text"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        (b'{"error": "expired"}', "a JSON text"),
        (b"OggS" + bytes(60), "an Ogg audio"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(60), "HEIC"),
        (bytes(100), "no known beginning"),
        (b"\xfe\xfe\xfe\xfe" * 20, "no known beginning"),
        ("ä".encode() * 40, "a text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_neither_picture_nor_audio_is_called_what_it_looks_like(tmp_path, content, name):
    source = as_file(tmp_path, content, "voice.mp3")
    if b"ftyp" not in content:
        assert name in refusal(source, AUDIO, "audio")
    assert name in refusal(source)
    assert "diary" not in refusal(source)


def test_swapped_fields_are_told_apart(tmp_path):
    assert "a damaged PNG" in refusal(as_file(tmp_path, picture()), AUDIO, "audio")
    assert "a WAV audio" in refusal(as_file(tmp_path, wav()))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_truncated_picture_is_refused(tmp_path, form, share):
    data = photo() if form == "JPEG" else picture(form=form)
    message = refusal(as_file(tmp_path, data[: int(len(data) * share)]))
    assert "damaged" in message or "cut off" in message
    assert "again as JPEG or PNG" in message or "save it as JPEG or PNG" in message


@pytest.mark.parametrize("make", [mp3, wav, m4a], ids=["mp3", "wav", "m4a"])
def test_an_audio_that_is_half_there_is_refused_instead_of_paid_for(tmp_path, make):
    data = make(4.0)
    message = refusal(as_file(tmp_path, data[: len(data) // 2]), AUDIO, "audio")
    assert "cut off" in message or "damaged" in message


def test_a_picture_that_would_need_gigabytes_is_not_opened():
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    for side in (10_000, 60_000):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        with pytest.raises(MediaError, match="was not opened; make it smaller"):
            measure_image(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def test_a_form_the_api_does_not_take_is_refused_with_a_way_out(tmp_path):
    urls_only = MediaRules("image", ("url",), ("png",), source=PAGE)
    message = refusal(as_file(tmp_path, picture()), urls_only)
    assert "takes only http(s) URLs" in message
    assert "kling, cometapi, relay" in message
    assert "not a URL" in refusal(
        "https://cdn.example/a.png", MediaRules("image", ("base64",), ("png",), source=PAGE)
    )


def test_an_incomplete_url_is_refused():
    assert "not a complete URL" in refusal("https:///face.png")
    message = refusal("https://cdn.example/my face.png?signature=secret")
    assert "blanks as %20" in message
    assert "secret" not in message


# ------------------------------------------------------------------- headers that lie


def test_a_variable_mp3_without_a_table_is_counted_and_not_guessed():
    quality = {"compression_level": "9", "global_quality": str(4 * 118), "flags": "+qscale"}
    data = mp3(40.0, rate=44100, options=tuple(quality.items()), muxing=(("write_xing", "0"),))
    assert measure_audio(data).seconds == pytest.approx(40.0, abs=0.1)


def test_mp3s_joined_end_to_end_are_as_long_as_all_of_them():
    assert measure_audio(mp3() + mp3()).seconds == pytest.approx(6.0, abs=0.3)


def test_a_cover_picture_in_front_of_the_sound_does_not_count(tmp_path):
    cover = photo()
    size = bytes(len(cover) >> shift & 0x7F for shift in (21, 14, 7, 0))
    for data, name in ((mp3(), "mp3"), (adts(), "aac")):
        tagged = measure_audio(b"ID3\x04\x00\x00" + size + cover + data)
        assert (tagged.format, tagged.seconds) == (name, measure_audio(data).seconds)


def test_tags_behind_the_sound_do_not_count():
    assert measure_audio(mp3() + b"TAG" + b"\xff" * 125).seconds == measure_audio(mp3()).seconds


@pytest.mark.parametrize("placeholder", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\xff\xff\xff\x7f"])
def test_a_wav_written_to_a_pipe_is_as_long_as_its_sound(placeholder):
    data = wav(3.0)
    at = data.index(b"data") + 4
    assert measure_audio(data[:at] + placeholder + data[at + 4 :]).seconds == pytest.approx(3.0, abs=0.001)


def test_a_telephone_wav_has_a_length_too():
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 7, 1, 8000, 8000, 1, 8)  # mu-law
    data = b"RIFF\0\0\0\0WAVE" + fmt + struct.pack("<4sI", b"data", 24000) + bytes(24000)
    assert measure_audio(data).seconds == 3.0


def test_a_wav_with_hand_made_sums_is_measured_by_rate_and_block():
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 1, 2, 16)  # 1 byte per second, it says
    data = b"RIFF\0\0\0\0WAVE" + fmt + struct.pack("<4sI", b"data", 48000) + bytes(48000)
    assert measure_audio(data).seconds == 3.0


def test_a_wav_without_a_format_or_without_sound_is_damaged():
    for data in (b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0WAVEdata\4\0\0\0abcd", wav()[:36]):
        with pytest.raises(MediaError, match="lacks its format or its sound"):
            measure_audio(data)


def test_a_video_a_lossless_and_a_fragmented_mp4_are_not_m4a(tmp_path):
    assert "audio is MP4 VIDEO" in refusal(as_file(tmp_path, mp4_video()), AUDIO, "audio")
    lossless = sound("ipod", "alac", 3.0)
    assert "audio is MP4 WITH ALAC SOUND" in refusal(as_file(tmp_path, lossless), AUDIO, "audio")
    pieces = sound("mp4", "aac", 3.0, muxing=(("movflags", "frag_keyframe+empty_moov"),))
    assert "does not tell its length" in refusal(as_file(tmp_path, pieces), AUDIO, "audio")


def test_an_mp4_with_long_numbers_is_measured_too():
    def box(name, body):
        return struct.pack(">I4sQ", 1, name, 16 + len(body)) + body

    header = box(b"mvhd", struct.pack(">BxxxQQIQ", 1, 0, 0, 1000, 3500))
    table = b"stsd" + bytes(12) + b"mp4a"
    data = struct.pack(">I4s4sI", 16, b"ftyp", b"M4A ", 0) + box(b"moov", header + box(b"trak", table))
    assert measure_audio(data) == AudioInfo("m4a", 3.5, len(data))
    with pytest.raises(MediaError, match="cut off"):
        measure_audio(data[:-1])
    # The last box may say that it goes up to the end, whatever that is.
    assert measure_audio(data + struct.pack(">I4s", 0, b"mdat") + bytes(100)).seconds == 3.5


def test_mp2_is_not_mp3():
    with pytest.raises(MediaError, match="no audio that can be read"):
        measure_audio(sound("mp2", "mp2", 3.0))


# ------------------------------------------------------------------------- inline base64


@pytest.mark.parametrize("prefix", ["data:image/png;base64,", "DATA:image/jpeg;charset=x;BASE64,", ""])
def test_base64_given_by_the_user_is_measured_and_sent_bare(prefix):
    data = picture()
    prepared = prepare_media(prefix + encoded(data), IMAGE, field="image")
    assert prepared.value == encoded(data)
    assert prepared.info == ImageInfo("png", 300, 300, len(data))


def test_base64_broken_into_lines_is_joined():
    assert prepare_media(base64.encodebytes(photo()).decode(), IMAGE, field="image").value == encoded(photo())


def test_inline_media_obeys_the_same_rules_as_a_file():
    assert "299x299" in refusal("data:image/png;base64," + encoded(picture(299, 299)))
    assert "is GIF" in refusal(encoded(picture(form="GIF")))
    assert "(12.0 MiB)" in refusal("data:image/png;base64," + "A" * (16 * MIB))
    assert "the file is empty" in refusal("data:image/png;base64,")
    assert "no picture" in refusal("data:image/png;base64,aGVsbG8=")


def test_the_size_of_inline_media_is_known_before_decoding():
    data = photo()
    for extra in range(3):
        rules = MediaRules("image", ("base64",), ("jpeg",), max_bytes=len(data) + extra)
        assert (
            prepare_media(encoded(data + bytes(extra)), rules, field="image").info.size == len(data) + extra
        )
        with pytest.raises(MediaError, match="large; at most"):
            prepare_media(encoded(data + bytes(extra + 1)), rules, field="image")


@pytest.mark.parametrize(
    "broken",
    [
        encoded(photo())[:-3],
        "data:image/png;base64,@@" + encoded(photo()),
        "data:image/png," + encoded(photo()),
        encoded(photo()).replace("A", "-"),
        encoded(photo()) + "\0",
    ],
    ids=["cut off", "bad character", "not base64", "other alphabet", "null byte"],
)
def test_broken_base64_is_refused_without_being_shown(broken):
    message = refusal(broken)
    assert len(message) < 400
    assert encoded(photo())[:16] not in message


def test_a_file_with_a_name_like_base64_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deep = "a" * 100 + "/" + "b" * 100 + "/" + "c" * 100
    (tmp_path / deep).parent.mkdir(parents=True)
    (tmp_path / deep).write_bytes(picture())
    assert prepare_media(deep, IMAGE, field="image").value == encoded(picture())


# ---------------------------------------------------------------------------- storage


class Trickle(BytesIO):
    """A stream that gives less than it is asked for, and remembers how much it gave."""

    given = 0

    def read(self, size=-1):
        piece = super().read(min(size, 1000))
        self.given += len(piece)
        return piece


def test_a_storage_uri_is_read_through_the_callers_opener():
    stream = Trickle(photo())
    opened = []
    prepared = prepare_media(
        "s3://conn@bucket/face.jpg", IMAGE, field="image", opener=lambda uri: opened.append(uri) or stream
    )
    assert opened == ["s3://conn@bucket/face.jpg"]
    assert prepared.value == encoded(photo())
    assert stream.closed


def test_reading_stops_one_byte_behind_the_limit():
    stream = Trickle(bytes(50_000))
    with pytest.raises(MediaError, match="more than 4096 bytes large; at most 4096"):
        read_source("s3://bucket/film.mov", lambda _: stream, 4096)
    assert stream.given == 4097
    assert read_source("s3://bucket/a", lambda _: BytesIO(b"1234"), 4) == b"1234"
    assert read_source("s3://bucket/a", lambda _: BytesIO(b"1234"), None) == b"1234"


@pytest.mark.parametrize("name", ["my face.png", "What now?.png", "face #1.png", "50%25.png", "100%.png"])
def test_a_file_uri_is_a_path_of_which_nothing_is_unquoted(tmp_path, name):
    """As a manifest's ``file_uri`` is written, which is given to a next task."""
    as_file(tmp_path, picture(), name)
    assert prepare_media(f"file://{tmp_path}/{name}", IMAGE, field="image").info
    assert prepare_media(f"file://localhost{tmp_path}/{name}", IMAGE, field="image").info


def test_a_file_uri_of_another_machine_is_refused():
    assert "names the host 'elsewhere'" in refusal("file://elsewhere/face.png")


@pytest.mark.parametrize("source", ["ftp://host/face.png", "s3://bucket/face.png", "gs://bucket/face.png"])
def test_a_storage_without_an_opener_is_refused_with_its_scheme(source):
    assert f"no storage for {source.partition('/')[0]}// here" in refusal(source)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError("no"), "does not exist; check bucket and key"),
        (IsADirectoryError("no"), "is a directory"),
        (PermissionError("no"), "may not be read"),
        (ValueError("No filesystem registered for scheme ftp"), "ftp:// is a storage this installation"),
        (ImportError("no module"), "ftp:// is a storage this installation"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_storage_says_of_the_file_is_an_error_of_the_field(error, words):
    def opener(_):
        raise error

    message = refusal("ftp://user:secret@host/face.png?token=secret", opener=opener)
    assert words in message
    assert "ftp://host/face.png" in message
    assert "secret" not in message


@pytest.mark.parametrize("error", [ConnectionResetError, TimeoutError, OSError])
def test_trouble_on_the_way_to_a_storage_stays_what_it_is_for_it_may_pass(error):
    def opener(_):
        raise error

    with pytest.raises(error):
        prepare_media("s3://bucket/face.png", IMAGE, field="image", opener=opener)


# -------------------------------------------------------------------------------- URLs


@pytest.mark.parametrize("url", ["http://a/b", "https://a", "HTTPS://A/b"])
def test_http_and_https_are_urls(url):
    assert is_url(url)


@pytest.mark.parametrize(
    "other", ["/a/http://b", "ftp://a", "s3://a", "httpx://a", "http:/a", "", "face.png"]
)
def test_nothing_else_is_a_url(other):
    assert not is_url(other)


class Site(BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.partition("?")[0]
        status, headers, body = {
            "/face.png": (200, {}, picture()),
            "/announced": (200, {"Content-Length": "99999999"}, b""),
            "/endless": (200, {}, bytes(100_000)),
            "/moved": (302, {"Location": "/face.png?signature=secret"}, b""),
            "/loop": (302, {"Location": "/loop?signature=secret"}, b""),
            "/away": (302, {"Location": "file:///etc/hostname"}, b""),
            "/not-modified": (304, {}, b""),
        }.get(path, (404, {}, b"secret"))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site():
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("path", ["/face.png", "/moved"])
def test_a_url_is_fetched_over_redirects(site, path):
    assert fetch_url(site + path, max_bytes=MIB, address_rules=AddressRules(site)) == picture()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/gone", "answered HTTP 404"),
        ("/not-modified", "answered HTTP 304"),
        ("/announced", "99999999 bytes"),
        ("/endless", "more than 50000 bytes"),
        ("/loop", "redirects more than 5 times"),
        ("/away", "not an http(s) URL"),
    ],
)
def test_a_fetch_that_fails_says_why_without_the_query(site, path, words):
    with pytest.raises(MediaError) as caught:
        fetch_url(f"{site}{path}?signature=secret", max_bytes=50_000, address_rules=AddressRules(site))
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1/a?secret",
        "http://a..b/?secret",
        "ftp://a/?secret",
    ],
)
def test_a_url_that_cannot_be_right_is_a_media_error_with_no_secret_in_the_traceback(url):
    with pytest.raises(MediaError) as caught:
        fetch_url(url, max_bytes=10, timeout_seconds=(2, 2))
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_host_that_does_not_answer_may_do_so_later_and_shows_no_secret_in_the_traceback():
    address_rules = AddressRules("http://127.0.0.1:1")
    with pytest.raises(ConnectionFailedError) as caught:
        fetch_url("http://127.0.0.1:1/a?signature=secret", max_bytes=10, address_rules=address_rules)
    assert not caught.value.permanent
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


# ------------------------------------------------------------------------- robustness

fuzz = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

BEGINNINGS = [
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0",
    b"RIFF\0\0\0\0WEBPVP8 ",
    b"\0\0\0\x10ftypM4A \0\0\0\0",
    b"\0\0\0\x10ftypM4A \0\0\0\0\0\0\1\0moov",
    b"ID3\4\0\0\0\0\0\0",
    b"\xff\xfb\x90\0",
    b"\xff\xf1\x50\x40",
]


def survives(data):
    for measure in (measure_image, measure_audio):
        try:
            info = measure(data)
        except MediaError:
            continue
        assert info.size == len(data)
        if isinstance(info, AudioInfo):
            assert math.isfinite(info.seconds)
            assert info.seconds >= 0
        else:
            assert info.width > 0
            assert info.height > 0


@fuzz
@given(st.sampled_from(BEGINNINGS), st.binary(max_size=400))
def test_random_bytes_are_refused_or_measured_but_never_crash(beginning, rest):
    survives(beginning + rest)


@fuzz
@given(st.data())
def test_damaged_files_are_refused_or_measured_but_never_crash(data):
    whole = data.draw(
        st.sampled_from([picture(), photo()[:4000], mp3(), wav(), m4a(), adts(), picture(form="GIF")])
    )
    broken = bytearray(whole)
    # Headers are where the danger is: half of the damage goes there, and to the end, where MP4 keeps its own.
    spots = st.one_of(
        st.integers(0, min(200, len(whole) - 1)),
        st.integers(max(0, len(whole) - 800), len(whole) - 1),
        st.integers(0, len(whole) - 1),
    )
    for spot, byte in data.draw(st.lists(st.tuples(spots, st.integers(0, 255)), max_size=8)):
        broken[spot] = byte
    survives(
        bytes(broken[: data.draw(st.integers(0, len(whole)))]) if data.draw(st.booleans()) else bytes(broken)
    )


@fuzz
@given(st.text(max_size=600))
def test_any_text_is_prepared_or_refused(text):
    with suppress(MediaError):
        prepare_media(text, IMAGE, field="image")


def test_megabytes_of_false_beginnings_are_seen_through_quickly():
    # The whole suite is what times this: seconds here would be felt.
    for data in (b"\xff" * 5 * MIB, b"ID3\0\0\0\0\0\0\0" * 100_000, bytes(5 * MIB)):
        with pytest.raises(MediaError):
            measure_audio(data)


# ------------------------------------------------------------------------- the module


def test_importing_the_module_loads_no_media_library_and_no_airflow():
    script = (
        "import sys, airflow_provider_kling_avatar.kling.media as m\n"
        "print([n for n in ('PIL', 'tinytag', 'requests', 'airflow', 'av') if n in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert answer.stdout.strip() == "[]"


MEDIA_FIELDS = [
    pytest.param(annotation, id=f"{dialect.name}.{endpoint}.{name}")
    for dialect in DIALECTS.values()
    for endpoint in dialect.endpoints
    for name, schema in dialect.schema(endpoint)["properties"].items()
    if (annotation := schema.get("x-media"))
]


@pytest.mark.parametrize("annotation", MEDIA_FIELDS)
def test_every_dialects_annotation_becomes_rules(annotation):
    rules = MediaRules.from_schema(annotation)
    assert {
        name: list(value) if isinstance(value, tuple) else value for name, value in annotation.items()
    } == {
        name: list(value) if isinstance(value := getattr(rules, name), tuple) else value
        for name in annotation
    }


def test_an_annotation_with_an_unknown_entry_is_an_error_of_the_schema():
    with pytest.raises(TypeError, match="max_byte"):
        MediaRules.from_schema({"kind": "image", "accepts": ["url"], "formats": ["png"], "max_byte": 1})


def test_the_shipped_face_and_voice_pass_every_rule():
    from importlib.resources import files

    assets = files("airflow_provider_kling_avatar") / "simulator" / "assets"
    assert check(measure_image((assets / "presenter.jpg").read_bytes()), IMAGE, "image") == []
    assert check(measure_audio((assets / "greeting.mp3").read_bytes()), AUDIO, "audio") == []
