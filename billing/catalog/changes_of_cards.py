"""What a document would change of products, meters and rate cards, and what it may not. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from billing.catalog.changes import ADD, CHANGE, Change, Difference, Refusal, customers
from billing.catalog.meaning import Card, Meaning, Price, RateKey, instant_text, names_in
from billing.catalog.stored import Stored
from billing.catalog.words import price_change_texts


def changes_of_products(wanted: Meaning, stored: Stored) -> Iterator[Change]:
    for code, name in wanted.products.items():
        known = stored.meaning.products.get(code)
        if known is None:
            yield Change(ADD, f"product {code}", (Difference("name", "", name),))
        elif known != name:
            yield Change(CHANGE, f"product {code}", (Difference("name", known, name),), is_promised=True)


def changes_of_meters(wanted: Meaning, stored: Stored) -> Iterator[Change | Refusal]:
    for code, meter in wanted.meters.items():
        known = stored.meaning.meters.get(code)
        if known is not None:
            yield from _lost_dimensions(code, set(known.dimensions) - set(meter.dimensions), stored)
        fields = ("event_type", "value_path", "aggregation", "dimensions", "unit", "filters")
        texts = [
            Difference(name, "" if known is None else _plain(getattr(known, name)), _plain(getattr(meter, name)))
            for name in fields
            if known is None or getattr(known, name) != getattr(meter, name)
        ]
        texts = [one for one in texts if one.was or one.will_be]
        if not texts:
            continue
        # How usage is counted concerns everybody, whether or not a price names the meter yet.
        if known is None:
            yield Change(ADD, f"meter {code}", tuple(texts), "it counts what is recorded from now on", True)
        elif known.aggregation != meter.aggregation:
            yield Refusal(
                f"meter {code}", f"its aggregation is {known.aggregation} and stays", "Define a meter with another code"
            )
        else:
            live = customers(stored.live_on_meter(code))
            affected = f"its next version counts what is recorded from now on, for {live} whose usage it prices"
            yield Change(CHANGE, f"meter {code}", tuple(texts), affected, True)


def _lost_dimensions(code: str, lost: Collection[str], stored: Stored) -> Iterator[Refusal]:
    """A refusal for each dimension by which something promised tells the meter's usage apart: it would never apply."""
    if not lost:
        return
    named: dict[str, str] = {}
    for card in stored.meaning.cards.values():
        for key, price in card.rates.items():
            if key.meter_code == code and stored.is_promised(card.code):
                named |= dict.fromkeys(names_in(key, price), f"rate card {card.code} prices by it")
    for version in stored.meaning.versions.values():
        if version.status != "draft" and code in stored.meaning.meters_priced_for(version):
            for pool in version.pools:
                named |= dict.fromkeys(pool.names_for(code), f"allowance {pool.code} of {version} names it")
    for name in sorted(named.keys() & lost):
        yield Refusal(
            f"meter {code}", f"its dimension {name} cannot go: {named[name]}", "Keep it, or define another meter"
        )


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return " or ".join(_plain(one) for one in value) if value and isinstance(value[0], dict) else ", ".join(value)
    if isinstance(value, Mapping):
        return " and ".join(f"{path} is {' or '.join(texts)}" for path, texts in value.items())
    return str(value)


