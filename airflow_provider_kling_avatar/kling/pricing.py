"""
What a clip will cost, and what it did cost: a price table as data, and exact decimal arithmetic.

Knows prices and lengths. Knows nothing of caps, of who asks, or of HTTP. A price that is not known stays unknown:
no amount in here is ever made up.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from airflow_provider_kling_avatar.kling.errors import ConfigurationError
from airflow_provider_kling_avatar.kling.models import CHINESE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_kling_avatar.kling.models import EndpointName, VideoTask

TABLE = Path(__file__).with_name("prices.json")

Per = Literal["second", "call"]
MODES: Mapping[str, tuple[str, ...]] = {
    "avatar": ("std", "pro"),
    "image_to_video": ("std", "pro", "4k"),
}
"""The modes that have prices of their own, by endpoint."""

ENGLISH_CHARACTERS_PER_SECOND = Decimal(15)
CHINESE_CHARACTERS_PER_SECOND = Decimal("4.5")
"""Ordinary reading speeds; with them the length of a text is guessed before it is spoken."""
SHORTEST, LONGEST = Decimal("0.5"), Decimal("1.5")
"""What a guessed length is multiplied with for the least and the most that the clip may come to."""

_DIGITS = 12
"""An amount may have so many digits before the point, and as many after it."""


class Cost(NamedTuple):
    """An amount of money. ``currency`` is ``None`` where nobody said which."""

    amount: Decimal
    currency: str | None


@dataclass(frozen=True, slots=True)
class Price:
    """
    What a second of output costs, or a call.

    :param amount: of money, for each second or call.
    :param currency: such as ``USD``.
    :param per: ``second`` or ``call``.
    :param mode: ``std``, ``pro`` or ``4k``; empty where there is none.
    :param minimum_seconds: a shorter clip is billed as this.
    :param step_seconds: a length is billed rounded up to a multiple of this; 0 for no rounding.
    :param source: where the price comes from.
    :param date: when it was read, as ISO text.
    """

    amount: Decimal
    currency: str
    per: Per = "second"
    mode: str = ""
    minimum_seconds: Decimal = Decimal(0)
    step_seconds: Decimal = Decimal(0)
    source: str = ""
    date: str = ""

    def billed(self, seconds: Decimal) -> Decimal:
        """Return the seconds that are billed for a clip of so many seconds."""
        seconds = max(seconds, self.minimum_seconds)
        if self.step_seconds:
            steps = (seconds / self.step_seconds).to_integral_value(rounding=ROUND_CEILING)
            seconds = steps * self.step_seconds
        return seconds

    def cost(self, seconds: Decimal) -> Decimal:
        """Return the price of a clip of so many seconds."""
        return self.amount if self.per == "call" else self.billed(seconds) * self.amount


@dataclass(frozen=True, slots=True)
class PriceTable:
    """
    The prices of one account.

    :param prices: by (endpoint, model or ``""``, mode or ``""``).
    :param unit: price of one of the vendor's units.
    """

    prices: Mapping[tuple[str, str, str], Price] = field(default_factory=dict)
    unit: Cost | None = None

    def price(self, endpoint: EndpointName, mode: str, model: str | None = None) -> Price | None:
        """Return the price of a clip, ``None`` if it is not known. That of the model goes before the general one."""
        for key in ((endpoint, model or "", mode), (endpoint, "", mode)):
            if key in self.prices:
                return self.prices[key]
        return None

    @property
    def currency(self) -> str | None:
        """The one currency of all prices; ``None`` if there is none or several."""
        currencies = {price.currency for price in self.prices.values()}
        if self.unit and self.unit.currency:
            currencies.add(self.unit.currency)
        return currencies.pop() if len(currencies) == 1 else None


@dataclass(frozen=True, slots=True)
class Length:
    """
    How long a clip will be, in seconds.

    :param seconds: the likely length.
    :param rough: it is a guess, not a measurement; then `least` and `most` are its bounds.
    """

    seconds: Decimal
    rough: bool = False

    @property
    def least(self) -> Decimal:
        """Shorter than this it will hardly be."""
        return self.seconds * SHORTEST if self.rough else self.seconds

    @property
    def most(self) -> Decimal:
        """Longer than this it will hardly be."""
        return self.seconds * LONGEST if self.rough else self.seconds


@dataclass(frozen=True, slots=True)
class Estimate:
    """
    What a clip will cost before it is paid for.

    :param amount: likely; `at_least` and `at_most` differ from it only if the length is a guess.
    :param currency: of all three.
    :param seconds: that will be billed.
    :param rough: the length is a guess.
    :param price: what it was calculated with.
    :param speech: of the call that speaks the text first; part of the amounts.
    """

    amount: Decimal
    at_least: Decimal
    at_most: Decimal
    currency: str
    seconds: Decimal
    rough: bool
    price: Price
    speech: Price | None = None

    def __str__(self) -> str:
        price = self.price
        if price.per == "call":
            basis = f"a call at {plain(price.amount)} {price.currency}"
        else:
            basis = (
                f"{amount_text(self.seconds)} s{_of(price.mode)} at {plain(price.amount)} {price.currency}/s"
            )
        if self.speech:
            basis += f" and a text-to-speech call at {plain(self.speech.amount)} {self.speech.currency}"
        guess = (
            f", a guess from the text: between {amount_text(self.at_least)} and {amount_text(self.at_most)}"
            if self.rough
            else ""
        )
        return f"about {amount_text(self.amount)} {self.currency}: {basis}{guess}, {_origin(price)}"

    def as_json(self) -> dict[str, Any]:
        """Return what is kept of it: amounts and seconds as decimal texts."""
        return {
            "amount": plain(self.amount),
            "currency": self.currency,
            "seconds": plain(self.seconds),
            "rough": self.rough,
        }


def estimate(price: Price | None, length: Length | None, speech: Price | None = None) -> Estimate | None:
    """
    Return what a clip of this length will cost; ``None`` if its price or its length is not known.

    :param speech: of the call that speaks a text before; in the same currency. ``None`` if there is no such call or
        its price is not known.
    """
    if price is None or (length is None and price.per != "call"):
        return None
    length = length or Length(Decimal(0))
    spoken = speech.amount if speech else Decimal(0)
    return Estimate(
        amount=price.cost(length.seconds) + spoken,
        at_least=price.cost(length.least) + spoken,
        at_most=price.cost(length.most) + spoken,
        currency=price.currency,
        seconds=price.billed(length.seconds) if price.per == "second" else length.seconds,
        rough=length.rough and price.per == "second",
        price=price,
        speech=speech,
    )


def measured(seconds: float) -> Length:
    """Return a length that was measured or declared, in seconds."""
    return Length(Decimal(str(round(seconds, 3))))


def guessed(text: str, speed: float | None = None) -> Length:
    """
    Guess how long a text takes to be spoken.

    :param speed: of the voice, 1.0 is normal.
    """
    chinese = len(CHINESE.findall(text))
    others = len(text.strip()) - chinese
    seconds = chinese / CHINESE_CHARACTERS_PER_SECOND + max(others, 0) / ENGLISH_CHARACTERS_PER_SECOND
    pace = Decimal(str(speed)) if speed and speed > 0 else Decimal(1)
    return Length((seconds / pace).quantize(Decimal("0.1")), rough=True)


def actual_cost(task: VideoTask, prices: PriceTable) -> Cost | None:
    """
    Return what a task did cost: the vendor's own amount, else its units at the known price, else ``None``.

    A vendor that names an amount without a currency is taken to mean the one of the prices.
    """
    if task.cost is not None and (task.cost > 0 or not _positive(task.units)):
        return Cost(task.cost, task.currency or prices.currency)
    if task.units is not None and prices.unit is not None:
        return Cost(Decimal(task.units) * prices.unit.amount, prices.unit.currency)
    return None


def _positive(units: str | None) -> bool:
    return units is not None and Decimal(units) > 0


# ------------------------------------------------------------------------ amounts


def decimal_of(value: object) -> Decimal | None:
    """
    Read a plain number, not negative, from a text, an int, a float (by its decimal text) or a Decimal.

    ``None`` for anything else: words, NaN, infinities, booleans, negative numbers, numbers of absurd size.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    text = str(value).strip()
    try:
        # A long row of digits is no amount, and turning it into a number takes long.
        number = Decimal(text) if text.isascii() and "_" not in text and len(text) <= 64 else Decimal("NaN")
    except InvalidOperation:
        return None
    if not number.is_finite() or number < 0:
        return None
    exponent = number.as_tuple().exponent
    if number.adjusted() >= _DIGITS or (isinstance(exponent, int) and exponent < -_DIGITS and number):
        return None
    return abs(number)  # -0


