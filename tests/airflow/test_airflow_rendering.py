"""What Airflow stores and shows of a task: never a payload, never a signature, and yet the vendor gets them."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowException
from airflow.serialization.helpers import serialize_template_field

from airflow_provider_kling_avatar.masking import Hidden, mask, unmask
from airflow_provider_kling_avatar.operators.kling_avatar import (
    KlingAvatarOperator,
    KlingAvatarSubmitOperator,
    KlingImageToVideoSubmitOperator,
    KlingTextToSpeechOperator,
)
from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor

OPERATORS = [
    KlingAvatarSubmitOperator,
    KlingAvatarOperator,
    KlingImageToVideoSubmitOperator,
    KlingTextToSpeechOperator,
]
SIGNED = "https://bucket.example.com/face.png?X-Amz-Credential=AKIAXXXX&X-Amz-Signature=deadbeef"
WITH_PASSWORD = "https://user:hunter2@files.example.com/face.png"


def new_dag(**options):
    return DAG("rendering", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), **options)


@pytest.fixture
def encoded(face):
    return base64.b64encode(Path(face).read_bytes()).decode()


@pytest.fixture
def render(make_context):
    """Render an operator's templates with some XComs; return what Airflow would store and show."""

    def rendered(operator, **xcoms):
        context = make_context()
        context["ti"].xcoms |= xcoms
        operator.render_template_fields(context)
        return stored(operator)

    return rendered


def stored(operator):
    fields = {
        name: serialize_template_field(getattr(operator, name), name) for name in operator.template_fields
    }
    json.dumps(fields)
    return fields


def pulled(name):
    return "{{ ti.xcom_pull(key='" + name + "') }}"


# ---------------------------------------------------------------------------------------------- hiding


@pytest.mark.parametrize(
    "secret",
    [
        "data:image/png;base64,iVBORw0KGgo=",
        "DATA:image/png;base64,iVBORw0KGgo=",
        "  data:image/png;base64,iVBORw0KGgo=",
        "A" * 256,
        "QUJD" * 80 + "==",
        "\n".join(["QUJD" * 19] * 5),
        SIGNED,
        f" {SIGNED} ",
        SIGNED.replace("https", "HTTPS"),
        "https://x.blob.example.com/a.png?sv=2024&sig=abc%3D",
        "https://storage.example.com/b/o?GoogleAccessId=x&Expires=1&Signature=y",
        WITH_PASSWORD,
        json.dumps([{"mask": "QUJD" * 100, "trajectories": []}]),
        json.dumps([{"mask": SIGNED}]),
        json.dumps([{"mask": SIGNED}]).replace("/", "\\/"),  # as PHP writes it
        json.dumps([{"mask": SIGNED}]).replace("&", "\\u0026"),  # as Go writes it
        json.dumps(json.dumps([{"mask": SIGNED}])),
        SIGNED.replace("?", "#"),
        SIGNED.replace("?", ";"),
        "https://x.example.com/a;sig=abc%3D/b.png",
        SIGNED.partition("://")[2],
        SIGNED.partition("example.com")[2],
        f"look at {SIGNED} and smile",
        f"看{SIGNED}",
    ],
)
def test_a_secret_is_shown_as_what_it_is_and_kept_as_it_was(secret):
    wrapped = mask(secret)

    assert isinstance(wrapped, Hidden)
    assert unmask(wrapped) == secret
    for shown in (str(wrapped), repr(wrapped), f"{wrapped}", repr([wrapped])):
        assert len(shown) < 250
        for word in ("QUJDQUJD", "AAAAA", "iVBOR", "deadbeef", "AKIA", "abc%3D", "Signature=y", "hunter2"):
            assert word not in shown


@pytest.mark.parametrize(
    "harmless",
    [
        "",
        "A friendly presenter looks into the camera. " * 20,
        "words without any full stop at all " * 20,
        "你好" * 200,
        "/data/faces/presenter.png",
        "s3://conn@bucket/" + "folder/" * 50 + "face.png",
        "https://example.com/face.png",
        "data driven",
        "one; two; https://example.com/face.png; and no? yes # no",
        "is a=b? https://example.com/face.png? #1",
        '{"type": "simple", "config": {"zoom": 5}}',
        None,
        5,
        True,
        0.5,
    ],
)
def test_what_is_no_secret_is_shown_as_it_is(harmless):
    assert mask(harmless) is harmless


