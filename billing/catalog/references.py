"""What a document names has to exist and to fit; and what its author should know besides. Pure."""

import json
from collections.abc import Collection, Iterator
from functools import lru_cache

from billing.catalog.changes import Refusal
from billing.catalog.document import CatalogInvalid
from billing.catalog.meaning import STATUSES, Card, Meaning, Pool, Price, Version, names_in
from billing.catalog.stored import Stored
from billing.rating.charges import charge_of

# Aggregations whose hours add up to the usage of any longer time.
RATEABLE = ("count", "sum", "window_max")


def require_references(wanted: Meaning, together: Meaning) -> None:
    for card in wanted.cards.values():
        _require_base(card, together)
    for plan in wanted.plans.values():
        if plan.product is not None and plan.product not in together.products:
            raise CatalogInvalid(
                f"plan {plan.code} names product {plan.product}, which does not exist; add it to products"
            )
    for version in wanted.versions.values():
        priced_by = together.cards.get(version.rate_card)
        if priced_by is None:
            raise CatalogInvalid(
                f"{version} names rate card {version.rate_card}, which does not exist; add it to rate_cards"
            )
        if priced_by.currency != version.currency:
            raise CatalogInvalid(f"{version} is in {version.currency} and its rate card in {priced_by.currency}")
        if version.terms["usage_delivery"] == "meter_events" and together.plans[version.plan].is_add_on:
            raise CatalogInvalid(
                f"{version} is an add-on with usage_delivery meter_events, which only plans can have; leave it away: "
                "what the add-on prices goes onto the invoice as lines"
            )
        for code, number in sorted(version.bundled):
            add_on = together.plans.get(code)
            if (code, number, version.currency) not in together.versions or add_on is None:
                raise CatalogInvalid(
                    f"{version} bundles {code} v{number}, which is not sold in {version.currency}; add that version"
                )
            if not add_on.is_add_on:
                raise CatalogInvalid(f"{version} bundles {code}, which is no add-on; bundle what has is_add_on: true")


def _require_base(card: Card, together: Meaning) -> None:
    if card.base is None:
        return
    base = together.cards.get(card.base)
    if base is None:
        raise CatalogInvalid(f"rate card {card.code} stands on {card.base}, which does not exist; add it to rate_cards")
    if base.currency != card.currency:
        raise CatalogInvalid(f"rate card {card.code} is in {card.currency} and its base {base.code} in {base.currency}")
    if together.chain(card.code)[-1].base is not None:
        raise CatalogInvalid(f"rate card {card.code} comes to stand on itself; a base stands below")


def refusals_of_usage(wanted: Meaning, stored: Stored, together: Meaning) -> Iterator[Refusal]:
    """Prices and allowances that no usage can be rated by."""
    for card in together.cards.values():
        for meter_code in sorted({key.meter_code for key in card.rates} & together.meters.keys()):
            aggregation = together.meters[meter_code].aggregation
            if (card.code in wanted.cards or meter_code in wanted.meters) and aggregation not in RATEABLE:
                yield Refusal(
                    f"rate card {card.code}",
                    f"it prices meter {meter_code}, whose aggregation {aggregation} cannot be rated by the hour",
                    f"Price a meter that is {', '.join(RATEABLE)}, or define another meter for it",
                )
    for version in wanted.versions.values():
        known = stored.meaning.versions.get(version.key)
        is_promised = known is not None and known.status != "draft" and known.pools == version.pools
        for pool in version.pools:
            yield from _refusals_of_units(version, pool, together)
            if not is_promised:
                yield from _refusals_of_names(version, pool, together)


def _refusals_of_units(version: Version, pool: Pool, together: Meaning) -> Iterator[Refusal]:
    """An allowance in units names a meter of which every event is priced in its turn: no unit has a price then."""
    if pool.measure != "units":
        return
    named = {entry.get("meter_code") for entry in json.loads(pool.covers)} - {None}
    for card in together.chain(version.rate_card):
        for key, price in card.rates.items():
            if key.meter_code in named and _is_by_event(price):
                named.discard(key.meter_code)
                yield Refusal(
                    f"allowance {pool.code} of {version}",
                    f"it covers units of {key.meter_code}, whose events card {card.code} prices one by one",
                    "Write the allowance in money, or price that meter by quantity",
                )