def plain(amount: Decimal) -> str:
    """Write a number without exponent or trailing zeros."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def amount_text(amount: Decimal) -> str:
    """Write a number for a person: two places, or more where two would say too little."""
    rounded = amount.quantize(Decimal("0.01"))
    return f"{rounded if rounded == amount or amount >= Decimal('0.1') else amount.normalize():f}"


def _of(mode: str) -> str:
    return f" of {mode}" if mode else ""


def _origin(price: Price) -> str:
    """Say where a price comes from; the pages are in docs/cost.md, and too long for a line of a log."""
    return f"list price as of {price.date}" if price.date else price.source


# ------------------------------------------------------------------------ tables


@cache
def _shipped() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


def list_prices(dialect: str) -> PriceTable:
    """
    Return the known prices of an API; an empty table where none is known.

    :param dialect: such as ``kling``.
    """
    table = _shipped()
    prices = {
        (row["endpoint"], row.get("model", ""), row.get("mode", "")): msgspec.convert(row, Price)
        for row in table["prices"]
        if row["dialect"] == dialect
    }
    unit = table["unit"]
    known = dialect in unit["dialects"]
    return PriceTable(prices, Cost(Decimal(unit["amount"]), unit["currency"]) if known else None)


OVERRIDES = (
    "avatar.std, avatar.pro, image_to_video.std, image_to_video.<model>.std (or pro, 4k), speech, unit, currency, "
    "minimum_seconds, step_seconds"
)
"""What the connection's ``prices`` may hold."""


