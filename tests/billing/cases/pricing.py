"""The cases of pricing and rounding, handed to the public functions of charge models and of allocation."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing.invoicing.rounding import from_minor, to_minor
from billing.rating.allocation import AllowanceTerms, RatedUsage, fund
from billing.rating.charges import (
    Charge,
    CostPlus,
    Graduated,
    Volume,
    billable,
    charge_of,
    graduated_prorated,
    part,
    percent_of,
    volume_prorated,
)
from billing.rating.rating import EXACT

MILLION = 1_000_000
OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
# What stands beside a price's terms in an input: how much, and what was before.
_BESIDE = {"quantity", "prior_quantity", "prior_billed", "already_billed", "final", "events", "units"}


def graduated(given: dict[str, Any]) -> dict[str, Any]:
    return _priced("graduated", given)


def volume(given: dict[str, Any]) -> dict[str, Any]:
    return _priced("volume", given)


def graduated_percentage(given: dict[str, Any]) -> dict[str, Any]:
    return _priced("graduated_percentage", given)


def package(given: dict[str, Any]) -> dict[str, Any]:
    return _priced("package", given)


def per_unit(given: dict[str, Any]) -> dict[str, Any]:
    terms = {"tiers": [{"up_to": None, "unit_price": given["unit_price"]}]}
    return _priced("graduated", {**{name: value for name, value in given.items() if name != "unit_price"}, **terms})


def blocks(given: dict[str, Any]) -> dict[str, Any]:
    return _priced("blocks", _as_blocks(given))


def blocks_multi(given: dict[str, Any]) -> dict[str, Any]:
    """Several units, each with blocks of its own: the cells of a matrix."""
    cells = [
        {"dimensions": {"unit": name}, "tiers": _as_blocks({"mode": given["mode"], **unit})["tiers"]}
        for name, unit in given["units"].items()
    ]
    matrix = charge_of("matrix", {"each": {"charge_model": "blocks", "mode": given["mode"].lower()}, "cells": cells})
    amount = Decimal(0)
    for name, unit in given["units"].items():
        cell = matrix.cell({"unit": name})
        assert cell is not None
        amount = EXACT.add(amount, _explained(cell, Decimal(unit["quantity"])))
    return {"amount": amount}


def percentage(given: dict[str, Any]) -> dict[str, Any]:
    charge = charge_of("percentage", _terms(given))
    values = [Decimal(value) for value in given.get("events", [given.get("quantity", 0)])]
    amount = charge.explain_each(values, "USD").amount
    assert amount == sum(charge.each(values), Decimal(0))
    return {"amount": amount}


def buckets(given: dict[str, Any]) -> dict[str, Any]:
    """The price of each hour's maximum (or whatever its meter makes of it) alone, added up."""
    price = {name: value for name, value in given["price"].items() if name != "model"}
    model = given["price"]["model"]
    if model in ("unit", "per_unit"):
        model, price = "graduated", {"tiers": [{"up_to": None, "unit_price": price["unit_price"]}]}
    charge = charge_of(model, {**price, "per": "window"})
    hours = [Decimal(bucket) for bucket in given["buckets"]]
    amount = sum((charge.amount(hour) for hour in hours), Decimal(0))
    assert charge.explain_each(hours, "USD").amount == amount
    return {"amount": amount}


def token_cost(given: dict[str, Any]) -> dict[str, Any]:
    """Cost by token class, and what is charged: with a margin and a fee beside it where they are given."""
    rates, fee = given["rates_per_million"], given.get("platform_fee_per_million") or "0"
    each = {
        "charge_model": "cost_plus",
        "unit_size": MILLION,
        "platform_fee": fee,
        "margin_percent": given.get("margin_percent") or given.get("markup_percent") or "0",
    }
    cells = [{"dimensions": {"class": name}, "cost_price": rate} for name, rate in rates.items()]
    matrix = charge_of("matrix", {"each": each, "cells": cells})
    of_the_fee = charge_of("cost_plus", {"cost_price": "0", "unit_size": MILLION, "platform_fee": fee})
    cost = charged = platform_fee = Decimal(0)
    for name, tokens in given["tokens"].items():
        cell, count = matrix.cell({"class": name}), Decimal(tokens)
        assert isinstance(cell, CostPlus)
        cost = EXACT.add(cost, cell.cost(count))
        charged = EXACT.add(charged, _explained(cell, count))
        platform_fee = EXACT.add(platform_fee, of_the_fee.amount(count))
    return {"cost": cost, "platform_fee": platform_fee, "charged": charged}


def volume_of_prorated(given: dict[str, Any]) -> dict[str, Any]:
    charge = charge_of("volume", {"tiers": given["tiers"]})
    assert isinstance(charge, Volume)
    return {"amount": volume_prorated(charge, Decimal(given["full_quantity"]), Decimal(given["prorated_quantity"]))}


