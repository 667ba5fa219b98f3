"""What the tables say, in the form in which a document can be compared with it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.db.models import Count

from billing.catalog.document import MeterTerms
from billing.catalog.meaning import (
    Card,
    Meaning,
    PlanOffer,
    Pool,
    Price,
    RateKey,
    Version,
    VersionKey,
    canonical,
    dimensions_of,
    keyed,
    plain_terms,
)
from billing.catalog.models import Allowance, Plan, PlanVersion, Product, Rate, RateCard
from billing.rating.charges.kinds import ChargeModel
from billing.subscriptions.models import Subscription, SubscriptionAddOn
from metering.queries.meters import meter_versions

ENDED = (Subscription.Status.CANCELED, Subscription.Status.INCOMPLETE_EXPIRED)


@dataclass(frozen=True, slots=True)
class Stored:
    """The whole catalogue as it is stored, and who lives by it: live subscriptions, add-ons too, by plan version."""

    meaning: Meaning
    live: Mapping[VersionKey, int] = field(default_factory=dict)
    # The plans of which a version was published, ever.
    sold: frozenset[str] = frozenset()

    def is_promised(self, card_code: str) -> bool:
        """Whether a version that is no draft any more is priced by the card."""
        return any(version.status != "draft" for version in self.meaning.versions_priced_by(card_code))

    def live_on_card(self, card_code: str) -> int:
        return sum(self.live.get(version.key, 0) for version in self.meaning.versions_priced_by(card_code))

    def live_on_meter(self, meter_code: str) -> int:
        """Live subscriptions on versions whose cards price the meter."""
        return sum(
            live
            for key, live in self.live.items()
            for chain in [self.meaning.chain(self.meaning.versions[key].rate_card)]
            if any(rate.meter_code == meter_code for card in chain for rate in card.rates)
        )


def read_stored() -> Stored:
    """Return the catalogue, in a number of queries that does not grow with it."""
    return Stored(
        Meaning(
            products=dict(Product.objects.order_by("code").values_list("code", "name")),
            meters=_meters(),
            cards=_cards(),
            plans={
                plan.code: PlanOffer(plan.code, plan.name, plan.product.code if plan.product else None, plan.is_add_on)
                for plan in Plan.objects.select_related("product").order_by("code")
            },
            versions=_versions(),
        ),
        live=_live(),
        sold=frozenset(PlanVersion.objects.exclude(published_at=None).order_by().values_list("plan__code", flat=True)),
    )


def _meters() -> dict[str, MeterTerms]:
    """The version of each meter that counts now."""
    return {
        meter.code: MeterTerms(
            code=meter.code,
            event_type=meter.event_type,
            value_path=meter.value_path,
            aggregation=meter.aggregation,
            dimensions=list(meter.dimensions),
            unit=meter.unit,
            filters=[{path: list(allowed) for path, allowed in one.items()} for one in meter.filters],
        )
        for meter in meter_versions()
        if meter.active
    }


def _cards() -> dict[str, Card]:
    rates: dict[int, list[tuple[RateKey, Price]]] = {}
    for rate in Rate.objects.order_by("pk"):
        rates.setdefault(rate.rate_card_id, []).append((rate_key(rate), price_of(rate)))
    return {
        card.code: Card(
            code=card.code,
            name=card.name,
            currency=card.currency,
            source=card.source,
            base=card.base.code if card.base else None,
            rates=keyed(rates.get(card.pk, [])),
        )
        for card in RateCard.objects.select_related("base").order_by("code")
    }


def rate_key(rate: Rate) -> RateKey:
    return RateKey(
        meter_code=rate.meter_code,
        dimensions=dimensions_of(rate.dimensions),
        charge="" if rate.charge_model not in ChargeModel.without_meter() else rate.charge_model,
        effective_from=rate.effective_from,
    )


def price_of(rate: Rate) -> Price:
    return Price(rate.charge_model, rate.unit_price, rate.unit_size, canonical(plain_terms(rate.terms)))


def _versions() -> dict[VersionKey, Version]:
    rows = PlanVersion.objects.select_related("plan", "rate_card", "only_for").prefetch_related(
        "allowances", "bundled__plan"
    )
    versions = [version_of(row) for row in rows.order_by("plan__code", "version", "currency")]
    return {version.key: version for version in versions}


def version_of(row: PlanVersion) -> Version:
    """What one plan version means."""
    return Version(
        plan=row.plan.code,
        version=row.version,
        currency=row.currency,
        status=row.status,
        terms={
            "interval": row.interval,
            "interval_count": row.interval_count,
            "alignment": row.alignment,
            "time_zone": row.time_zone,
            "trial_days": row.trial_days,
            "min_seats": row.min_seats,
            "max_seats": row.max_seats,
            "fee_minor": row.fee_minor,
            "fee_tiers": [
                {"up_to": tier["up_to"], "unit_minor": tier["unit_minor"], "flat_minor": tier.get("flat_minor", 0)}
                for tier in row.fee_tiers
            ],
            "late_policy": row.late_policy,
            "late_absorb_up_to": row.late_absorb_up_to,
            "usage_delivery": row.usage_delivery,
        },
        rate_card=row.rate_card.code,
        only_for=row.only_for.customer_key if row.only_for else None,
        pools=tuple(pool_of(one) for one in sorted(row.allowances.all(), key=lambda one: one.position)),
        bundled=frozenset((one.plan.code, one.version) for one in row.bundled.all()),
    )


def pool_of(allowance: Allowance) -> Pool:
    return Pool(
        code=allowance.code,
        name=allowance.name,
        measure=allowance.measure,
        amount=allowance.amount,
        is_per_seat=allowance.is_per_seat,
        each_dimension=allowance.each_dimension,
        covers=canonical(allowance.covers),
        at_plan_change=allowance.at_plan_change,
    )


def _live() -> dict[VersionKey, int]:
    found: Counter[VersionKey] = Counter()
    plans = Subscription.objects.exclude(status__in=ENDED)
    add_ons = SubscriptionAddOn.objects.filter(removed_at=None).exclude(subscription__status__in=ENDED)
    key = ("plan_version__plan__code", "plan_version__version", "plan_version__currency")
    for plan, version, currency, number in (
        *plans.order_by().values_list(*key).annotate(Count("pk")),
        *add_ons.order_by().values_list(*key).annotate(Count("pk")),
    ):
        found[(plan, version, currency)] += number
    return dict(found)