def own_prices(given: Mapping[str, Any]) -> PriceTable:
    """
    Read the connection's own ``prices``; they stand in for all that is shipped.

    :param given: see `OVERRIDES`, such as ``{"avatar.std": "0.05", "currency": "USD", "minimum_seconds": 5}``.
    :raises ConfigurationError: names the key and what to put there.
    """
    rest = dict(given)
    currency = rest.pop("currency", None)
    if not isinstance(currency, str) or not re.fullmatch(r"[A-Z]{3}", currency):
        raise ConfigurationError(
            f'the connection\'s prices need a currency of three capital letters, such as "USD", not {currency!r}'
        )
    minimum = _own_seconds("minimum_seconds", rest.pop("minimum_seconds", 0))
    step = _own_seconds("step_seconds", rest.pop("step_seconds", 0))
    unit = Cost(_own_amount("unit", rest.pop("unit")), currency) if "unit" in rest else None
    prices: dict[tuple[str, str, str], Price] = {}
    for name, value in rest.items():
        endpoint, model, mode = _key(name)
        is_speech = endpoint == "speech"
        prices[endpoint, model, mode] = Price(
            amount=_own_amount(name, value),
            currency=currency,
            per="call" if is_speech else "second",
            mode=mode,
            minimum_seconds=Decimal(0) if is_speech else minimum,
            step_seconds=Decimal(0) if is_speech else step,
            source="the connection's prices",
        )
    if not prices and unit is None:
        raise ConfigurationError(f"the connection's prices hold no price: they may hold {OVERRIDES}")
    return PriceTable(prices, unit)


def _key(name: str) -> tuple[str, str, str]:
    """Take ``image_to_video.kling-v2.1-master.pro`` apart: models have dots of their own."""
    endpoint, _, rest = name.partition(".")
    model, _, mode = rest.rpartition(".")
    good = (
        name == "speech"
        if endpoint == "speech"
        else mode in MODES.get(endpoint, ()) and not (model and endpoint == "avatar")
    )
    if not good:
        raise ConfigurationError(
            f"the connection's prices have {name!r}, which is not known; they may hold {OVERRIDES}"
        )
    return endpoint, model, mode


def _own_amount(name: str, value: object) -> Decimal:
    amount = decimal_of(value)
    if not amount:
        raise ConfigurationError(
            f"the connection's price {name} is {value!r}; it must be a number above 0 with a point and without a "
            'currency, such as "0.056"'
        )
    return amount


def _own_seconds(name: str, value: object) -> Decimal:
    seconds = decimal_of(value)
    if seconds is None or seconds > 3600:  # an hour: no clip is as long
        raise ConfigurationError(
            f"the connection's prices have {name} {value!r}; it must be a number of seconds between 0 and 3600"
        )
    return seconds
