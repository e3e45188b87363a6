"""What a clip will cost, what it did cost, and the words in which prices and deductions come."""

from __future__ import annotations

import logging
from datetime import date
from decimal import Decimal

import pytest

from airflow_provider_kling_avatar.kling.config import KlingConfig
from airflow_provider_kling_avatar.kling.dialects import DIALECTS
from airflow_provider_kling_avatar.kling.errors import ConfigurationError
from airflow_provider_kling_avatar.kling.models import TaskState, VideoTask
from airflow_provider_kling_avatar.kling.pricing import (
    Cost,
    PriceTable,
    actual_cost,
    decimal_of,
    estimate,
    guessed,
    list_prices,
    measured,
    own_prices,
)
from airflow_provider_kling_avatar.kling.responses.tasks import Deducted, read_deductions

D = Decimal


def config(host: str | None = None, **extra):
    return KlingConfig.build(host=host, login=None, password="sk-1", extra=extra)


def task(**facts):
    return VideoTask("t-1", TaskState.SUCCEEDED, **facts)


# ------------------------------------------------------------------------ estimates


def test_the_estimate_is_the_length_times_the_price_and_says_how_it_came_about():
    six = estimate(list_prices("kling").price("avatar", "std"), measured(6.0))

    assert (six.amount, six.at_least, six.at_most) == (D("0.336"),) * 3
    assert str(six).startswith("about 0.34 USD: 6.00 s of std at 0.056 USD/s, list price as of 2026-09-20")
    assert six.as_json() == {"amount": "0.336", "currency": "USD", "seconds": "6", "rough": False}


def test_a_measured_length_goes_into_the_estimate_without_binary_noise():
    assert estimate(list_prices("kling").price("avatar", "pro"), measured(0.1 + 0.2)).amount == D("0.0336")


def test_a_guess_from_a_text_is_marked_and_has_bounds():
    guess = estimate(list_prices("kling").price("avatar", "std"), guessed("a" * 150))

    assert guess.rough
    assert (guess.seconds, guess.at_least, guess.at_most) == (D(10), D("0.28"), D("0.84"))
    assert "a guess from the text: between 0.28 and 0.84" in str(guess)


def test_the_call_that_speaks_a_text_first_is_in_the_estimate():
    prices = list_prices("kling")
    clip = estimate(prices.price("avatar", "std"), measured(6), speech=prices.price("speech", ""))

    assert (clip.amount, clip.at_least, clip.at_most) == (D("0.343"),) * 3
    assert "6.00 s of std at 0.056 USD/s and a text-to-speech call at 0.007 USD" in str(clip)
    assert clip.seconds == 6


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_shipped_prices_of_an_api_can_be_added_up(dialect):
    prices = list_prices(dialect)
    assert prices.currency or not prices.prices


@pytest.mark.parametrize(
    ("endpoint", "mode", "amount", "units"),
    [("avatar", "std", "0.056", "0.4"), ("avatar", "pro", "0.112", "0.8"), ("speech", "", "0.007", "0.05")],
)
def test_the_shipped_prices_are_those_of_the_official_page_in_money_and_in_units(
    endpoint, mode, amount, units
):
    prices = list_prices("kling")
    price = prices.price(endpoint, mode)
    assert (price.amount, price.currency) == (D(amount), "USD")
    assert D(units) * prices.unit.amount == price.amount
    assert price.source.startswith("https://kling.ai/document-api/pricing/base/video")
    assert date.fromisoformat(price.date).isoformat() == "2026-09-20"


def test_a_slow_voice_and_chinese_take_longer():
    assert guessed("a" * 150, 0.8).seconds > guessed("a" * 150).seconds
    assert guessed("晚" * 45).seconds == 10


@pytest.mark.parametrize(("seconds", "billed"), [(2, 5), (5, 5), (5.001, 10), (10, 10), (11, 15)])
def test_a_minimum_and_a_step_are_billed(seconds, billed):
    table = own_prices({"avatar.std": "0.05", "currency": "USD", "minimum_seconds": 5, "step_seconds": "5"})

    expected = estimate(table.price("avatar", "std"), measured(seconds))

    assert (expected.seconds, expected.amount) == (billed, billed * D("0.05"))


def test_without_a_price_or_a_length_there_is_no_estimate():
    assert estimate(None, measured(6)) is None
    assert estimate(list_prices("kling").price("avatar", "std"), None) is None


@pytest.mark.parametrize("dialect", ["cometapi", "generations", "relay"])
def test_sellers_of_their_own_have_no_price_by_default(dialect):
    assert list_prices(dialect) == PriceTable()


def test_every_dialect_of_the_shipped_table_exists():
    assert list_prices("kling").prices
    assert {"kling", "kling-broadcast"} <= set(DIALECTS)


def test_the_chinese_service_has_no_known_price():
    assert config("https://api-beijing.klingai.com").prices == PriceTable()
    assert config().prices.price("avatar", "std").amount == D("0.056")


# ------------------------------------------------------------------------ overrides


def test_a_connection_has_prices_of_its_own_in_place_of_all_others():
    prices = config(prices='{"avatar.std": 0.1, "unit": "0.2", "currency": "EUR"}').prices

    assert prices.price("avatar", "std").amount == D("0.1")
    assert prices.price("avatar", "pro") is None
    assert prices.unit == Cost(D("0.2"), "EUR")


def test_a_model_may_have_its_own_price():
    prices = own_prices(
        {"image_to_video.pro": "0.1", "image_to_video.kling-v2.1-master.pro": "0.28", "currency": "USD"}
    )

    assert prices.price("image_to_video", "pro", "kling-v2.1-master").amount == D("0.28")
    assert prices.price("image_to_video", "pro", "kling-v1").amount == D("0.1")


