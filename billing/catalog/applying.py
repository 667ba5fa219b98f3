"""Writing what a document means into the tables: only what differs, in the order in which one thing needs another."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from billing.catalog.document import CatalogInvalid
from billing.catalog.meaning import TERMS, Card, Meaning, Pool, Price, RateKey, Version
from billing.catalog.models import Allowance, Plan, PlanVersion, Product, Rate, RateCard
from billing.catalog.stored import Stored, pool_of, rate_key, version_of
from billing.customers.models import Customer
from metering.operations import InvalidMeter, define_meter


def write(wanted: Meaning, stored: Stored, *, now: datetime) -> list[tuple[PlanVersion, str]]:
    """
    Write everything but how far versions have come; return those that are to go further, and how far, in the order in
    which that has to be done. Raises CatalogInvalid for a meter that metering refuses and a customer who is not there.
    """
    for code, name in wanted.products.items():
        if stored.meaning.products.get(code) != name:
            Product.objects.update_or_create(code=code, defaults={"name": name})
    for meter in wanted.meters.values():
        try:
            define_meter(**msgspec.structs.asdict(meter))
        except InvalidMeter as error:
            raise CatalogInvalid(f"meter {meter.code}: {error}") from error
    _cards(wanted, stored)
    for plan in wanted.plans.values():
        if stored.meaning.plans.get(plan.code) != plan:
            product = None if plan.product is None else Product.objects.get(code=plan.product)
            values = {"name": plan.name, "product": product, "is_add_on": plan.is_add_on}
            Plan.objects.update_or_create(code=plan.code, defaults=values)
    rows = {version.key: _version(version) for version in wanted.versions.values()}
    for version in wanted.versions.values():
        _bundle(rows[version.key], version)
    # What a version bundles has to be fixed before the version is.
    add_ons_first = sorted(wanted.versions.values(), key=lambda version: not rows[version.key].plan.is_add_on)
    return [(rows[version.key], version.status) for version in add_ons_first]


def _cards(wanted: Meaning, stored: Stored) -> None:
    for card in _bases_first(wanted):
        if stored.meaning.cards.get(card.code) == card:
            continue
        base = None if card.base is None else RateCard.objects.get(code=card.base)
        row, _ = RateCard.objects.update_or_create(
            code=card.code,
            defaults={"name": card.name, "currency": card.currency, "source": card.source, "base": base},
        )
        _rates(row, card, stored)


def _bases_first(wanted: Meaning) -> list[Card]:
    return sorted(wanted.cards.values(), key=lambda card: len(wanted.chain(card.code)))


def _rates(row: RateCard, card: Card, stored: Stored) -> None:
    """Add what is missing. Only where nothing was promised may a price go, or be replaced."""
    known = stored.meaning.cards[card.code].rates if card.code in stored.meaning.cards else {}
    if not stored.is_promised(card.code):
        gone = {key for key, price in known.items() if card.rates.get(key) != price}
        rates = Rate.objects.filter(rate_card=row)
        Rate.objects.filter(pk__in=[rate.pk for rate in rates if rate_key(rate) in gone]).delete()
        known = {key: price for key, price in known.items() if key not in gone}
    Rate.objects.bulk_create(_new_rates(row, ((key, card.rates[key]) for key in card.rates if key not in known)))


def _new_rates(row: RateCard, rates: Iterable[tuple[RateKey, Price]]) -> list[Rate]:
    return [
        Rate(
            rate_card=row,
            meter_code=key.meter_code,
            dimensions=dict(key.dimensions),
            charge_model=price.charge_model,
            unit_price=price.unit_price,
            unit_size=price.unit_size,
            terms=json.loads(price.terms),
            effective_from=key.effective_from,
        )
        for key, price in rates
    ]


def _version(version: Version) -> PlanVersion:
    """The row of the version, its terms and allowances as they are wanted."""
    values: dict[str, Any] = {name: version.terms[name] for name in TERMS}
    values |= {"rate_card": RateCard.objects.get(code=version.rate_card), "only_for": _customer(version)}
    row, created = PlanVersion.objects.select_related("plan", "rate_card", "only_for").get_or_create(
        plan=Plan.objects.get(code=version.plan), version=version.version, currency=version.currency, defaults=values
    )
    known = version_of(row)
    if not created and (known.terms, known.rate_card, known.only_for) != (
        version.terms,
        version.rate_card,
        version.only_for,
    ):
        PlanVersion.objects.filter(pk=row.pk).update(**values)
    _allowances(row, version.pools)
    return row


def _customer(version: Version) -> Customer | None:
    if version.only_for is None:
        return None
    customer = Customer.objects.filter(customer_key=version.only_for).first()
    if customer is None:
        raise CatalogInvalid(f"{version} is only for {version.only_for}, who is no customer; create the customer first")
    if customer.currency != version.currency:
        raise CatalogInvalid(f"{version} is only for {version.only_for}, who pays in {customer.currency}")
    return customer


def _allowances(row: PlanVersion, pools: tuple[Pool, ...]) -> None:
    if tuple(pool_of(one) for one in row.allowances.order_by("position")) == pools:
        return
    row.allowances.all().delete()
    Allowance.objects.bulk_create(
        Allowance(
            plan_version=row,
            position=position,
            code=pool.code,
            name=pool.name,
            measure=pool.measure,
            amount=pool.amount,
            is_per_seat=pool.is_per_seat,
            each_dimension=pool.each_dimension,
            covers=json.loads(pool.covers),
            at_plan_change=pool.at_plan_change,
        )
        for position, pool in enumerate(pools, start=1)
    )


def _bundle(row: PlanVersion, version: Version) -> None:
    wanted = {
        PlanVersion.objects.get(plan__code=code, version=number, currency=version.currency).pk
        for code, number in version.bundled
    }
    if wanted != set(row.bundled.values_list("pk", flat=True)):
        row.bundled.set(wanted)
