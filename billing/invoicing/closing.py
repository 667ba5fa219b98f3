"""
The close of a period on Stripe's draft (DESIGN §9), in steps that are each a commit of their own.

A step's work with Stripe happens before its commit and is idempotent: writes go through the outbox under a purpose
named after the close, reads change nothing. So a crash between any two statements is mended by doing the step again,
and two workers at once do no harm: the step moves on by a conditional update, which one of them loses.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F

from billing.invoicing.drafting import write_lines
from billing.invoicing.models import InvoiceClose, InvoiceCloseStep, InvoiceLine
from billing.invoicing.operations import HELD_CHARS_MAX
from billing.invoicing.rounding import from_minor
from billing.invoicing.stripe_lines import line_key
from billing.invoicing.verification import ExpectedFee, differences
from billing.rating.rating import RatingError
from billing.stripe import outbox, readers
from billing.stripe.errors import OutboxConflict, StripeRefused, StripeUnavailable
from billing.stripe.seconds import second_of
from billing.subscriptions.at_stripe import billed_fees
from billing.subscriptions.models import BillingPeriod
from billing.subscriptions.offers import seats_outside
from billing.subscriptions.operations import SubscriptionError
from ledger.operations import LedgerError
from metering.queries import aggregated_through

Step = InvoiceClose.Step
# How long after the end of a period its usage may still arrive and count as in time.
CLOSE_GRACE = timedelta(seconds=settings.BILLING_CLOSE_GRACE_SECONDS)
# A worker that died in a step is replaced after this long.
LEASE = timedelta(seconds=settings.BILLING_LEASE_SECONDS)
WAIT_FOR_USAGE = timedelta(seconds=3)
WAIT_FIRST = timedelta(seconds=2)
WAIT_MAX = timedelta(minutes=15)
# Stripe's document gives no limit for one call; a request of this size stays far below its body limit.
LINES_PER_CALL_MAX = 100


class CloseWaits(Exception):
    """The step cannot be done yet; its text says what it waits for."""


class CloseHeld(Exception):
    """The step must not be done before a person has looked; its text says why."""


def advance_close(*, close_id: int, now: datetime) -> str:
    """
    Do the next step of a close, if it is due and not held, and return the last finished step.

    A step that cannot be done now is put off; one that must not be done holds the close, visibly.
    """
    due = InvoiceClose.objects.filter(pk=close_id, held_reason="", next_attempt_at__lte=now)
    taken = due.exclude(step=Step.FINALIZED).update(next_attempt_at=now + LEASE, attempts=F("attempts") + 1)
    close = InvoiceClose.objects.select_related(
        "invoice__customer", "period__subscription__customer", "period__plan_version"
    ).get(pk=close_id)
    if not taken:
        return close.step
    try:
        return _STEPS[Step(close.step)](close, now)
    except CloseHeld as held:
        _note(close, held_reason=str(held)[:HELD_CHARS_MAX], error="")
    except (StripeRefused, OutboxConflict) as refused:
        _note(close, held_reason=f"Stripe refused: {refused}"[:HELD_CHARS_MAX], error=str(refused))
    except CloseWaits as waits:
        _note(close, error=str(waits), next_attempt_at=now + WAIT_FOR_USAGE)
    except (StripeUnavailable, RatingError, SubscriptionError, LedgerError) as failure:
        wait = min(WAIT_FIRST * 2 ** min(close.attempts - 1, 20), WAIT_MAX)
        _note(close, error=f"{type(failure).__name__}: {failure}", next_attempt_at=now + wait)
    return close.step


def _note(close: InvoiceClose, **changes: object) -> None:
    InvoiceClose.objects.filter(pk=close.pk, step=close.step).update(**changes)


def _finish_step(close: InvoiceClose, step: Step, *, now: datetime, detail: str = "") -> str:
    """Record a finished step, inside the transaction of its effects. The other of two workers changes nothing."""
    moved = InvoiceClose.objects.filter(pk=close.pk, step=close.step)
    if moved.update(step=step, next_attempt_at=now, attempts=0, error=""):
        InvoiceCloseStep.objects.create(close=close, step=step, recorded_at=now, detail=detail[:500])
    return step


def _accrue(close: InvoiceClose, now: datetime) -> str:
    """STARTED → ACCRUED: once every event of the period is in its window, rate it, write our lines, close it."""
    period = _period(close)
    complete_from = period.ends_at + CLOSE_GRACE
    if aggregated_through() < complete_from:
        raise CloseWaits(f"usage received before {complete_from:%F %T} is not aggregated yet")
    with transaction.atomic():
        # One worker at a time: accruing and writing the lines must see the same usage.
        if not InvoiceClose.objects.select_for_update().filter(pk=close.pk, step=close.step).exists():
            return InvoiceClose.objects.get(pk=close.pk).step
        written = write_lines(invoice=close.invoice, period=period, now=now)
        return _finish_step(close, Step.ACCRUED, now=now, detail=f"{len(written)} lines")


def _push(close: InvoiceClose, now: datetime) -> str:
    """ACCRUED → ITEMS_PUSHED: our lines onto the draft, in calls that are each made once."""
    lines = list(close.invoice.lines.exclude(kind=InvoiceLine.Kind.FEE).select_related("period").order_by("position"))
    for start in range(0, len(lines), LINES_PER_CALL_MAX):
        chunk = lines[start : start + LINES_PER_CALL_MAX]
        outbox.perform(
            purpose=f"close:{close.pk}:lines:{chunk[0].position}",
            operation="invoices.add_lines",
            target=close.invoice.stripe_invoice_id,
            params={"lines": [_line_params(line) for line in chunk]},
            now=now,
        )
    with transaction.atomic():
        return _finish_step(close, Step.ITEMS_PUSHED, now=now, detail=f"{len(lines)} lines")


def _line_params(line: InvoiceLine) -> dict[str, object]:
    period = line.period
    assert period is not None  # every line of ours names the period whose usage it is
    return {
        "amount": line.amount_minor,
        "description": line.description,
        "discountable": False,
        "metadata": {"line": str(line.pk)},
        "period": {"start": second_of(period.starts_at), "end": second_of(period.ends_at)},
    }


def _verify(close: InvoiceClose, now: datetime) -> str:
    """
    ITEMS_PUSHED → VERIFIED: every line is there once, at our amount, and nothing else but the expected fee.

    An invoice of its own for late usage ends no period, and carries no fee.
    """
    fetched, stripe_lines = readers.invoice_with_lines(close.invoice.stripe_invoice_id)
    rows = {str(line.pk): line for line in close.invoice.lines.exclude(kind=InvoiceLine.Kind.FEE)}
    found = differences(
        invoice=fetched,
        stripe_lines=stripe_lines,
        ours={key: row.amount_minor for key, row in rows.items()},
        fees=_expected_fees(close.period) if close.period is not None else [],
        currency=close.invoice.currency,
    )
    if close.period is not None:
        found += _seats_not_allowed(close.period)
    if found:
        raise CloseHeld("; ".join(found))
    for line in stripe_lines:
        if line_key(line):
            rows[line_key(line)].stripe_line_id = line["id"]
    total = from_minor(fetched["total"], close.invoice.currency)
    with transaction.atomic():
        InvoiceLine.objects.bulk_update(rows.values(), ["stripe_line_id"])
        return _finish_step(close, Step.VERIFIED, now=now, detail=f"total {total:f} {close.invoice.currency}")


def _expected_fees(period: BillingPeriod) -> list[ExpectedFee]:
    """The fees, in advance, of the period that follows, by the terms that are frozen in it."""
    following = _following(period)
    return [
        ExpectedFee(price_id=fee.version.stripe_price_id or "", amount_minor=fee.amount_minor)
        for fee in billed_fees(following)
    ]


def _seats_not_allowed(period: BillingPeriod) -> list[str]:
    """Somebody may have changed the seats at Stripe, where nothing holds them to the terms."""
    following = _following(period)
    outside = seats_outside(following.plan_version, following.seats)
    return [outside] if outside else []


def _following(period: BillingPeriod) -> BillingPeriod:
    return BillingPeriod.objects.select_related("plan_version__plan", "subscription__plan_version").get(
        subscription_id=period.subscription_id, starts_at=period.ends_at
    )


def _finalize(close: InvoiceClose, now: datetime) -> str:
    """VERIFIED → FINALIZED: Stripe numbers the invoice and, from now on by itself, collects it."""
    outbox.perform(
        purpose=f"close:{close.pk}:finalize",
        operation="invoices.finalize",
        target=close.invoice.stripe_invoice_id,
        params={"auto_advance": True},
        now=now,
    )
    with transaction.atomic():
        return _finish_step(close, Step.FINALIZED, now=now)


def _period(close: InvoiceClose) -> BillingPeriod:
    if close.period is None:
        raise CloseHeld("the close names no period")
    return close.period


_STEPS: dict[Step, Callable[[InvoiceClose, datetime], str]] = {
    Step.STARTED: _accrue,
    Step.ACCRUED: _push,
    Step.ITEMS_PUSHED: _verify,
    Step.VERIFIED: _finalize,
}