def prorated_graduated(given: dict[str, Any]) -> dict[str, Any]:
    """The expectation is rounded to cents, half away from zero."""
    charge = charge_of("graduated", {"tiers": given["tiers"]})
    assert isinstance(charge, Graduated)
    changes = zip(map(Decimal, given["event_units"]), map(Decimal, given["event_prorated_units"]), strict=True)
    cents = graduated_prorated(charge, changes) * 100
    return {"amount": Decimal((2 * cents.numerator + cents.denominator) // (2 * cents.denominator)) / 100}


def usage_discount(given: dict[str, Any]) -> dict[str, Any]:
    before, free = Decimal(given.get("prior_quantity", 0)), Decimal(given["discount_quantity"])
    return {"billable": billable(Decimal(given["quantity"]), before=before, free=free)}


def rounded_percent(given: dict[str, Any]) -> dict[str, Any]:
    """A percentage rounded once, as an invoice line is: half away from zero."""
    exact = percent_of(Decimal(given["amount"]), Decimal(given["percent"]))
    # Cents stand for whatever place is asked for.
    shift = int(given.get("scale", 2)) - 2
    return {"amount": EXACT.scaleb(from_minor(to_minor(exact.scaleb(shift), "USD"), "USD"), -shift)}


def marginal(given: dict[str, Any]) -> dict[str, Any]:
    """What each event adds, where several have the same timestamp: source and id put them in one order."""
    charge = charge_of("graduated", {"tiers": given["tiers"]})
    events = given["events"] if isinstance(given["events"], list) else [1] * given["events"]
    amounts = list(charge.each(Decimal(value) for value in events))
    return {"amounts_sorted": sorted(amounts), "total": sum(amounts, Decimal(0))}


def negative_cycle(given: dict[str, Any]) -> dict[str, Any]:
    """A period whose corrections outweigh its usage bills none of it."""
    charge = charge_of("per_unit", {}, unit_price=Decimal(1), unit_size=1)
    return {"billable": charge.amount(sum((Decimal(value) for value in given["events"]), Decimal(0)))}


def overage(given: dict[str, Any]) -> dict[str, Any]:
    """Spend that no allowance pays for; both are cents."""
    spent = RatedUsage(at=OCTOBER, rate_id=1, amount=Decimal(given["spend_cents"]))
    included = AllowanceTerms(allowance_id=1, measure="money", amount=Decimal(given["included_spend_cents"]))
    return {"overage_cents": fund([spent], [included], []).by_rate[1].unbilled}


def _priced(charge_model: str, given: dict[str, Any]) -> dict[str, Any]:
    """The price of a quantity, or of a part of it where something was before."""
    charge = charge_of(charge_model, _terms(given))
    quantity, before = Decimal(given["quantity"]), Decimal(given.get("prior_quantity", 0))
    billed = given.get("prior_billed", given.get("already_billed"))
    paid = None if billed is None else Decimal(billed)
    is_part = "prior_quantity" in given
    is_over = bool(given.get("final", not is_part))
    if is_part and is_over and paid is None and not before and not quantity:
        # The last of several parts: the first one has paid what is owed for no usage.
        paid = charge.amount(before)
    _explained(charge, EXACT.add(before, quantity))
    return {"amount": part(charge, quantity, before=before, paid=paid, is_over=is_over)}


def _terms(given: Mapping[str, Any]) -> dict[str, Any]:
    """The input without what is no term; a term that is null was left away."""
    return {name: value for name, value in given.items() if name not in _BESIDE and value is not None}


def _as_blocks(given: Mapping[str, Any]) -> dict[str, Any]:
    """Kill Bill writes -1 for a tier without an end."""
    tiers = [
        {**tier, "max_blocks": None if str(tier.get("max_blocks")) == "-1" else tier.get("max_blocks")}
        for tier in given["tiers"]
    ]
    return {**given, "mode": given["mode"].lower(), "tiers": tiers}


def _explained(charge: Charge, quantity: Decimal) -> Decimal:
    """The price, once its steps were found to add up to it."""
    priced = charge.explain(quantity, "USD")
    assert sum((step.amount for step in priced.steps), Decimal(0)) == priced.amount == charge.amount(quantity)
    return priced.amount


ADAPTERS = {
    "graduated": graduated,
    "graduated_split": graduated,
    "volume": volume,
    "volume_split": volume,
    "volume_prorated": volume_of_prorated,
    "package": package,
    "package_split": package,
    "per_unit": per_unit,
    "unit": per_unit,
    "percentage": percentage,
    "graduated_percentage": graduated_percentage,
    "blocks": blocks,
    "blocks_multi": blocks_multi,
    "buckets": buckets,
    "token_cost": token_cost,
    "prorated_graduated": prorated_graduated,
    "usage_discount": usage_discount,
    "percent_of": rounded_percent,
    "marginal_same_timestamp": marginal,
    "negative_cycle_clamp": negative_cycle,
    "overage": overage,
}