def _refusals_of_names(version: Version, pool: Pool, together: Meaning) -> Iterator[Refusal]:
    """An allowance that names what no priced usage has: it would include nothing, and nobody would hear of it."""
    subject, covers = f"allowance {pool.code} of {version}", json.loads(pool.covers)
    priced = together.meters_priced_for(version)
    for code in sorted({entry["meter_code"] for entry in covers if "meter_code" in entry} - priced):
        yield Refusal(subject, f"it covers meter {code}, which has no price", _one_of("meter", priced))
    for entry in covers:
        codes = {entry["meter_code"]} & priced if "meter_code" in entry else priced
        for name in entry.get("dimensions", {}):
            yield from _refusal_of_dimension(subject, "covers", name, codes, together)
    if pool.each_dimension:
        codes = {entry.get("meter_code", "") for entry in covers}
        codes = priced if "" in codes or not codes else codes & priced
        yield from _refusal_of_dimension(subject, "is for each", pool.each_dimension, codes, together)


def _refusal_of_dimension(
    subject: str, verb: str, name: str, codes: Collection[str], together: Meaning
) -> Iterator[Refusal]:
    """A refusal if none of these meters has the dimension; nobody knows of one that is not defined yet."""
    if not codes or any(code not in together.meters for code in codes):
        return
    dimensions = {one for code in codes for one in together.meters[code].dimensions}
    if name not in dimensions:
        reason = f"it {verb} {name}, which {', '.join(sorted(codes))} does not tell apart"
        yield Refusal(subject, reason, _one_of("dimension", dimensions))


def _one_of(what: str, names: Collection[str]) -> str:
    return f"Name a {what} such as {', '.join(sorted(names))}" if names else f"There is no {what} to name"


@lru_cache(maxsize=1024)
def _is_by_event(price: Price) -> bool:
    terms = json.loads(price.terms)
    return charge_of(price.charge_model, terms, unit_price=price.unit_price, unit_size=price.unit_size).reads_events


def refusals_of_bundles(wanted: Meaning, stored: Stored, together: Meaning) -> Iterator[Refusal]:
    """What is promised with a version has to be fixed: a draft in its bundle could still change."""

    def reached(version: Version) -> int:
        known = stored.meaning.versions.get(version.key)
        return max(STATUSES.index(one.status) for one in (version, known) if one is not None)

    for version in wanted.versions.values():
        for code, number in sorted(version.bundled):
            add_on = together.versions[code, number, version.currency]
            if version.status == "published" and reached(add_on) == 0:
                yield Refusal(
                    str(version), f"it bundles {code} v{number}, which is a draft", f"Publish {code} v{number} with it"
                )


def notes(wanted: Meaning, stored: Stored, together: Meaning) -> Iterator[str]:
    """What changes nothing, and is good to know."""
    for card in wanted.cards.values():
        yield from _notes_of_card(card, stored, together)
    for version in wanted.versions.values():
        known = stored.meaning.versions.get(version.key)
        if version.status == "approved" and (known is None or known.status == "draft"):
            yield f"{version} waits for approval: a second person gives it, a document does not"


def _notes_of_card(card: Card, stored: Stored, together: Meaning) -> Iterator[str]:
    known = stored.meaning.cards.get(card.code)
    if known is not None and stored.is_promised(card.code):
        missing = len(known.rates.keys() - card.rates.keys())
        if missing:
            yield f"card {card.code} holds {missing} prices that the document does not name: what is promised stays"
    meters = {key.meter_code for key in card.rates if key.meter_code}
    for code in sorted(meters - together.meters.keys()):
        yield f"rate card {card.code} prices meter {code}, which is not defined: there is no usage of it"
    unknown = {
        (key.meter_code, name)
        for key, price in card.rates.items()
        if key.meter_code in together.meters
        for name in names_in(key, price)
        if name not in together.meters[key.meter_code].dimensions
    }
    for code, name in sorted(unknown):
        yield f"card {card.code} prices {code} by {name}, which that meter does not tell apart: it never applies"