def test_secrets_are_found_in_structures():
    value = {"masks": [{"mask": "A" * 300, "x": 1}], "pair": (SIGNED, "b")}

    wrapped = mask(value)

    assert "AAAA" not in str(wrapped)
    assert "deadbeef" not in str(wrapped)
    assert mask(wrapped) == wrapped
    assert unmask(wrapped) == {"masks": [{"mask": "A" * 300, "x": 1}], "pair": [SIGNED, "b"]}
    assert value["masks"][0]["mask"] == "A" * 300, "the author's own object is left alone"


class Pair(NamedTuple):
    link: str
    name: str


RAW = b"\x89PNG" + b"AAAAAAAA" * 40


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({SIGNED}, "{https://bucket.example.com/face.png?***}"),
        (frozenset({SIGNED}), "{https://bucket.example.com/face.png?***}"),
        ({SIGNED: 1}, "{https://bucket.example.com/face.png?***: 1}"),
        (
            {("a", SIGNED): [SIGNED]},
            "{('a', https://bucket.example.com/face.png?***): [https://bucket.example.com/face.png?***]}",
        ),
        ({"A" * 300: 1}, "{<base64, 300 characters, not shown>: 1}"),
        (Pair(SIGNED, "b"), "(https://bucket.example.com/face.png?***, 'b')"),
        (SIGNED.encode(), f"<{len(SIGNED)} bytes, not shown>"),
        (bytearray(SIGNED.encode()), f"<{len(SIGNED)} bytes, not shown>"),
        (memoryview(RAW), f"<{len(RAW)} bytes, not shown>"),
        (RAW, f"<{len(RAW)} bytes, not shown>"),
    ],
)
def test_secrets_are_found_in_whatever_holds_them_and_stay_what_they_were(value, shown):
    for outer in (value, [value], {"key": value}):
        wrapped = mask(outer)
        assert "deadbeef" not in f"{wrapped}{serialize_template_field(wrapped, 'field')}"
        assert "AAAAA" not in f"{wrapped}{serialize_template_field(wrapped, 'field')}"
        assert unmask(wrapped) == outer
    assert str(mask(value)) == shown
    assert unmask(mask(value)) is value


@pytest.mark.parametrize("harmless", [{"a", "b"}, frozenset({1}), {1: "a", ("b", 2): "c"}, Pair("a", "b")])
def test_what_holds_no_secret_stays_as_it_is(harmless):
    assert mask(harmless) == harmless
    assert type(mask(harmless)) is type(harmless)


def test_a_hidden_value_can_be_copied_and_pickled():
    wrapped = mask(SIGNED)

    for twin in (copy.copy(wrapped), copy.deepcopy(wrapped), pickle.loads(pickle.dumps(wrapped))):
        assert (twin.value, str(twin)) == (SIGNED, str(wrapped))


# ---------------------------------------------------------------------------------------------- rendering


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_field_of_a_request_is_a_template(operator):
    own = {"kling_conn_id", "state_path"}
    if hasattr(operator, "submit"):
        own |= {"max_cost", "max_cost_per_run"}
    if issubclass(operator, KlingAvatarOperator):
        own |= {"output_path", "on_existing"}
    assert set(operator.template_fields) == {*own, *operator.request_fields}


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_template_is_rendered(operator, render):
    task = operator(task_id="clip", **{name: pulled(name) for name in operator.template_fields})

    shown = render(task, **{name: f"<{name}>" for name in operator.template_fields})

    assert shown == {name: f"<{name}>" for name in operator.template_fields}


def test_the_sensors_fields_are_templates(render):
    fields = ("kling_task_id", "kling_conn_id", "endpoint", "output_path", "on_existing")
    sensor = KlingAvatarSensor(task_id="wait", **{name: pulled(name) for name in fields})

    assert render(sensor, **{name: f"<{name}>" for name in fields}) == {name: f"<{name}>" for name in fields}


@pytest.mark.parametrize("operator", [KlingAvatarSubmitOperator, KlingAvatarOperator])
def test_payloads_are_not_stored_but_reach_the_vendor(operator, render, connect, sim, encoded, context):
    voice = base64.b64encode(bytes(400)).decode()
    task = operator(task_id="clip", image=pulled("image"), audio=pulled("audio"), validate=False)

    shown = render(task, image=f"data:image/png;base64,{encoded}", audio=voice)

    assert shown["image"] == f"<image/png, {len(encoded) + 22} characters, not shown>"
    assert shown["audio"] == f"<base64, {len(voice)} characters, not shown>"
    assert task.request_values()["image"] == f"data:image/png;base64,{encoded}"
    assert task.request_values()["audio"] == voice


