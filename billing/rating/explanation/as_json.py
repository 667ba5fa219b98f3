"""
Explanations as JSON. Its shape is stable: a field is added, never renamed or taken away, without another SCHEMA.

Amounts and quantities are decimal strings with every place they have, their currency beside them; instants are RFC 3339
in UTC, days ISO 8601. `billing/api/schema.py` describes the same shapes.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing.rating.charges import Step
from billing.rating.explanation.model import (
    Charged,
    EventCost,
    Explanation,
    PaidPart,
    Payer,
    PeriodFacts,
    Posting,
    PriceExplained,
    PriceVersion,
    Settled,
    Slice,
    UsageFound,
)
from billing.rating.totals import Amounts

SCHEMA = "billing.explanation/1"
EVENT_SCHEMA = "billing.event-cost/1"
Body = dict[str, Any]


def explanation_body(explained: Explanation) -> Body:
    """The whole explanation."""
    return {
        "schema": SCHEMA,
        "subject": {
            "kind": explained.subject.kind,
            "id": explained.subject.id,
            "title": explained.subject.title,
        },
        "currency": explained.period.currency,
        "period": _period(explained.period),
        "total": _amounts(explained.total),
        "payers": [_payer(one) for one in explained.payers],
        "prices": [_price(one) for one in explained.prices],
        "postings": [_posting(one) for one in explained.postings],
        "invoice_line": None if explained.charged is None else _charged(explained.charged),
        "settled": None if explained.settled is None else _settled(explained.settled),
        "check": {"verdict": explained.check.verdict, "text": explained.check.text},
    }


def day_body(period_id: int, rate_id: int, day: datetime, hours: tuple[Slice, ...]) -> Body:
    """The windows of one price on one day."""
    return {
        "schema": SCHEMA,
        "period": period_id,
        "rate": rate_id,
        "day": day.date().isoformat(),
        "windows": [
            {"window_start": instant_text(one.at), "dimensions": one.dimensions, **_usage(one.usage)}
            | {"amounts": _amounts(one.amounts)}
            for one in hours
        ],
    }


def event_body(costs: tuple[EventCost, ...], *, event_key: str) -> Body:
    """What an event cost, meter by meter."""
    return {"schema": EVENT_SCHEMA, "event": event_key, "meters": [_event_cost(one) for one in costs]}


def number_text(number: Decimal) -> str:
    """Without exponent, thousands separators and trailing zeros."""
    text = f"{number:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("", "-0") else text


def instant_text(instant: datetime | None) -> str | None:
    """Such as 2026-10-03T12:00:00.123456Z; whole seconds have no places."""
    return None if instant is None else instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _period(period: PeriodFacts) -> Body:
    return {
        "id": period.id,
        "customer_key": period.customer_key,
        "customer_name": period.customer_name,
        "starts_at": instant_text(period.starts_at),
        "ends_at": instant_text(period.ends_at),
        "kind": period.kind,
        "state": period.state,
        "plan_version": period.plan_version_id,
        "terms": period.terms,
        "seats": period.seats,
        "add_ons": list(period.add_ons),
    }


def _amounts(amounts: Amounts) -> Body:
    return {
        "quantity": number_text(amounts.quantity),
        "rated": number_text(amounts.rated),
        "included": number_text(amounts.included),
        "credited": number_text(amounts.credited),
        "unbilled": number_text(amounts.unbilled),
    }


def _payer(payer: Payer) -> Body:
    return {
        "kind": payer.kind,
        "id": payer.id,
        "name": payer.name,
        "amount": number_text(payer.amount),
        "quantity": number_text(payer.quantity),
        "measure": payer.measure or None,
        "limit": None if payer.limit is None else number_text(payer.limit),
    }


def _version(price: PriceVersion) -> Body:
    return {
        "rate": price.rate_id,
        "title": price.title,
        "meter": price.meter_code or None,
        "dimensions": price.dimensions,
        "charge_model": price.charge_model,
        "card": price.card,
        "effective_from": instant_text(price.effective_from),
        "effective_until": instant_text(price.effective_until),
    }


def _price(explained: PriceExplained) -> Body:
    return {
        "price": _version(explained.price),
        "before": _amounts(explained.before),
        "change": _amounts(explained.change),
        "after": _amounts(explained.after),
        "steps": [_step(step) for step in explained.steps],
        "steps_add_up": explained.is_followed,
        "payers": [_payer(one) for one in explained.payers],
        "usage": None if explained.usage is None else _usage(explained.usage),
        "days": [
            {"day": one.at.date().isoformat(), **_usage(one.usage), "amounts": _amounts(one.amounts)}
            for one in explained.days
        ],
    }


def _step(step: Step) -> Body:
    return {"text": step.text, "amount": number_text(step.amount)}


def _usage(usage: UsageFound) -> Body:
    return {
        "quantity": number_text(usage.quantity),
        "windows": usage.windows,
        "events": usage.events,
        "fingerprint": usage.fingerprint,
        "first_window": instant_text(usage.first),
        "last_window": instant_text(usage.last),
    }


def _posting(posting: Posting) -> Body:
    return {
        "accrual": posting.accrual_id,
        "revision": posting.revision,
        "recorded_at": instant_text(posting.recorded_at),
        "change": _amounts(posting.change),
        "journal_entry": posting.entry_id,
        "because": posting.because or None,
    }


def _charged(charged: Charged) -> Body:
    return {
        "id": charged.line_id,
        "invoice": charged.invoice,
        "invoice_status": charged.invoice_status,
        "kind": charged.kind,
        "description": charged.description,
        "created_at": instant_text(charged.created_at),
        "finalized_at": instant_text(charged.finalized_at),
        "exact_amount": number_text(charged.exact),
        "rounding": number_text(charged.rounding),
        "amount_minor": charged.minor,
        "increment_minor": charged.increment_minor,
    }


def _settled(settled: Settled) -> Body:
    return {
        "billed": number_text(settled.billed),
        "given_back": number_text(settled.given_back),
        "absorbed": number_text(settled.absorbed),
        "left": number_text(settled.left),
    }


def _event_cost(cost: EventCost) -> Body:
    return {
        "event_time": instant_text(cost.event_time),
        "meter": cost.meter_code,
        "meter_version": cost.meter_version,
        "dimensions": cost.dimensions,
        "standing": cost.standing,
        "text": cost.text,
        "period": None if cost.period is None else _period(cost.period),
        "currency": None if cost.period is None else cost.period.currency,
        "price": None if cost.price is None else _version(cost.price),
        "quantity": number_text(cost.quantity),
        "amount": number_text(cost.amount),
        "how": cost.how or None,
        "parts": [_part(one) for one in cost.parts],
        "place_in_hour": cost.place or None,
        "events_in_hour": cost.of or None,
        "quantity_before": number_text(cost.quantity_before),
        "is_posted": cost.is_posted,
    }


def _part(part: PaidPart) -> Body:
    return {**_payer(part.payer), "used_before": number_text(part.used_before), "why": part.why}
