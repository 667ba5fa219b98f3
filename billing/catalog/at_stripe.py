"""
The catalogue at Stripe: products, prices and meters, written through the outbox so that each write happens once.

A plan is a product; a published version is a recurring price per seat, billed in advance; a meter that a version on
sale is priced by is a meter. What is retired is archived: who has it keeps it. What Stripe was told is what the outbox
says it was told, so that a sync with nothing to do asks Stripe nothing.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from billing.catalog.metered_prices import make_metered_prices
from billing.catalog.models import Plan, PlanVersion
from billing.catalog.stored import Stored, read_stored
from billing.invoicing.metered.models import MeteredPrice
from billing.stripe import outbox
from billing.stripe.models import OutboxIntent
from metering.queries.meters import meters_in_use

# What Stripe adds up as we do: the sum of the hours' maxima is a sum of what is sent.
_FORMULAS = {"sum": "sum", "window_max": "sum", "count": "count"}


def sync_catalog_to_stripe(*, now: datetime) -> int:
    """
    Make at Stripe what is sold here, archive what no longer is; return how many writes that took.

    Not inside a transaction; safe to repeat. Raises what outbox.perform raises; what was written until then stays
    recorded, and the next sync goes on from there.
    """
    written = 0
    versions = PlanVersion.objects.filter(status=PlanVersion.Status.PUBLISHED, stripe_price_id=None)
    for version in versions.select_related("plan").order_by("plan__code", "version", "currency"):
        plan = Plan.objects.get(pk=version.plan_id)
        if plan.stripe_product_id is None:
            plan.stripe_product_id = _create_product(plan, now=now)
            written += 1
        _create_price(version, plan.stripe_product_id, now=now)
        written += 1
    written += sum(_tell_product(plan, now=now) for plan in Plan.objects.exclude(stripe_product_id=None))
    retired = PlanVersion.objects.filter(status=PlanVersion.Status.RETIRED).exclude(stripe_price_id=None)
    for price_id in retired.order_by("pk").values_list("stripe_price_id", flat=True):
        written += _tell("prices.update", str(price_id), {"active": False}, {"active": True}, now=now)
    written += make_metered_prices(now=now)
    metered = MeteredPrice.objects.filter(plan_version__status=PlanVersion.Status.RETIRED)
    for price_id in metered.order_by("pk").values_list("stripe_price_id", flat=True):
        written += _tell("prices.update", price_id, {"active": False}, {"active": True}, now=now)
    return written + _sync_meters(now=now)


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
        purpose=f"plan:{version.plan.code}:{version.version}:{version.currency}:price",
        operation="prices.create",
        target="",
        params={
            "product": stripe_product_id,
            "currency": version.currency.lower(),
            "recurring": {"interval": version.interval, "interval_count": version.interval_count},
            "metadata": {"plan": version.plan.code, "version": str(version.version)},
            **_fee(version),
        },
        now=now,
    )
    PlanVersion.objects.filter(pk=version.pk).update(stripe_price_id=price["id"])


def _fee(version: PlanVersion) -> dict[str, Any]:
    """The fee as a price states it, in Stripe's minor units, which are ours."""
    if not version.fee_tiers:
        return {"unit_amount": version.fee_minor}
    tiers = [
        {
            "up_to": "inf" if tier["up_to"] is None else tier["up_to"],
            "unit_amount": tier["unit_minor"],
            "flat_amount": tier.get("flat_minor", 0),
        }
        for tier in version.fee_tiers
    ]
    return {"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": tiers}


def _tell_product(plan: Plan, *, now: datetime) -> bool:
    """Its name as it is now, and whether any version may still be sold."""
    created = OutboxIntent.objects.filter(purpose=f"plan:{plan.code}:product").first()
    said = {"name": created.params["name"] if created else plan.name, "active": True}
    is_sold = plan.versions.exclude(status=PlanVersion.Status.RETIRED).exists()
    return _tell("products.update", str(plan.stripe_product_id), {"name": plan.name, "active": is_sold}, said, now=now)


def _tell(operation: str, target: str, wanted: dict[str, Any], said: dict[str, Any], *, now: datetime) -> bool:
    """Update an object unless Stripe was told so last; `said` is what it was created with. Return whether it was."""
    intents = _asked_before(f"catalogue:{target}", now=now)
    for intent in intents:
        said = {**said, **intent.params}
    if all(said[name] == value for name, value in wanted.items()):
        return False
    outbox.perform(
        purpose=_next_purpose(f"catalogue:{target}"), operation=operation, target=target, params=wanted, now=now
    )
    return True


def _asked_before(purpose: str, *, now: datetime) -> list[OutboxIntent]:
    """What Stripe was asked for under this purpose, in order, and did not refuse; what was not answered is sent now."""
    asked = [intent for intent in _numbered(purpose) if intent.state != OutboxIntent.State.REFUSED]
    for intent in asked:
        if intent.state == OutboxIntent.State.INTENDED:
            outbox.perform(
                purpose=intent.purpose,
                operation=intent.operation,
                target=intent.target,
                params=intent.params,
                now=now,
            )
            intent.refresh_from_db()
    return asked


def _numbered(purpose: str) -> list[OutboxIntent]:
    found = OutboxIntent.objects.filter(purpose__startswith=f"{purpose}:")
    return sorted(found, key=lambda intent: int(intent.purpose.rpartition(":")[2]))


def _next_purpose(purpose: str) -> str:
    """What was refused is not asked under the same purpose again: it would be refused from memory."""
    return f"{purpose}:{len(_numbered(purpose)) + 1}"


def _sync_meters(*, now: datetime) -> int:
    on_sale = set(_meters_on_sale(read_stored()))
    written = 0
    for code, meter in meters_in_use().items():
        purpose = f"meter:{code}:create"
        made = _asked_before(purpose, now=now)
        if made:
            written += _tell_meter(made[-1].stripe_object_id, is_active=code in on_sale, now=now)
        elif code in on_sale and meter.aggregation in _FORMULAS:
            params = {
                "display_name": code,
                "event_name": code,
                "default_aggregation": {"formula": _FORMULAS[meter.aggregation]},
            }
            outbox.perform(purpose=_next_purpose(purpose), operation="meters.create", target="", params=params, now=now)
            written += 1
    return written


def _meters_on_sale(stored: Stored) -> Iterator[str]:
    """The meters by which a version is priced that somebody can have or has."""
    for version in stored.meaning.versions.values():
        if version.status == "published" or stored.live.get(version.key):
            for card in stored.meaning.chain(version.rate_card):
                yield from (key.meter_code for key in card.rates if key.meter_code)


def _tell_meter(stripe_meter_id: str, *, is_active: bool, now: datetime) -> bool:
    purpose = f"catalogue:{stripe_meter_id}"
    intents = _asked_before(purpose, now=now)
    was_active = not intents or intents[-1].operation == "meters.reactivate"
    if was_active == is_active:
        return False
    operation = "meters.reactivate" if is_active else "meters.deactivate"
    outbox.perform(purpose=_next_purpose(purpose), operation=operation, target=stripe_meter_id, params={}, now=now)
    return True
