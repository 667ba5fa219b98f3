"""
All writes to the catalogue. Loading a document adds what is missing and changes nothing that was published.

The shape of a document is told in `document`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.db import transaction

from billing.catalog.document import (
    CatalogInvalid,
    MeterTerms,
    PlanTerms,
    PlanVersionTerms,
    RateCardTerms,
    RateTerms,
    exact_amount,
    rates_of,
    read_document,
)
from billing.catalog.models import Allowance, LatePolicy, Plan, PlanVersion, Rate, RateCard
from billing.stripe import outbox
from metering.operations import InvalidMeter, define_meter
from metering.queries import meters as metering_meters

__all__ = [
    "CatalogConflict",
    "CatalogError",
    "CatalogInvalid",
    "CatalogLoad",
    "PlanVersionNotFound",
    "load_catalog",
    "publish_plan_version",
    "sync_catalog_to_stripe",
]


# Aggregations whose hours add up to the usage of any longer time.
RATEABLE = ("count", "sum", "window_max")


class CatalogError(Exception):
    """The catalogue cannot be changed as asked; nothing was written."""


class CatalogConflict(CatalogError):
    """The document says something else than what is already published."""


class PlanVersionNotFound(CatalogError):
    """No plan version has this id."""


@dataclass(frozen=True, slots=True)
class CatalogLoad:
    """How many rows a load added; all zero when the document was loaded before."""

    rate_cards: int
    rates: int
    plans: int
    plan_versions: int


def load_catalog(document: Mapping[str, Any], *, now: datetime) -> CatalogLoad:
    """
    Bring the catalogue to what the document says, all or nothing; loading it again changes nothing.

    Drafts take over the document's terms; a meter with another definition becomes its next version. Raises
    CatalogInvalid for a document that is none, and CatalogConflict when it would change a published version or a
    rate, add a rate that reprices usage of the past, or price a meter whose hours do not add up.
    """
    catalog = read_document(document)
    with transaction.atomic():
        for meter in catalog.meters:
            _define(meter)
        cards_before, plans_before = RateCard.objects.count(), Plan.objects.count()
        rates = sum(_load_rate_card(card, now=now) for card in catalog.rate_cards)
        _require_rateable()
        versions = sum(_load_plan(plan, now=now) for plan in catalog.plans)
        return CatalogLoad(
            rate_cards=RateCard.objects.count() - cards_before,
            rates=rates,
            plans=Plan.objects.count() - plans_before,
            plan_versions=versions,
        )


def _define(meter: MeterTerms) -> None:
    try:
        define_meter(**msgspec.structs.asdict(meter))
    except InvalidMeter as error:
        raise CatalogInvalid(f"meter {meter.code}: {error}") from error


def publish_plan_version(*, plan_version_id: int, now: datetime) -> PlanVersion:
    """
    Fix the terms of a draft for good, so that it can be sold. Said twice it changes nothing.

    Raises PlanVersionNotFound, and CatalogConflict when the version is retired.
    """
    with transaction.atomic():
        version = PlanVersion.objects.select_for_update().filter(pk=plan_version_id).first()
        if version is None:
            raise PlanVersionNotFound(f"there is no plan version {plan_version_id}")
        if version.status == PlanVersion.Status.RETIRED:
            raise CatalogConflict(f"{version} is retired and cannot be published again")
        if version.status == PlanVersion.Status.DRAFT:
            version.status = PlanVersion.Status.PUBLISHED
            version.published_at = now
            version.save(update_fields=["status", "published_at"])
    return version


def sync_catalog_to_stripe(*, now: datetime) -> int:
    """
    Create at Stripe the products and prices that it lacks; return how many. Not inside a transaction; safe to repeat.

    A published version becomes a monthly price per seat, billed in advance. Raises what outbox.perform raises; what
    was created until then stays recorded.
    """
    created = 0
    versions = PlanVersion.objects.filter(status=PlanVersion.Status.PUBLISHED, stripe_price_id=None)
    for version in versions.select_related("plan").order_by("plan_id", "version"):
        plan = Plan.objects.get(pk=version.plan_id)
        if plan.stripe_product_id is None:
            plan.stripe_product_id = _create_product(plan, now=now)
            created += 1
        _create_price(version, plan.stripe_product_id, now=now)
        created += 1
    return created


def _create_product(plan: Plan, *, now: datetime) -> str:
    product = outbox.perform(
        purpose=f"plan:{plan.code}:product",
        operation="products.create",
        target="",
        params={"name": plan.name, "metadata": {"plan": plan.code}},
        now=now,
    )
    Plan.objects.filter(pk=plan.pk).update(stripe_product_id=product["id"])
    return str(product["id"])


def _create_price(version: PlanVersion, stripe_product_id: str, *, now: datetime) -> None:
    price = outbox.perform(
        purpose=f"plan:{version.plan.code}:{version.version}:price",
        operation="prices.create",
        target="",
        params={
            "product": stripe_product_id,
            "currency": version.currency.lower(),
            "unit_amount": version.fee_minor,
            "recurring": {"interval": "month"},
            "metadata": {"plan": version.plan.code, "version": str(version.version)},
        },
        now=now,
    )
    PlanVersion.objects.filter(pk=version.pk).update(stripe_price_id=price["id"])


def _load_rate_card(terms: RateCardTerms, *, now: datetime) -> int:
    """Add what is missing of a card and return the number of new rates."""
    card, _ = RateCard.objects.get_or_create(
        code=terms.code, defaults={"name": terms.name, "currency": terms.currency, "source": terms.source}
    )
    if card.currency != terms.currency:
        raise CatalogConflict(f"rate card {card.code} is in {card.currency}, not {terms.currency}")
    stored = {(rate.meter_code, rate.subject, rate.effective_from): rate for rate in card.rates.all()}
    priced = {(meter_code, model) for meter_code, model, _ in stored}
    added: dict[tuple[str, str, datetime], RateTerms] = {}
    for rate in rates_of(terms):
        key = (rate.meter_code, rate.model, rate.effective_from)
        what = f"the rate of {rate.model} {rate.meter_code} from {rate.effective_from:%F %T} on card {card.code}"
        if key in added:
            raise CatalogConflict(f"{what} is given twice")
        if (known := stored.get(key)) is not None:
            if (known.unit_price, known.unit_size) != (rate.unit_price, rate.unit_size):
                raise CatalogConflict(f"{what} is {known.unit_price} per {known.unit_size} and cannot change")
            continue
        if (rate.meter_code, rate.model) in priced and rate.effective_from < now:
            raise CatalogConflict(f"{what} would reprice usage of the past; let it take effect later")
        added[key] = rate
    Rate.objects.bulk_create([_new_rate(card, rate) for rate in added.values()])
    return len(added)


def _new_rate(card: RateCard, terms: RateTerms) -> Rate:
    return Rate(
        rate_card=card,
        meter_code=terms.meter_code,
        dimensions={"model": terms.model},
        unit_price=terms.unit_price,
        unit_size=terms.unit_size,
        effective_from=terms.effective_from,
    )


def _load_plan(terms: PlanTerms, *, now: datetime) -> int:
    """Add what is missing of a plan and return the number of new versions."""
    plan, _ = Plan.objects.get_or_create(code=terms.code, defaults={"name": terms.name})
    return sum(_load_version(plan, version, now=now) for version in terms.versions)


def _late_absorb_up_to(terms: PlanVersionTerms, what: str) -> Decimal:
    amount = exact_amount(terms.late_absorb_up_to, f"the late usage that {what} absorbs")
    if (terms.late_policy == LatePolicy.ABSORB.value) != (amount > 0):
        raise CatalogInvalid(f"{what}: late_absorb_up_to must be above zero with late_policy absorb, and only there")
    return amount


def _require_rateable() -> None:
    """
    Refuse rates of a meter whose hours do not add up: the usage of a period is the sum of its hours.

    Unique counts, highest, lowest, last and time-weighted values of two hours say nothing about both together.
    """
    priced = Rate.objects.order_by("meter_code", "rate_card_id").values_list("meter_code", "rate_card__code")
    aggregations = {code: meter.aggregation for code, meter in metering_meters.meters_in_use().items()}
    for meter_code, card_code in priced.distinct():
        aggregation = aggregations.get(meter_code, "sum")
        if aggregation not in RATEABLE:
            raise CatalogConflict(
                f"card {card_code} prices meter {meter_code}, whose aggregation {aggregation} cannot be rated by the"
                f" hour: price a meter that is {', '.join(RATEABLE)}, or define another meter for it"
            )


def _load_version(plan: Plan, terms: PlanVersionTerms, *, now: datetime) -> bool:
    """Add or check one version; return whether it is new."""
    what = f"version {terms.version} of plan {plan.code}"
    card = RateCard.objects.filter(code=terms.rate_card).first()
    if card is None:
        raise CatalogInvalid(f"{what} names rate card {terms.rate_card}, which does not exist")
    if card.currency != terms.currency:
        raise CatalogInvalid(f"{what} is in {terms.currency} and its rate card in {card.currency}")
    wanted = {
        "currency": terms.currency,
        "fee_minor": terms.fee_minor,
        "rate_card": card,
        "late_policy": terms.late_policy,
        "late_absorb_up_to": _late_absorb_up_to(terms, what),
    }
    version, created = PlanVersion.objects.get_or_create(plan=plan, version=terms.version, defaults=wanted)
    differing = [field for field, value in wanted.items() if getattr(version, field) != value]
    differing += _load_included(version, exact_amount(terms.included_amount, f"the amount that {what} includes"))
    if differing and version.status != PlanVersion.Status.DRAFT:
        raise CatalogConflict(f"{what} is {version.status}; these cannot change: {', '.join(differing)}")
    if differing and not created:
        PlanVersion.objects.filter(pk=version.pk).update(**wanted)
    if terms.status == "published" and version.status == PlanVersion.Status.DRAFT:
        publish_plan_version(plan_version_id=version.pk, now=now)
    return created


def _load_included(version: PlanVersion, amount: Decimal) -> list[str]:
    """Bring the included usage of a draft to `amount`; return what differs of a version that is none."""
    held = version.allowances.filter(code="included").first()
    if (held is not None and held.amount == amount) or (held is None and not amount):
        return []
    if version.status == PlanVersion.Status.DRAFT:
        Allowance.objects.update_or_create(
            plan_version=version, code="included", defaults={"name": "Included usage", "position": 1, "amount": amount}
        )
    return ["included_amount"]