def test_a_hidden_image_is_the_one_that_is_sent(render, connect, sim, encoded, voice, context):
    task = KlingAvatarSubmitOperator(task_id="clip", image=pulled("image"), audio=voice)

    render(task, image=encoded)
    task.execute(context)

    assert sim.requests[0].body["image"] == f"<{len(encoded)} characters>"
    assert sim.ledger()["total"]["tasks"] == 1


def test_signed_addresses_are_not_stored_but_reach_the_vendor(render, connect, sim, context):
    task = KlingAvatarSubmitOperator(
        task_id="clip", image=pulled("image"), audio=pulled("audio"), callback_url=pulled("back")
    )
    audio = SIGNED.replace("face.png", "voice.mp3")

    shown = render(task, image=SIGNED, audio=audio, back="https://example.com/hook?token=abc")
    task.execute(context)

    assert shown["image"] == "https://bucket.example.com/face.png?***"
    assert shown["callback_url"] == "https://example.com/hook?***"
    assert (sim.requests[0].body["image"], sim.requests[0].body["sound_file"]) == (SIGNED, audio)
    assert sim.requests[0].body["callback_url"] == "https://example.com/hook?token=abc"


@pytest.mark.parametrize("as_text", [False, True], ids=["as a list", "as JSON text"])
def test_payloads_inside_structures_are_not_stored_but_reach_the_vendor(
    render, connect, sim, encoded, context, as_text
):
    masks = [{"mask": encoded, "trajectories": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}]
    task = KlingImageToVideoSubmitOperator(
        task_id="clip",
        image=SIGNED,
        prompt="a walk",
        dynamic_masks=json.dumps(masks) if as_text else masks,
        extra={"seed": 7, "reference": SIGNED},
    )

    shown = render(task)
    task.execute(context)

    assert encoded[:60] not in json.dumps(shown)
    assert "deadbeef" not in json.dumps(shown)
    assert "trajectories" in json.dumps(shown)
    assert sim.requests[0].body["dynamic_masks"][0]["mask"] == f"<{len(encoded)} characters>"
    assert sim.requests[0].body["reference"] == SIGNED


def test_payloads_that_native_rendering_turned_into_structures_are_not_stored(make_context, encoded):
    with new_dag(render_template_as_native_obj=True):
        task = KlingImageToVideoSubmitOperator(task_id="clip", image="x", dynamic_masks=pulled("masks"))
    context = make_context()
    context["ti"].xcoms["masks"] = [{"mask": encoded}]

    task.render_template_fields(context)

    assert encoded[:60] not in json.dumps(stored(task))
    assert task.request_values()["dynamic_masks"] == [{"mask": encoded}]


@pytest.mark.parametrize("operator", [KlingAvatarSubmitOperator, KlingAvatarOperator])
def test_a_row_of_a_mapped_task_hides_its_payload_too(operator, make_context, encoded, connect, sim, voice):
    with new_dag() as dag:
        mapped = operator.partial(task_id="clip", audio=voice).expand_kwargs(
            [{"image": "first.png"}, {"image": encoded, "extra": {"reference": SIGNED}}]
        )
    context = make_context(map_index=1)
    context |= {"dag": dag, "dag_run": SimpleNamespace(conf={}), "task": mapped, "expanded_ti_count": 2}

    try:
        from airflow.utils.task_instance_session import set_current_task_instance_session
    except ImportError:
        mapped.render_template_fields(context)
    else:  # 2.11 asks for the session that runs the task, and needs it for upstream XComs only
        with set_current_task_instance_session(session=SimpleNamespace()):
            mapped.render_template_fields(context)

    task = context["task"]
    shown = json.dumps(stored(task))
    assert encoded[:60] not in shown
    assert "deadbeef" not in shown
    assert task.request_values()["image"] == encoded


def test_what_the_worker_of_airflow_3_sends_of_a_task_has_no_payload(render, encoded):
    task = KlingAvatarSubmitOperator(task_id="clip", image=pulled("image"), audio=SIGNED)
    shown = render(task, image=encoded)
    try:
        from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields
    except ImportError:  # Airflow 2.11 and 3.0 store what `serialize_template_field` gives
        sent = shown
    else:
        sent = _serialize_rendered_fields(task)

    assert sent["image"] == f"<base64, {len(encoded)} characters, not shown>"
    assert sent["audio"] == "https://bucket.example.com/face.png?***"


# ---------------------------------------------------------------------------------------------- Dags