def changes_of_card(card: Card, stored: Stored, *, now: datetime) -> Iterator[Change | Refusal]:
    known = stored.meaning.cards.get(card.code)
    subject = f"rate card {card.code}"
    if known is None:
        head = [Difference("name", "", card.name), Difference("currency", "", card.currency)]
        base = [Difference("base", "", card.base)] if card.base else []
        yield Change(ADD, subject, (*head, *base, *_rate_texts(card, {}, card.rates, stored)))
        return
    is_promised, live = stored.is_promised(card.code), stored.live_on_card(card.code)
    fixed = [
        Difference(name, str(getattr(known, name) or "none"), str(getattr(card, name) or "none"))
        for name in ("currency", "base")
        if getattr(known, name) != getattr(card, name)
    ]
    names = [
        Difference(name, getattr(known, name), getattr(card, name))
        for name in ("name", "source")
        if getattr(known, name) != getattr(card, name)
    ]
    if fixed and is_promised:
        told = ", ".join(f"{one.what} {one.was} → {one.will_be}" for one in fixed)
        yield Refusal(
            subject,
            f"{told}: versions that were promised are priced by it",
            "Write a new card, and a draft that names it",
        )
        return
    if names or fixed:
        yield Change(CHANGE, subject, (*names, *fixed), "" if fixed else "a word for people, no term", is_promised)
    yield from _rates(card, known, stored, is_promised=is_promised, live=live, now=now)


def _rates(
    card: Card, known: Card, stored: Stored, *, is_promised: bool, live: int, now: datetime
) -> Iterator[Change | Refusal]:
    subject = f"rate card {card.code}"
    if not is_promised:
        if texts := tuple(_rate_texts(card, known.rates, card.rates, stored)):
            yield Change(CHANGE, subject, texts, "only drafts are priced by it")
        return
    added: dict[RateKey, Price] = {}
    for key, price in card.rates.items():
        if key not in known.rates:
            yield from _past(key, card, stored, now=now)
            added[key] = price
        elif known.rates[key] != price:
            was, will_be = price_change_texts(known.rates[key], price, card.currency)
            yield Refusal(
                subject,
                f"the price of {key} is {was} and cannot change to {will_be}",
                "Add a rate with a later effective_from, or a new card that a draft names",
            )
    for key, price in added.items():
        since = "at once" if key.effective_from <= now else f"from {instant_text(key.effective_from)} UTC"
        yield Change(
            CHANGE, subject, tuple(_rate_texts(card, known.rates, {**known.rates, key: price}, stored)),
            f"{customers(live)} on versions priced by it, {since}", True,
        )  # fmt: skip


def _past(key: RateKey, card: Card, stored: Stored, *, now: datetime) -> Iterator[Refusal]:
    """A refusal, if a new rate on a promised card would price usage of the past otherwise than it was priced."""
    if key.effective_from >= now:
        return
    meaning = stored.meaning
    # A plan's cards are asked before those of the add-ons that its customers have.
    besides = {
        version.rate_card
        for version in meaning.versions.values()
        if version.status != "draft" and version.currency == card.currency and meaning.plans[version.plan].is_add_on
    }
    codes = {version.rate_card for version in meaning.versions_priced_by(card.code)} | besides
    priced = {known for code in codes for one in meaning.chain(code) for known in one.rates}
    if key.charge or any(key.overlaps(known) for known in priced):
        yield Refusal(
            f"rate card {card.code}",
            f"the price of {key} would reprice usage of the past",
            "Let it take effect later",
        )


def _rate_texts(
    card: Card, was: Mapping[RateKey, Price], will_be: Mapping[RateKey, Price], stored: Stored
) -> Iterator[Difference]:
    below = [was, *(one.rates for one in stored.meaning.chain(card.base or ""))]
    for key in (*was, *(key for key in will_be if key not in was)):
        if was.get(key) == will_be.get(key):
            continue
        before = was[key] if key in was else _price_before(key, below)
        yield Difference(str(key), *price_change_texts(before, will_be.get(key), card.currency))


def _price_before(key: RateKey, cards: Iterable[Mapping[RateKey, Price]]) -> Price | None:
    """The price that a new rate takes over from, if there is one: the card's own, or that of a card it stands on."""
    for rates in cards:
        earlier = [
            known
            for known in rates
            if (known.meter_code, known.charge) == (key.meter_code, key.charge)
            and set(known.dimensions) <= set(key.dimensions)
            and known.effective_from <= key.effective_from
        ]
        if earlier:
            return rates[max(earlier, key=lambda known: (len(known.dimensions), known.effective_from))]
    return None
