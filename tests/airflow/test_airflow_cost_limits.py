"""What a task may spend: refused before it pays, told before and after, and never in the way of what is bought."""

from __future__ import annotations

import contextlib
import logging
from decimal import Decimal

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_kling_avatar.cost_limits import cost_of, pushed_estimate
from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.kling.errors import CostLimitError, InvalidRequestError, NoFreeSlotError
from airflow_provider_kling_avatar.kling.pricing import Cost
from airflow_provider_kling_avatar.operators.kling_avatar import (
    KlingAvatarSubmitOperator,
    KlingImageToVideoSubmitOperator,
)

NEWS = {"text": "Good evening and welcome to the news.", "voice_id": "reader_en_m-v1"}
OWN = {"avatar.std": "0.05", "currency": "EUR"}


@pytest.fixture(autouse=True)
def connected(connect):
    """Every test here has a good connection to start from."""


@pytest.fixture
def submit(face, voice):
    def build(**more):
        return KlingAvatarSubmitOperator(task_id="clip", **({"image": face, "audio": voice} | more))

    return build


@pytest.fixture
def ledger(sim):
    """What the vendor would have billed for."""
    return lambda: sim.ledger()["entries"]


def test_the_estimate_is_logged_and_pushed_before_anything_is_sent(submit, context, events, caplog):
    with caplog.at_level(logging.INFO):
        submit(max_cost="1.50").execute(context)

    assert pushed_estimate(context) == {"amount": "0.14", "currency": "USD", "seconds": "2.5", "rough": False}
    keys = [event[1] for event in events if event[0] == "xcom"]
    assert keys.index("kling_estimate") < keys.index("task_id")
    assert "cost: about 0.14 USD: 2.50 s of std at 0.056 USD/s, list price as of 2026-09-20" in caplog.text


@pytest.mark.parametrize(
    ("task", "connection"), [("0.1", None), (None, "0.1"), ("5", 0.1), (0.1, "5"), (0, None)]
)
def test_a_clip_above_the_smaller_limit_is_refused_before_it_is_paid(
    submit, context, connect, ledger, task, connection
):
    connect(**({} if connection is None else {"max_cost": connection}))

    with pytest.raises(CostLimitError, match=r"may cost 0\.14 USD, more than max_cost allows") as error:
        submit(max_cost=task).execute(context)

    assert isinstance(error.value, AirflowFailException)
    assert "2.50 s of std at 0.056 USD/s" in str(error.value)
    assert ledger() == []


@pytest.mark.parametrize("name", ["max_cost", "max_cost_per_run"])
@pytest.mark.parametrize("value", ["abc", "-1", "NaN", "None", "", "1,50", float("nan"), True])
def test_a_limit_that_is_no_amount_is_told_before_anything_is_paid(submit, context, ledger, name, value):
    with pytest.raises(InvalidRequestError, match=f"{name} is "):
        submit(**{name: value}).execute(context)
    assert ledger() == []


def test_a_limit_without_a_price_is_refused_and_the_message_says_how_to_give_one(
    submit, context, connect, ledger
):
    connect(host="https://api-beijing.klingai.com", max_cost="1")
    with pytest.raises(CostLimitError, match=r"avatar\.std on the api 'kling'.*\"prices\""):
        submit().execute(context)
    assert pushed_estimate(context) is None


def test_without_a_limit_an_unknown_price_is_only_told(face, context, caplog, ledger):
    with caplog.at_level(logging.INFO):
        KlingImageToVideoSubmitOperator(task_id="clip", image=face, prompt="wave").execute(context)
    assert "cost: not known, since no price is known for image_to_video.std" in caplog.text
    assert len(ledger()) == 1


def test_the_connections_own_prices_are_calculated_with(face, context, connect):
    connect(prices={"image_to_video.pro": 0.1, "currency": "EUR"})
    KlingImageToVideoSubmitOperator(
        task_id="clip", image=face, prompt="wave", mode="pro", duration=10, max_cost=1
    ).execute(context)
    assert pushed_estimate(context) == {"amount": "1", "currency": "EUR", "seconds": "10", "rough": False}


def test_a_text_that_is_sure_to_cost_too_much_is_not_even_spoken(submit, context, ledger):
    with pytest.raises(CostLimitError, match="a guess from the text"):
        submit(audio=None, text="word " * 150, voice_id=NEWS["voice_id"], max_cost="0.5").execute(context)
    assert ledger() == []


def test_the_length_of_the_speech_decides_once_it_is_known(submit, context, ledger):
    submit(audio=None, **NEWS, max_cost="1").execute(context)
    assert pushed_estimate(context)["rough"] is False
    assert [entry["endpoint"] for entry in ledger()] == ["speech", "avatar"]


def test_the_call_that_speaks_a_text_counts_towards_the_limit(submit, context, ledger):
    """The clip alone stays below the limit; with the speech before it, it does not."""
    submit(audio=None, **NEWS).execute(context)
    told = Decimal(pushed_estimate(context)["amount"])
    assert told == Decimal(pushed_estimate(context)["seconds"]) * Decimal("0.056") + Decimal("0.007")
    with pytest.raises(CostLimitError, match=r"a text-to-speech call at 0\.007 USD"):
        submit(audio=None, **NEWS | {"text": NEWS["text"] + " Hello."}, max_cost="0.006").execute(context)


