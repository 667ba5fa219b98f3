"""
The metered prices of plan versions at Stripe: for each rate a meter of its own and a price by which Stripe bills what
is sent to it, one chargeable increment of the currency a unit. Written through the outbox, each once.
"""

import json
from datetime import datetime

from django.db.models import F

from billing.catalog.fingerprint import card_chain
from billing.catalog.models import PlanVersion, Rate, UsageDelivery
from billing.invoicing.metered.models import MeteredPrice
from billing.invoicing.rounding import chargeable_increment_minor
from billing.stripe import outbox
from billing.subscriptions.at_stripe import METERED_RATE

# Stripe allows 20 items a subscription; some are the plan's and its add-ons'. Rates beyond go as invoice lines.
PRICES_MAX = 15


def make_metered_prices(*, now: datetime) -> int:
    """
    Make what is missing for published versions whose usage goes through meters; return how many prices were made.

    Not inside a transaction; safe to repeat. Raises what outbox.perform raises.
    """
    versions = PlanVersion.objects.filter(
        status=PlanVersion.Status.PUBLISHED,
        usage_delivery=UsageDelivery.METER_EVENTS,
        stripe_price_id__isnull=False,
        plan__is_add_on=False,
    )
    made = 0
    for version in versions.select_related("plan").order_by("plan__code", "version", "currency"):
        known = set(version.metered_prices.values_list("rate_id", flat=True))
        for rate in rates_to_meter(version, now=now):
            if rate.pk not in known and len(known) < PRICES_MAX:
                _make(version, rate, now=now)
                known.add(rate.pk)
                made += 1
    return made


def rates_to_meter(version: PlanVersion, *, now: datetime) -> list[Rate]:
    """The rates of usage that the version's card has now or will have, each card's before those it stands on."""
    found: list[Rate] = []
    priced: set[tuple[str, str]] = set()
    for card_id in card_chain(version.rate_card_id):
        rates = Rate.objects.filter(rate_card_id=card_id).exclude(meter_code="")
        here: set[tuple[str, str]] = set()
        for rate in rates.order_by(F("effective_from").desc(), "pk"):
            key = (rate.meter_code, json.dumps(rate.dimensions, sort_keys=True))
            if key in priced or key in here:
                continue
            found.append(rate)
            if rate.effective_from <= now:
                here.add(key)
        priced |= here
    return sorted(found, key=lambda rate: rate.pk)


def _make(version: PlanVersion, rate: Rate, *, now: datetime) -> None:
    purpose = f"metered:{version.pk}:{rate.pk}"
    event_name = f"usage_version_{version.pk}_rate_{rate.pk}"
    unit = chargeable_increment_minor(version.currency)
    meter = outbox.perform(
        purpose=f"{purpose}:meter",
        operation="meters.create",
        target="",
        params={
            "display_name": f"{version}: {rate.subject} {rate.meter_code}"[:250],
            "event_name": event_name,
            "default_aggregation": {"formula": "sum"},
        },
        now=now,
    )
    price = outbox.perform(
        purpose=f"{purpose}:price",
        operation="prices.create",
        target="",
        params={
            "product": version.plan.stripe_product_id,
            "currency": version.currency.lower(),
            "unit_amount": unit,
            "nickname": f"{rate.subject} {rate.meter_code}"[:250],
            "recurring": {
                "interval": version.interval,
                "interval_count": version.interval_count,
                "usage_type": "metered",
                "meter": meter["id"],
            },
            "metadata": {"plan": version.plan.code, "version": str(version.version), METERED_RATE: str(rate.pk)},
        },
        now=now,
    )
    MeteredPrice.objects.get_or_create(
        plan_version=version,
        rate=rate,
        defaults={
            "unit_minor": unit,
            "event_name": event_name,
            "stripe_meter_id": meter["id"],
            "stripe_price_id": price["id"],
            "made_at": now,
        },
    )
