"""What answers about subscriptions look like. `subscriptions_schema` describes the same shapes."""

from datetime import datetime
from typing import Any

from billing.rating.explanation.as_json import instant_text
from billing.subscriptions import comparing, scheduling
from billing.subscriptions.at_stripe import items_of
from billing.subscriptions.change_models import ChangePreview, EndPreview, ScheduledChange
from billing.subscriptions.end_previews import outdated
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.paying_again import PaidAgain
from billing.subscriptions.phases import phases_of
from billing.subscriptions.queries import latest_period

PERIODS_SHOWN, EVENTS_SHOWN = 24, 100


def subscription_body(row: Subscription, *, is_whole: bool) -> dict[str, Any]:
    """One subscription; with its periods and what happened to it where it is asked for by its number."""
    latest = latest_period(row.pk)
    at = row.started_at if latest is None else latest.ends_at
    plan, *add_ons = items_of(row, at=at)
    body = {
        "id": row.pk,
        "customer_key": row.customer.customer_key,
        "status": row.status,
        "plan": {"plan": plan.version.plan.code, "version": plan.version.version, "seats": plan.seats},
        "add_ons": [
            {"plan": one.version.plan.code, "version": one.version.version, "seats": one.seats} for one in add_ons
        ],
        "collection_method": row.collection_method,
        "days_until_due": row.days_until_due,
        "started_at": instant_text(row.started_at),
        "trial_ends_at": _instant(row.trial_ends_at),
        "paused_from": _instant(row.paused_from),
        "cancel_at": _instant(row.cancel_at),
        "ended_at": _instant(row.ended_at),
        "held_reason": row.held_reason,
        "stripe_subscription_id": row.stripe_subscription_id,
        "scheduled": [scheduled_body(one) for one in scheduling.waiting_for(row)],
    }
    if not is_whole:
        return body
    periods = BillingPeriod.objects.filter(subscription=row).select_related("plan_version__plan")
    return body | {
        "periods": [
            {
                "id": one.pk,
                "starts_at": instant_text(one.starts_at),
                "ends_at": instant_text(one.ends_at),
                "kind": one.kind,
                "state": one.state,
                "terms": str(one.plan_version),
                "seats": one.seats,
            }
            for one in periods.order_by("-starts_at")[:PERIODS_SHOWN]
        ],
        "events": [
            {
                "kind": one.kind,
                "before": one.before,
                "after": one.after,
                "effective_at": instant_text(one.effective_at),
                "recorded_at": instant_text(one.recorded_at),
                "actor": one.actor,
                "reason": one.reason,
            }
            for one in row.events.order_by("-pk")[:EVENTS_SHOWN]
        ],
    }


def preview_body(preview: ChangePreview) -> dict[str, Any]:
    rows = comparing.rows_of(preview)
    return {
        "id": preview.pk,
        "effective_at": instant_text(preview.effective_at),
        "currency": preview.currency,
        "lines": [
            {
                "description": row.description,
                "is_proration": row.is_proration,
                "ours_minor": row.ours or 0,
                "stripe_minor": row.stripe or 0,
                "agrees": row.agrees,
            }
            for row in rows
        ],
        "differences": comparing.differences(rows, preview.currency),
    }


def end_preview_body(end: EndPreview) -> dict[str, Any]:
    """What an end comes to; amounts of usage are exact, those of invoices in minor units."""
    outcome = getattr(end, "outcome", None)
    return preview_body(end.preview) | {
        "how": end.how,
        "ends_at": instant_text(end.ends_at),
        "prorate": end.prorate,
        "usage": {
            "rated": f"{end.rated.normalize():f}",
            "included": f"{end.included.normalize():f}",
            "credited": f"{end.credited.normalize():f}",
            "invoiced": f"{end.invoiced.normalize():f}",
            "unbilled": f"{end.unbilled.normalize():f}",
            "closing_invoice_minor": end.usage_minor,
        },
        "consequences": [{"what": what, "becomes": becomes} for what, becomes in end.consequences],
        "outdated": list(outdated(end).values()),
        "outcome": None
        if outcome is None
        else {
            "ended_at": instant_text(outcome.ended_at),
            "fee_minor": outcome.fee_minor,
            "fee_invoiced_minor": outcome.fee_invoiced_minor,
            "usage_invoiced_minor": outcome.usage_invoiced_minor,
            "stripe_invoice_id": outcome.stripe_invoice_id,
            "differences": outcome.differences,
        },
    }


def paid_again_body(paid: PaidAgain) -> dict[str, Any]:
    return {
        "currency": paid.currency,
        "fee_minor": paid.fee_minor,
        "from_balance_minor": paid.from_balance_minor,
        "unused_minor": paid.unused_minor,
        "unused_until": _instant(paid.unused_until),
    }


def phases_body(row: Subscription, *, now: datetime) -> dict[str, Any]:
    """Past, present and future as one list of half-open phases; the last may have no end."""
    return {
        "subscription": row.pk,
        "phases": [
            {
                "starts_at": instant_text(one.starts_at),
                "ends_at": _instant(one.ends_at),
                "kind": one.kind,
                "when": one.when,
                "terms": one.terms,
                "seats": one.seats,
                "expected_fee_minor": one.fee_minor,
                "currency": one.currency,
            }
            for one in phases_of(row, now=now)
        ],
    }


def scheduled_body(row: ScheduledChange) -> dict[str, Any]:
    version = row.plan_version
    return {
        "id": row.pk,
        "kind": row.kind,
        "effective_at": instant_text(row.effective_at),
        "state": row.state,
        "plan": None if version is None else version.plan.code,
        "version": None if version is None else version.version,
        "seats": row.seats,
        "reason": row.reason,
        "requested_by": row.requested_by,
        "detail": row.detail,
    }


def _instant(at: datetime | None) -> str | None:
    return None if at is None else instant_text(at)