@pytest.mark.parametrize("given", [{"mode": "4k"}, {"extra": {"mode": "4k"}}], ids=["mode", "extra"])
def test_4k_is_not_taken_for_std_when_it_is_priced(face, context, connect, given):
    connect(prices={"image_to_video.std": "0.084", "image_to_video.4k": "0.42", "currency": "USD"})
    with pytest.raises(CostLimitError, match=r"5\.00 s of 4k at 0\.42 USD/s"):
        KlingImageToVideoSubmitOperator(
            task_id="clip", image=face, prompt="wave", model_name="kling-v3", max_cost="1", **given
        ).execute(context)


def test_an_audio_id_has_no_known_length_unless_it_is_told(submit, context, ledger):
    spoken = {"audio": None, "audio_id": "a-1", "max_cost": "1"}
    with pytest.raises(CostLimitError, match="the length of the voice is not known"):
        submit(**spoken).execute(context)
    with contextlib.suppress(InvalidRequestError):  # the vendor has no such audio
        submit(**spoken, audio_duration_seconds="4.5").execute(context)
    assert pushed_estimate(context)["amount"] == "0.252"


@pytest.mark.parametrize(
    ("extra", "words"),
    [({}, "set allow_private_addresses"), ({"allow_private_addresses": True}, "cannot be fetched")],
)
def test_audio_in_a_private_network_is_only_measured_where_the_connection_allows_it(
    extra, words, submit, connect, context, ledger
):
    connect(**extra)
    with pytest.raises(CostLimitError, match=words):
        submit(audio="http://127.0.0.1:1/voice.mp3", max_cost="1").execute(context)
    assert ledger() == []


def test_a_clip_that_an_earlier_try_bought_is_never_refused(submit, context, make_context, ledger):
    submit().execute(context)
    retry = make_context(try_number=2, max_tries=1)

    task_id = submit(max_cost="0.01", max_cost_per_run="0.01").execute(retry)

    assert task_id == ledger()[0]["task_id"]
    assert len(ledger()) == 1
    assert pushed_estimate(retry)["amount"] == "0.14"
    assert retry["ti"].xcoms["kling_share_of_run"]["stage"] == "granted"


def test_a_refusal_leaves_no_trace_that_looks_like_a_clip(submit, make_context, ledger):
    with pytest.raises(CostLimitError):
        submit(max_cost="0.01").execute(make_context(store_there=True))

    submit(max_cost="1").execute(make_context(store_there=True, try_number=2, max_tries=0))

    assert len(ledger()) == 1


def test_the_row_that_does_not_fit_into_the_run_is_refused(submit, context, ledger, monkeypatch):
    siblings = [{"map_index": row, "amount": "0.14", "stage": "granted"} for row in (0, 1)]
    monkeypatch.setattr("airflow_provider_kling_avatar.cost_limits.xcoms_of_all_rows", lambda *_: siblings)
    context["ti"].map_index = 2

    with pytest.raises(CostLimitError, match=r"0\.28 of max_cost_per_run 0\.3 are spoken for"):
        submit(max_cost_per_run="0.3").execute(context)

    assert ledger() == []
    assert context["ti"].xcoms["kling_share_of_run"]["stage"] == "withdrawn"


@pytest.fixture
def full_account(submit, make_context, start_vendor, connect):
    """Let another task have the only slot."""
    connect(host=start_vendor(slots=1, queue_seconds=1000, render_seconds=1000).url)
    submit().execute(make_context(task_id="another"))


@pytest.mark.usefixtures("full_account")
def test_a_row_keeps_its_share_while_it_waits_for_a_slot(submit, context):
    with pytest.raises(TaskDeferred):
        submit(max_cost_per_run="0.14").execute(context)
    assert context["ti"].xcoms["kling_share_of_run"] == {
        "map_index": -1,
        "amount": "0.14",
        "stage": "granted",
    }


@pytest.mark.usefixtures("full_account")
def test_a_row_that_has_waited_long_enough_for_a_slot_leaves_its_share_to_the_others(submit, context):
    with pytest.raises(NoFreeSlotError):
        submit(max_cost_per_run="0.14", slot_timeout=0.001, deferrable=False).execute(context)

    assert context["ti"].xcoms["kling_share_of_run"]["stage"] == "withdrawn"


def test_the_vendors_deduction_is_the_actual_cost(submit, context, sim):
    task_id = submit().execute(context)
    sim.advance(60)
    hook = KlingAvatarHook()

    task = hook.get_task(task_id, "avatar")

    assert (task.units, task.currency) == ("0.8", None), "of 2.5 s of audio, two whole ones"
    assert cost_of(task, hook.config) == Cost(task.cost, "USD")
    assert str(task.cost) == "0.112"
