"""``@task.kling_avatar``: the function is asked once, and what it answers is filmed."""

from __future__ import annotations

import base64
import copy
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import DAG, TaskDeferred, task

from airflow_provider_kling_avatar.decorators.kling_avatar import (
    ANSWER_XCOM_KEY,
    KlingAvatarDecoratedOperator,
    _stable,
    kling_avatar_task,
)
from airflow_provider_kling_avatar.kling import errors


@pytest.fixture(autouse=True)
def connected(connect):
    """Every test here has a good connection to start from."""


@pytest.fixture
def asked():
    """Each question to the function."""
    return []


@pytest.fixture
def clip(face, voice, asked):
    """Make the task of a function that says something else each time."""

    def make(answer=None, **arguments):
        def script(topic="news"):
            asked.append(topic)
            if callable(answer):
                return answer()
            return {"image": face, "audio": voice, "prompt": f"{topic} {len(asked)}"}

        return KlingAvatarDecoratedOperator(
            task_id="clip",
            retries=0,
            python_callable=script,
            op_args=[],
            op_kwargs={"topic": "rain"},
            **arguments,
        )

    return make


def run(operator, context):
    with pytest.raises(TaskDeferred):
        operator.execute(context)


def test_it_is_registered_and_makes_the_operator():
    with DAG("flow", schedule=None):

        @task.kling_avatar
        def bare():
            return "Good evening."

        @task.kling_avatar(image="https://host/face.png", voice_id="a")
        def spoken(topic):
            return f"About {topic}."

        bare()
        mapped = spoken.expand(topic=["rain", "snow"]).operator
        also = spoken.partial().expand(topic=["rain"]).operator

    assert mapped.operator_class is also.operator_class is KlingAvatarDecoratedOperator


def test_multiple_outputs_is_refused():
    with pytest.raises(TypeError, match="leave multiple_outputs out"):
        kling_avatar_task(multiple_outputs=True)


def test_a_retry_films_what_the_first_try_was_told(clip, asked, make_context, sim):
    run(clip(), make_context(store_there=True))
    run(clip(), make_context(store_there=True, try_number=2, max_tries=1))

    assert asked == ["rain"]


def test_a_retry_films_it_too_where_a_folder_keeps_the_answer(clip, asked, make_context, tmp_path):
    run(clip(state_path=str(tmp_path)), make_context())
    run(clip(state_path=str(tmp_path)), make_context(try_number=2, max_tries=1))

    assert asked == ["rain"]


def test_within_a_try_xcom_is_enough(clip, asked, context):
    run(clip(), context)
    context["ti"].xcoms[ANSWER_XCOM_KEY]["prompt"] = "kept"
    again = clip()
    again._apply(again._answer(context))

    assert again.prompt == "kept"
    assert asked == ["rain"]


def test_other_arguments_are_another_question(clip, asked, make_context):
    run(clip(), make_context(store_there=True))
    other = clip()
    other.op_kwargs = {"topic": "snow"}
    other._answer(make_context(store_there=True, try_number=2, max_tries=1))

    assert asked == ["rain", "snow"]


@pytest.mark.parametrize(("on_rerun", "questions"), [("reuse", 1), ("regenerate", 2)])
def test_a_clear_after_the_delivery_asks_again_only_where_that_is_wanted(
    clip, asked, make_context, on_rerun, questions
):
    first, context = clip(on_rerun=on_rerun), make_context(store_there=True)
    first._answer(context)
    first.note_delivery(context)

    clip(on_rerun=on_rerun)._answer(make_context(store_there=True, try_number=2, max_tries=1))

    assert len(asked) == questions


def test_a_signed_url_is_not_kept(clip, asked, make_context):
    signed = lambda: {"image": "https://host/face.png?signature=secret", "text": "x"}  # noqa: E731
    context = make_context(store_there=True)
    clip(signed)._answer(context)

    assert ANSWER_XCOM_KEY not in context["ti"].xcoms
    assert not context["task_state_store"].values


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: None, "script returned nothing"),
        (lambda: ["x"], "script returned list"),
        (lambda: " ", "empty text"),
        (lambda: {"imgae": "x"}, "script returned imgae, which no request has"),
    ],
)
def test_an_answer_that_is_no_request_is_said_before_anything_is_paid(clip, context, answer, said):
    with pytest.raises(errors.InvalidRequestError, match=said):
        clip(answer).execute(context)


def test_a_text_is_spoken_with_the_decorators_own_voice(clip, context):
    operator = clip(lambda: "Good evening.", voice_id="anchor")
    operator._apply(operator._answer(context))

    assert (operator.text, operator.voice_id) == ("Good evening.", "anchor")


# ---------------------------------------------------------------------------------------------- the same question


@dataclass
class Story:
    title: str


class Plain:
    pass


@pytest.mark.parametrize(
    "value",
    [
        {"b", "a", "c"},
        {1: "x", "y": 2},
        {("a", 1): None},
        Story("x"),
        [Story("x")],
        Plain(),
        b"\x00",
        "\ud800",
    ],
)
def test_any_argument_can_be_told_from_others_in_every_process(value):
    first, second = _stable(value), _stable(copy.deepcopy(value))

    assert first == second
    assert " at 0x" not in first


def test_the_order_of_a_set_is_no_other_question():
    words = [f"word{i}" for i in range(50)]
    code = (
        "import sys; from airflow_provider_kling_avatar.decorators.kling_avatar import _stable; "
        "print(_stable(set(sys.argv[1:])))"
    )

    def ask(seed):
        return subprocess.run(
            [sys.executable, "-c", code, *words],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()[-1]

    assert ask(1) == ask(2)


def test_other_values_of_a_dataclass_are_another_question():
    assert _stable(Story("a")) != _stable(Story("b"))
    assert _stable(1) != _stable("1")
    assert _stable({"a": "b"}) != _stable({"a": ["b"]})


# ---------------------------------------------------------------------------------------------- over deferrals


def test_an_answer_that_may_not_be_kept_still_says_how_its_clip_is_delivered(
    clip, face, voice, sim, context, tmp_path
):
    sound = "data:audio/wav;base64," + base64.b64encode(Path(voice).read_bytes()).decode()
    signed = {"image": face, "audio": sound, "mode": "pro", "watermark": True}
    run(clip(lambda: signed), context)
    sim.advance(200)
    task_id = sim.ledger()["entries"][0]["task_id"]

    resumed = clip(lambda: pytest.fail("asked again"), output_path=f"{tmp_path}/clip.mp4")
    made = resumed.execute_complete(context, {"task_id": task_id, "verdict": "succeeded"})

    assert made["mode"] == "pro"
    assert made["watermark_file"].endswith("clip.watermarked.mp4")
    assert sound[30:60] not in json.dumps(context["ti"].xcoms)


def test_a_task_that_waited_for_a_slot_films_what_it_was_told_before(clip, asked, sim, context):
    sim.fault(kind="error_code", call="create", code=1303, times=1)
    run(clip(), context)
    assert sim.ledger()["total"]["tasks"] == 0

    now = time.time()
    with pytest.raises(TaskDeferred):
        clip().execute_complete(context, {"verdict": "free_slot", "since": now, "deadline": now + 600})

    assert asked == ["rain"]
    assert sim.ledger()["total"]["tasks"] == 1
