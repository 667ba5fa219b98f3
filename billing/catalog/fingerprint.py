"""
The fingerprint of a plan version's terms: what was tested, approved and published is the same, or it shows.

It is the SHA-256 of everything that decides what a customer pays under the version: its own terms, its allowances, the
add-ons it bundles with theirs, and every rate of its card and of the cards that one stands on. Names for people and
what happens to the version (its status, its id at Stripe) are not terms.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

from billing.catalog.models import Allowance, PlanVersion, Rate, RateCard, UsageDelivery

# The layout of what is hashed; another layout is another fingerprint.
LAYOUT = "plan-version-terms/1"


def terms_fingerprint(version: PlanVersion) -> str:
    """Return the fingerprint of the version's terms as they are stored now, in 64 hexadecimal digits."""
    digest = sha256(LAYOUT.encode())
    for part in _parts(version, seen=set()):
        digest.update(b"\n" + json.dumps(part, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode())
    return digest.hexdigest()


def _parts(version: PlanVersion, *, seen: set[int]) -> Iterator[Any]:
    """The terms in one order: the version's, then those of what it bundles. `seen` ends a circle of bundles."""
    seen.add(version.pk)
    yield ["version", _version(version)]
    for allowance in version.allowances.order_by("position"):
        yield ["allowance", _allowance(allowance)]
    for depth, card_id in enumerate(card_chain(version.rate_card_id)):
        rates = sorted(json.dumps(_rate(rate), sort_keys=True) for rate in Rate.objects.filter(rate_card_id=card_id))
        yield ["card", depth, rates]
    bundled = version.bundled.select_related("plan").order_by("plan__code", "version", "currency")
    for add_on in bundled:
        yield ["bundled", add_on.plan.code, add_on.version, add_on.currency]
        if add_on.pk not in seen:
            yield from _parts(add_on, seen=seen)


def card_chain(rate_card_id: int) -> list[int]:
    """Return the ids of a card and of the cards it stands on, in the order in which they are asked for a price."""
    bases = dict(RateCard.objects.values_list("pk", "base_id"))
    chain: list[int] = []
    next_id: int | None = rate_card_id
    while next_id is not None and next_id not in chain:
        chain.append(next_id)
        next_id = bases[next_id]
    return chain


def _version(version: PlanVersion) -> dict[str, Any]:
    # Said only where it is not as it always was: what was approved before this term came keeps its fingerprint.
    is_default = version.usage_delivery == UsageDelivery.INVOICE_LINES
    delivery = {} if is_default else {"usage_delivery": version.usage_delivery}
    return delivery | {
        "plan": version.plan.code,
        "is_add_on": version.plan.is_add_on,
        "version": version.version,
        "currency": version.currency,
        "only_for": version.only_for_id,
        "interval": [version.interval_count, version.interval],
        "alignment": version.alignment,
        "time_zone": version.time_zone,
        "trial_days": version.trial_days,
        "seats": [version.min_seats, version.max_seats],
        "fee_minor": version.fee_minor,
        "fee_tiers": version.fee_tiers,
        "late_policy": version.late_policy,
        "late_absorb_up_to": _amount(version.late_absorb_up_to),
    }


def _allowance(allowance: Allowance) -> dict[str, Any]:
    return {
        "position": allowance.position,
        "code": allowance.code,
        "measure": allowance.measure,
        "amount": _amount(allowance.amount),
        "is_per_seat": allowance.is_per_seat,
        "each_dimension": allowance.each_dimension,
        "covers": allowance.covers,
        "at_plan_change": allowance.at_plan_change,
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {
        "meter_code": rate.meter_code,
        "dimensions": rate.dimensions,
        "charge_model": rate.charge_model,
        "unit_price": None if rate.unit_price is None else _amount(rate.unit_price),
        "unit_size": rate.unit_size,
        "terms": rate.terms,
        "effective_from": _instant(rate.effective_from),
    }


def _amount(amount: Decimal | int) -> str:
    """One text for one amount, however many zeros it was written with."""
    text = f"{Decimal(amount):f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")
