"""
Reads what the vendor says it has deducted: units and money, in the words of both generations of its API.

Everything is read from its decimal text. What is no plain number is told in the log and left out.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_kling_avatar.kling.pricing import decimal_of, plain
from airflow_provider_kling_avatar.kling.responses.values import as_text, at, dicts

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.kling.responses.values import Json

log = logging.getLogger(__name__)


class Deducted(NamedTuple):
    """
    What the vendor deducted for a task, as far as it says so.

    :param units: as a decimal text.
    :param cost: money, at the vendor's list price.
    :param currency: of ``cost``, where the vendor names it.
    """

    units: str | None = None
    cost: Decimal | None = None
    currency: str | None = None


def read_deductions(records: list[Json]) -> Deducted:
    """
    Read the deductions of a task.

    :param records: the layers of the answer that describe it, outermost first.
    """
    classic = _classic(records)
    billed = next((found for layer in records if (found := _billed(dicts(layer.get("billing"))))), Deducted())
    return Deducted(
        classic.units or billed.units,
        billed.cost if classic.cost is None else classic.cost,
        billed.currency if classic.cost is None else None,
    )


def _classic(records: list[Json]) -> Deducted:
    """Read ``final_unit_deduction`` and ``final_balance_deduction{quota, list_price}``."""
    units = cost = None
    for layer in records:
        if units is None:
            units = _amount("final_unit_deduction", layer.get("final_unit_deduction"))
        if cost is None:
            price = at(layer, "final_balance_deduction", "list_price")
            cost = _amount("final_balance_deduction.list_price", price)
    return Deducted(None if units is None else plain(units), cost)


def _billed(rows: list[Json]) -> Deducted | None:
    """Read the new generation's ``billing[]{charge_type, amount, currency, package_type, list_price}``."""
    if not rows:
        return None
    units: list[Decimal] = []
    money: list[Decimal] = []
    currencies = set()
    whole = True  # whether the price of every row is known
    for row in rows:
        amount, price = (
            _amount("billing.amount", row.get("amount")),
            _amount("billing.list_price", row.get("list_price")),
        )
        if row.get("charge_type") == "unit":
            if amount is not None:
                units.append(amount)
        elif price is None:
            price = amount
        if price is None:
            whole = False
            continue
        money.append(price)
        currencies.add(as_text(row.get("currency")))
    if len(currencies) > 1:
        log.warning("the vendor billed in several currencies (%s): not added up", currencies)
        whole = False
    return Deducted(
        plain(sum(units, Decimal(0))) if units else None,
        sum(money, Decimal(0)) if money and whole else None,
        currencies.pop() if money and whole else None,
    )


def _amount(name: str, value: object) -> Decimal | None:
    if value is None or value == "":
        return None
    amount = decimal_of(value)
    if amount is None:
        log.warning("%s in the vendor's answer is no plain number (%.40r): left out", name, value)
    return amount