def test_4k_has_a_price_of_its_own():
    prices = own_prices({"image_to_video.kling-v3.4k": "0.42", "image_to_video.4k": "0.5", "currency": "USD"})

    assert prices.price("image_to_video", "4k", "kling-v3").amount == D("0.42")
    assert prices.price("image_to_video", "4k", "kling-v3-omni").amount == D("0.5")
    assert prices.price("image_to_video", "pro", "kling-v3") is None


@pytest.mark.parametrize(
    ("prices", "says"),
    [
        ({"avatar.std": "-1", "currency": "USD"}, "avatar.std is '-1'"),
        ({"avatar.std": 0, "currency": "USD"}, "above 0"),
        ({"avatar.std": float("nan"), "currency": "USD"}, "avatar.std is nan"),
        ({"avatar.std": "cheap", "currency": "USD"}, "avatar.std is 'cheap'"),
        ({"avatar.std": True, "currency": "USD"}, "avatar.std is True"),
        ({"avatar.std": "0.05"}, "need a currency"),
        ({"avatar.std": "0.05", "currency": "$"}, "need a currency"),
        ({"avatar.4k": "0.05", "currency": "USD"}, "'avatar.4k', which is not known"),
        ({"avatar.best": "0.05", "currency": "USD"}, "'avatar.best', which is not known"),
        ({"std": "0.05", "currency": "USD"}, "'std', which is not known"),
        ({"avatar.v2.std": "0.05", "currency": "USD"}, "not known"),
        ({"avatar.std": "1", "currency": "USD", "minimum_seconds": -5}, "minimum_seconds -5"),
        ({"currency": "USD"}, "hold no price"),
        ("[1]", "must be a JSON object"),
        ("{", "must be a JSON object, not '{'"),
    ],
)
def test_wrong_prices_are_told_by_their_name(prices, says):
    with pytest.raises(ConfigurationError, match="price") as error:
        config(prices=prices)
    assert says in str(error.value)


@pytest.mark.parametrize("value", ["abc", "-1", "NaN", "Infinity", "1,50", "$1", True, [1]])
def test_a_wrong_limit_of_a_connection_is_told(value):
    with pytest.raises(ConfigurationError, match="max_cost"):
        config(max_cost=value)


def test_a_limit_of_a_connection_is_read_from_text_and_from_numbers():
    assert config(max_cost="1.50").max_cost == config(max_cost=1.5).max_cost == D("1.5")
    assert config(max_cost="").max_cost is None


@pytest.mark.parametrize(
    "value", ["1e999999", "9" * 60, "1_000", "\u0661", "", " ", None, float("inf"), "1e-99"]
)
def test_what_is_no_plain_amount_is_none(value):
    assert decimal_of(value) is None


# ------------------------------------------------------------------------ deductions


@pytest.mark.parametrize(
    ("record", "deducted"),
    [
        ({"final_unit_deduction": "2.40"}, Deducted("2.4")),
        ({"final_unit_deduction": 2.4}, Deducted("2.4")),
        ({"final_unit_deduction": 2}, Deducted("2")),
        ({"final_unit_deduction": ""}, Deducted()),
        ({"final_balance_deduction": {"quota": "6", "list_price": "0.336"}}, Deducted(None, D("0.336"))),
        ({"final_balance_deduction": "none"}, Deducted()),
        (
            {"billing": [{"charge_type": "unit", "amount": "2.4", "list_price": "0.336", "currency": "USD"}]},
            Deducted("2.4", D("0.336"), "USD"),
        ),
        (
            {
                "billing": [
                    {"charge_type": "cash", "amount": 1.1, "currency": "USD"},
                    {"charge_type": "cash", "amount": "2.2", "currency": "USD"},
                ]
            },
            Deducted(None, D("3.3"), "USD"),
        ),
        ({"billing": [{"charge_type": "unit", "amount": "2.4"}]}, Deducted("2.4")),
        (
            {
                "billing": [
                    {"charge_type": "cash", "amount": "1", "currency": "USD"},
                    {"charge_type": "cash", "amount": "1", "currency": "CNY"},
                ]
            },
            Deducted(),
        ),
        ({"billing": "free"}, Deducted()),
    ],
)
def test_deductions_are_read_as_decimals_in_every_shape(record, deducted):
    assert read_deductions([record]) == deducted


@pytest.mark.parametrize("junk", ["about two", "NaN", -1, True, [2], {"a": 1}, "9" * 100])
def test_a_deduction_that_is_no_number_is_left_out_with_a_line_in_the_log(junk, caplog):
    with caplog.at_level(logging.WARNING):
        assert read_deductions([{"final_unit_deduction": junk}]) == Deducted()
    assert "final_unit_deduction" in caplog.text


# ------------------------------------------------------------------------ actual cost


@pytest.mark.parametrize(
    ("facts", "cost"),
    [
        ({"cost": D("0.3"), "units": "2.4"}, Cost(D("0.3"), "USD")),
        ({"cost": D("0.3"), "currency": "CNY"}, Cost(D("0.3"), "CNY")),
        ({"cost": D(0), "units": "2.4"}, Cost(D("0.336"), "USD")),
        ({"units": "2.4"}, Cost(D("0.336"), "USD")),
        ({"units": "0", "cost": D(0)}, Cost(D(0), "USD")),
        ({}, None),
    ],
)
def test_the_actual_cost_is_the_vendors_own_amount_else_its_units_at_their_price(facts, cost):
    assert actual_cost(task(**facts), list_prices("kling")) == cost


def test_units_without_a_price_are_no_cost():
    assert actual_cost(task(units="2.4"), PriceTable()) is None
    assert actual_cost(task(cost=D(1)), PriceTable()) == Cost(D(1), None)