def everything():
    """Make a Dag in which every operator and the sensor is, mapped and not."""
    with new_dag() as dag:
        speech = KlingTextToSpeechOperator(task_id="speech", text="Good morning", voice_id="oversea_male1")
        submit = KlingAvatarSubmitOperator(task_id="submit", image="face.png", audio_id=speech.output)
        KlingAvatarSensor(task_id="wait", kling_task_id=submit.output)
        film = KlingImageToVideoSubmitOperator(
            task_id="film", image="face.png", camera_control={"type": "simple", "config": {"zoom": 5}}
        )
        KlingAvatarSensor(
            task_id="wait_for_film", kling_task_id=film.output, endpoint="image_to_video", mode="reschedule"
        )
        KlingAvatarOperator(task_id="both", image="face.png", audio="voice.mp3", poll_interval=5)
        mapped = KlingAvatarSubmitOperator.partial(task_id="rows", mode="pro").expand_kwargs(
            [{"image": "a.png", "audio": "a.mp3"}]
        )
        KlingAvatarSensor.partial(task_id="wait_for_rows").expand(kling_task_id=mapped.output)
        KlingAvatarOperator.partial(task_id="both_rows", audio="voice.mp3").expand(image=["a.png", "b.png"])
        KlingTextToSpeechOperator.partial(task_id="many", voice_id="oversea_male1").expand(text=["a", "b"])
    return dag


def serialization():
    from airflow.serialization import serialized_objects

    return getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG


def test_a_dag_with_everything_in_it_goes_to_the_database_and_back():
    dag = everything()

    data = json.loads(json.dumps(serialization().to_dict(dag)))
    back = serialization().from_dict(data)

    assert set(back.task_ids) == set(dag.task_ids)
    for task_id in ("submit", "film", "both", "wait"):
        assert "Kling video task" in back.get_task(task_id).extra_links
    assert "Kling video task" not in back.get_task("speech").extra_links
    assert serialization().to_dict(everything()) == serialization().to_dict(everything()), (
        "stable over parses"
    )


def test_operators_can_be_copied():
    for task in everything().tasks:
        twin = copy.deepcopy(task)
        assert twin.task_id == task.task_id
        assert type(twin) is type(task)


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_can_be_pickled(operator):
    task = operator(task_id="clip", **dict.fromkeys(operator.request_fields, "x"))

    twin = pickle.loads(pickle.dumps(task))

    assert {name: getattr(twin, name) for name in twin.template_fields} == {
        name: getattr(task, name) for name in task.template_fields
    }


def test_the_fields_of_every_row_are_those_of_the_operator():
    with new_dag():
        mapped = KlingAvatarOperator.partial(
            task_id="rows", kling_conn_id="second", validate=False, poll_interval=3, deferrable=False
        ).expand(prompt=["a", "b"], image=["x.png"])

    task = mapped.unmap({"prompt": "b", "image": "x.png"})

    assert (task.prompt, task.image, task.kling_conn_id) == ("b", "x.png", "second")
    assert (task.validate, task.poll_interval, task.deferrable) == (False, 3, False)


def test_a_field_that_does_not_exist_is_refused_when_the_dag_is_read():
    with pytest.raises((AirflowException, TypeError), match="imagee"):
        KlingAvatarSubmitOperator(task_id="clip", imagee="x.png")


def test_making_an_operator_reads_no_file_and_no_connection(no_connection):
    for operator in OPERATORS:
        assert operator(task_id="clip", **dict.fromkeys(operator.request_fields, "/not/there"))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://example.com/face.png?size=large", "https://example.com/face.png?***"),
        ("https://b.test/f.mp3?q-signature=def", "https://b.test/f.mp3?***"),
        ("https://hooks.test/done?secret=abc", "https://hooks.test/done?***"),
        ("https://onlytoken@h.test/x", "https://***@h.test/x"),
        ("https://h.test/face.png#token=abc", "https://h.test/face.png?***"),
        ("https://h.test/face.png;sig=abc", "https://h.test/face.png?***"),
        ("https://h.test/s;sig=abc/face.png?x=1", "https://h.test/s?***"),
        ("https://me:p;w@h.test/face.png", "https://***@h.test/face.png"),
        ("https:\\/\\/h.test\\/face.png?sig=abc", "https:\\/\\/h.test\\/face.png?***"),
        ("h.test/face.png?sig=abc", "h.test/face.png?***"),
        ("s3://AKIA:SK@bucket/key.png", "s3://***@bucket/key.png"),
    ],
)
def test_what_may_be_a_permission_in_an_address_is_not_shown(value, shown):
    hidden = mask(value)
    assert str(hidden) == shown
    assert unmask(hidden) == value
