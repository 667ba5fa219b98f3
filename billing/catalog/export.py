"""The catalogue as a document again: applied where it came from, it changes nothing. Pure."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from billing.catalog import yaml_text
from billing.catalog.meaning import DEFAULTS, Card, Meaning, Pool, Price, RateKey, Version
from billing.catalog.words import amount_text

DEFAULT_UNIT_SIZE = 1_000_000
_FIRST = ("mode", "dimensions", "charge_model", "up_to", "block_size", "max_blocks", "rate_percent", "cost_price")
BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)


def document_text(meaning: Meaning) -> str:
    """Return the whole document as YAML."""
    return yaml_text.write_mapping(document_of(meaning))


def document_of(meaning: Meaning) -> dict[str, Any]:
    """Return the document as plain values: amounts as text, only what differs from what is meant anyway."""
    document: dict[str, Any] = {
        "products": [{"code": code, "name": name} for code, name in meaning.products.items()],
        "meters": [_without({"filters": []}, msgspec.to_builtins(meter)) for meter in meaning.meters.values()],
        "rate_cards": [_card(card) for card in meaning.cards.values()],
        "plans": list(_plans(meaning)),
    }
    return {name: things for name, things in document.items() if things}


def part_for(meaning: Meaning, plan_codes: Collection[str]) -> Meaning:
    """The part of a catalogue that these plans need: their versions, cards, products, and what they bundle."""
    wanted = {key: version for key, version in meaning.versions.items() if version.plan in plan_codes}
    bundled = {
        (code, number, version.currency) for version in wanted.values() for code, number in version.bundled
    } & meaning.versions.keys()
    versions = {key: version for key, version in meaning.versions.items() if key in wanted or key in bundled}
    plans = {
        code: meaning.plans[code]
        for code in meaning.plans
        if code in plan_codes or code in {v.plan for v in versions.values()}
    }
    cards = {card.code for version in versions.values() for card in meaning.chain(version.rate_card)}
    products = {plan.product for plan in plans.values()}
    return Meaning(
        products={code: name for code, name in meaning.products.items() if code in products},
        cards={code: card for code, card in meaning.cards.items() if code in cards},
        plans=plans,
        versions=versions,
    )


def with_draft_of(meaning: Meaning, version: Version) -> Meaning:
    """The same with the plan's next version besides, a draft with the terms of `version`."""
    number = max(one.version for one in meaning.versions.values() if one.plan == version.plan) + 1
    draft = replace(version, version=number, status="draft")
    return replace(meaning, versions={**meaning.versions, draft.key: draft})


def _without(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}


def _card(card: Card) -> dict[str, Any]:
    effective_from = min((key.effective_from for key in card.rates), default=BEGINNING)
    listed = {key: price for key, price in card.rates.items() if _is_listed(key, price)}
    models: dict[tuple[str, datetime], dict[str, str]] = {}
    for key, price in listed.items():
        assert price.unit_price is not None
        model = str(dict(key.dimensions)["model"])
        models.setdefault((model, key.effective_from), {})[key.meter_code] = amount_text(price.unit_price)
    written: dict[str, Any] = {"code": card.code, "name": card.name, "currency": card.currency}
    if card.base:
        written["base"] = card.base
    if card.source:
        written["source"] = card.source
    written["effective_from"] = effective_from
    if models:
        written["models"] = [
            _without({"effective_from": effective_from}, {"model": model, "rates": rates, "effective_from": since})
            for (model, since), rates in models.items()
        ]
    others = [_rate(key, price, effective_from) for key, price in card.rates.items() if key not in listed]
    return written | ({"rates": others} if others else {})


def _is_listed(key: RateKey, price: Price) -> bool:
    """Whether the card's list by model can say it."""
    is_model = [name for name, _ in key.dimensions] == ["model"] and bool(dict(key.dimensions)["model"])
    return is_model and price.unit_price is not None and price.unit_size == DEFAULT_UNIT_SIZE


def _rate(key: RateKey, price: Price, effective_from: datetime) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "meter_code": "",
        "dimensions": {},
        "charge_model": "per_unit",
        "unit_price": None,
        "unit_size": None,
    }
    values = {
        "meter_code": key.meter_code,
        "dimensions": dict(key.dimensions),
        "charge_model": price.charge_model,
        "unit_price": None if price.unit_price is None else amount_text(price.unit_price),
        "unit_size": price.unit_size,
        "terms": _in_order(json.loads(price.terms)),
        "effective_from": key.effective_from,
    }
    return _without({**defaults, "terms": {}, "effective_from": effective_from}, values)


def _in_order(terms: Any) -> Any:
    """Terms with what a row is for before what it costs: the database keeps no order of its own."""
    if isinstance(terms, list):
        return [_in_order(one) for one in terms]
    if not isinstance(terms, Mapping):
        return terms
    names = sorted(terms, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    return {name: _in_order(terms[name]) for name in names}


def _plans(meaning: Meaning) -> Iterator[dict[str, Any]]:
    for plan in meaning.plans.values():
        written: dict[str, Any] = {"code": plan.code, "name": plan.name}
        if plan.product:
            written["product"] = plan.product
        if plan.is_add_on:
            written["is_add_on"] = True
        written["versions"] = [_version(version) for version in meaning.versions.values() if version.plan == plan.code]
        yield written


def _version(version: Version) -> dict[str, Any]:
    terms = version.terms
    written: dict[str, Any] = {"version": version.version, "currency": version.currency, "status": version.status}
    if version.only_for:
        written["only_for"] = version.only_for
    written |= {name: terms[name] for name, default in DEFAULTS.items() if terms[name] != default}
    if terms["fee_tiers"]:
        written["fee_tiers"] = [_without({"flat_minor": 0}, tier) for tier in terms["fee_tiers"]]
    else:
        written["fee_minor"] = terms["fee_minor"]
    if len(version.pools) == 1 and version.pools[0].is_the_short_form:
        written["included_amount"] = amount_text(version.pools[0].amount)
    elif version.pools:
        written["allowances"] = [_pool(pool) for pool in version.pools]
    if version.bundled:
        written["bundled"] = [{"plan": code, "version": number} for code, number in sorted(version.bundled)]
    written["rate_card"] = version.rate_card
    if terms["late_absorb_up_to"]:
        written["late_absorb_up_to"] = amount_text(Decimal(terms["late_absorb_up_to"]))
    return written


def _pool(pool: Pool) -> dict[str, Any]:
    values: dict[str, Any] = {
        "code": pool.code,
        "name": pool.name,
        "measure": pool.measure,
        "amount": amount_text(pool.amount),
        "each_dimension": pool.each_dimension,
        "is_per_seat": pool.is_per_seat,
        "covers": json.loads(pool.covers),
        "at_plan_change": pool.at_plan_change,
    }
    defaults = {"measure": "money", "each_dimension": "", "is_per_seat": not pool.each_dimension, "covers": []}
    return _without({**defaults, "at_plan_change": "prorate"}, values)
