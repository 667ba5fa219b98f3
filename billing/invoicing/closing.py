"""
The close of a period on Stripe's draft (DESIGN §9), in steps that are each a commit of their own.

A step's work with Stripe happens before its commit and is idempotent: writes go through the outbox under a purpose
named after the close, reads change nothing. So a crash between any two statements is mended by doing the step again,
and two workers at once do no harm: the step moves on by a conditional update, which one of them loses.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F

from billing.invoicing.deleting import NOT_FOUND, is_deleted, record_deleted_draft
from billing.invoicing.drafting import write_lines
from billing.invoicing.gate import unusual
from billing.invoicing.holding import NOT_FINALIZED, CloseHeld, Finding, has_passed, held, require_passed
from billing.invoicing.metered import closing as metered_usage
from billing.invoicing.models import Invoice, InvoiceClose, InvoiceCloseStep, InvoiceLine
from billing.invoicing.proofs.operations import ProofFailed, prove_invoice
from billing.invoicing.rounding import from_minor
from billing.invoicing.stripe_lines import line_key
from billing.invoicing.verification import ExpectedFee, differences
from billing.money_text import counted
from billing.rating.rating import RatingError
from billing.stripe import gateway, outbox, readers
from billing.stripe.errors import OutboxConflict, OutboxRefusal, StripeRefused, StripeUnavailable
from billing.stripe.models import OutboxIntent
from billing.stripe.readers import price_of_line
from billing.stripe.redriving import redrive
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
# Stripe counts meter events within minutes; asking costs a request for each price.
WAIT_FOR_METERS = timedelta(seconds=30)
WAIT_FIRST = timedelta(seconds=2)
WAIT_MAX = timedelta(minutes=15)
# Stripe takes so many elements of an array in one call, and no more items on an invoice until its support raises that
# for the account (OpenAPI document, POST /v1/invoiceitems; https://github.com/ParabolInc/parabol/issues/6826).
LINES_PER_CALL_MAX = 250
LATE_USAGE = "late_usage"
LAST_BEFORE_FINALIZED = Step.PROVED
FINALIZED_ELSEWHERE = (
    "The invoice is {status} at Stripe: somebody else finalised it. What is not on it is not billed by it."
)


class CloseWaits(Exception):
    """The step cannot be done yet; its text says what it waits for, and `wait` when it is tried again."""

    def __init__(self, reason: str, *, wait: timedelta = WAIT_FOR_USAGE) -> None:
        super().__init__(reason)
        self.wait = wait


def advance_close(*, close_id: int, now: datetime) -> str:
    """
    Do the next step of a close, if it is due and not held, and return the last finished step.

    A step that cannot be done now is put off; one that must not be done holds the close, visibly.
    """
    due = InvoiceClose.objects.filter(pk=close_id, held_reason="", next_attempt_at__lte=now)
    taken = due.exclude(step__in=InvoiceClose.ENDS).update(next_attempt_at=now + LEASE, attempts=F("attempts") + 1)
    close = InvoiceClose.objects.select_related(
        "invoice__customer", "invoice__order", "period__subscription__customer", "period__plan_version"
    ).get(pk=close_id)
    if not taken:
        return close.step
    is_ours = close.invoice.status == Invoice.Status.DRAFT
    try:
        if not is_ours and close.step != LAST_BEFORE_FINALIZED:
            raise CloseHeld(FINALIZED_ELSEWHERE.format(status=close.invoice.status))
        return _STEPS[Step(close.step)](close, now)
    except CloseHeld as why:
        _note(close, error="", **held(str(why), why.findings, now=now))
    except (StripeRefused, OutboxConflict) as refused:
        if getattr(refused, "status", 0) == NOT_FOUND and is_deleted(close.invoice.stripe_invoice_id):
            record_deleted_draft(stripe_invoice_id=close.invoice.stripe_invoice_id, now=now)
            return Step.ENDED
        _note(close, error=str(refused), **held(f"Stripe refused: {refused}", now=now))
    except CloseWaits as waits:
        _note(close, error=str(waits), next_attempt_at=now + waits.wait)
    except (StripeUnavailable, RatingError, SubscriptionError, LedgerError) as failure:
        asked = failure.retry_after if isinstance(failure, StripeUnavailable) else None
        wait = max(min(WAIT_FIRST * 2 ** min(close.attempts - 1, 20), WAIT_MAX), asked or timedelta(0))
        _note(close, error=f"{type(failure).__name__}: {failure}", next_attempt_at=now + wait)
    except IntegrityError as refused:
        if not metered_usage.hold_refused(close_id=close_id, refused=refused, now=now):
            raise
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
    _require_counted(close, period, now=now)
    stripe_lines = _require_draft(close, now=now)
    carried = metered_usage.carried_by(period, stripe_lines) if _is_of_cycle(close) else {}
    with transaction.atomic():
        # One worker at a time: accruing and writing the lines must see the same usage.
        if not InvoiceClose.objects.select_for_update().filter(pk=close.pk, step=close.step).exists():
            return InvoiceClose.objects.get(pk=close.pk).step
        written = write_lines(invoice=close.invoice, period=period, metered=carried, now=now)
        return _finish_step(close, Step.ACCRUED, now=now, detail=counted(len(written), "line"))


def _require_counted(close: InvoiceClose, period: BillingPeriod, *, now: datetime) -> None:
    """
    Wait until every event of the period is in its window, but not for ever: after the longest wait a person is told
    what is late, and may let the close go on without it. What then comes is late usage.
    """
    complete_from, through = period.ends_at + CLOSE_GRACE, aggregated_through()
    if through >= complete_from or has_passed(close, LATE_USAGE):
        return
    started = close.steps.filter(step=Step.STARTED).values_list("recorded_at", flat=True).first() or now
    if hasattr(close.invoice, "order"):
        started = close.invoice.order.ordered_at  # it waited before there was a draft
    waited = now - max(started, complete_from)
    if waited > timedelta(seconds=settings.BILLING_CLOSE_WAIT_MAX_SECONDS):
        words = (
            f"usage is counted only through {through:%F %T} UTC; the period needs it through {complete_from:%F %T}, "
            f"{complete_from - through} more. Waited since {max(started, complete_from):%F %T}"
        )
        figures = {"counted through": f"{through:%F %T}", "needed through": f"{complete_from:%F %T}"}
        raise CloseHeld(words, [Finding(LATE_USAGE, words, figures)])
    raise CloseWaits(f"usage received before {complete_from:%F %T} is not aggregated yet")


def _require_draft(close: InvoiceClose, *, now: datetime) -> list[gateway.StripeDict]:
    """
    Ask Stripe, before lines are written, whether the draft is still one and in our hands; return its lines.

    A close may be taken up again hours later, after somebody finalised the draft or turned Stripe's own finalisation
    on again; lines written for it then would never be charged. Raises CloseHeld.
    """
    invoice_id = close.invoice.stripe_invoice_id
    fetched = gateway.retrieve(f"/v1/invoices/{invoice_id}")
    if fetched["status"] == "draft" and fetched["auto_advance"]:
        fetched = outbox.perform(
            purpose=f"close:{close.pk}:take_over:{close.releases.count()}",
            operation="invoices.update",
            target=invoice_id,
            params={"auto_advance": False},
            now=now,
        )
    if fetched["status"] != "draft":
        raise CloseHeld(FINALIZED_ELSEWHERE.format(status=fetched["status"]))
    return readers.all_lines(fetched)


def _push(close: InvoiceClose, now: datetime) -> str:
    """ACCRUED → ITEMS_PUSHED: our lines onto the draft, in calls that are each made once; the others to the meters."""
    ours = close.invoice.lines.exclude(kind=InvoiceLine.Kind.FEE)
    lines = list(ours.filter(metered_price=None).select_related("period").order_by("position"))
    for start in range(0, len(lines), LINES_PER_CALL_MAX):
        chunk = lines[start : start + LINES_PER_CALL_MAX]
        outbox.perform(
            purpose=f"close:{close.pk}:lines:{chunk[0].position}",
            operation="invoices.add_lines",
            target=close.invoice.stripe_invoice_id,
            params={"lines": [_line_params(line) for line in chunk]},
            now=now,
        )
    sent = metered_usage.send_last(close, now=now)
    detail = counted(len(lines), "line") + (f", {counted(sent, 'meter event')}" if sent else "")
    with transaction.atomic():
        return _finish_step(close, Step.ITEMS_PUSHED, now=now, detail=detail)


def _line_params(line: InvoiceLine) -> dict[str, object]:
    period = line.period
    params: dict[str, object] = {
        "amount": line.amount_minor,
        "description": line.description,
        "discountable": False,
        "metadata": {"line": str(line.pk)},
    }
    if period is not None:
        params["period"] = {"start": second_of(period.starts_at), "end": second_of(period.ends_at)}
    if line.is_exempt:
        params["tax_rates"] = ""  # Stripe's way to say: none, also not those of the invoice
    return params


def _verify(close: InvoiceClose, now: datetime) -> str:
    """
    ITEMS_PUSHED → VERIFIED: every line is there once, at our amount, and nothing else but the expected fee.

    An invoice of our making carries no fee of the next period. A draft may show usage of meters as it was when it was
    made: that it is as we wrote it, Stripe's summaries say.
    """
    metered_usage.send_last(close, now=now)  # what a report said meanwhile does not count is sent again
    behind = metered_usage.require_counted_at_stripe(close, now=now)
    if behind is not None:
        raise CloseWaits(behind.words, wait=WAIT_FOR_METERS)
    fetched, stripe_lines = readers.invoice_with_lines(close.invoice.stripe_invoice_id)
    written = close.invoice.lines.exclude(kind=InvoiceLine.Kind.FEE).select_related("metered_price")
    rows = {str(line.pk): line for line in written}
    metered = metered_usage.expected_lines(rows, stripe_lines)
    following = _following(_period(close)) if _is_of_cycle(close) else None
    found = differences(
        invoice=fetched,
        stripe_lines=stripe_lines,
        ours={key: row.amount_minor for key, row in rows.items() if row.metered_price_id is None},
        metered=metered,
        fees=_expected_fees(following) if following else [],
        currency=close.invoice.currency,
    )
    found += _seats_not_allowed(following) if following else []
    if found:
        raise CloseHeld("; ".join(found))
    of_meters = {row.metered_price.stripe_price_id: row for row in rows.values() if row.metered_price is not None}
    shown = 0
    for line in stripe_lines:
        row = rows[line_key(line)] if line_key(line) else of_meters.get(price_of_line(line))
        shown += int(line["amount"]) if price_of_line(line) in metered else 0
        if row is not None:
            row.stripe_line_id = line["id"]
    # The gate looks at this total, and it is what we let out: what meters bring is shown when it is final.
    total = fetched["total"] - shown + sum(metered.values())
    with transaction.atomic():
        Invoice.objects.filter(pk=close.invoice_id, status=Invoice.Status.DRAFT).update(total_minor=total)
        InvoiceLine.objects.bulk_update(rows.values(), ["stripe_line_id"])
        detail = _total_text({"total": total}, close.invoice)
        return _finish_step(close, Step.VERIFIED, now=now, detail=detail)


def _expected_fees(following: BillingPeriod) -> list[ExpectedFee]:
    """The fees, in advance, of the period that follows, by the terms that are frozen in it."""
    return [
        ExpectedFee(price_id=fee.version.stripe_price_id or "", amount_minor=fee.amount_minor)
        for fee in billed_fees(following)
    ]


def _seats_not_allowed(following: BillingPeriod) -> list[str]:
    """Somebody may have changed the seats at Stripe, where nothing holds them to the terms."""
    outside = seats_outside(following.plan_version, following.seats)
    return [outside] if outside else []


def _following(period: BillingPeriod) -> BillingPeriod:
    return BillingPeriod.objects.select_related("plan_version__plan", "subscription__plan_version").get(
        subscription_id=period.subscription_id, starts_at=period.ends_at
    )


def _prove(close: InvoiceClose, now: datetime) -> str:
    """VERIFIED → PROVED: our lines derived anew from their windows, by code of its own, and what they rest on kept."""
    # Not in one transaction with the step: there may be much to read, and the proof is made once.
    try:
        proof = prove_invoice(invoice=close.invoice, now=now)
    except ProofFailed as failed:
        raise CloseHeld(str(failed)) from failed
    with transaction.atomic():
        return _finish_step(close, Step.PROVED, now=now, detail=f"{counted(proof.line_count, 'line')}, {proof.sha256}")


def _finalize(close: InvoiceClose, now: datetime) -> str:
    """
    To FINALIZED, behind the gate: Stripe numbers the invoice and, from now on by itself, collects it.

    What is unusual holds the invoice until a person lets it pass. Had somebody finalised the draft at Stripe
    meanwhile, just as it was compared, nothing is left to do.
    """
    invoice, invoice_id = close.invoice, close.invoice.stripe_invoice_id
    if invoice.status == Invoice.Status.DRAFT:
        require_passed(close, unusual(close, total_minor=invoice.total_minor))
    try:
        _finalize_at_stripe(close, now)
        by_whom = ""
    except StripeRefused as refused:
        fetched = gateway.retrieve(f"/v1/invoices/{invoice_id}")
        if fetched["status"] == "draft":
            raise CloseHeld(f"{NOT_FINALIZED} ({refused}). Mend that there, then let it go on") from refused
        if fetched["status"] == "void" or _total_text(fetched, invoice) != _verified_text(close):
            raise
        by_whom = "finalised at Stripe by somebody else, as it was compared"
    with transaction.atomic():
        return _finish_step(close, Step.FINALIZED, now=now, detail=by_whom)


def _finalize_at_stripe(close: InvoiceClose, now: datetime) -> None:
    """What Stripe refused before is asked for under a new key: somebody let it go on, or the customer changed since."""
    purpose = f"close:{close.pk}:finalize"
    refused = OutboxIntent.objects.filter(purpose=purpose, state=OutboxIntent.State.REFUSED).first()
    if refused is None:
        outbox.perform(
            purpose=purpose,
            operation="invoices.finalize",
            target=close.invoice.stripe_invoice_id,
            params={"auto_advance": True},
            now=now,
        )
        return
    release = close.releases.filter(released_at__gte=refused.finished_at).order_by("-pk").first()
    actor, reason = ("task:close", "The customer changed") if release is None else (release.released_by, release.words)
    try:
        redrive(intent_id=refused.pk, actor=actor, reason=reason, now=now)
    except OutboxRefusal as busy:
        raise CloseWaits(str(busy)) from busy


def _total_text(fetched: gateway.StripeDict, invoice: Invoice) -> str:
    return f"total {from_minor(fetched['total'], invoice.currency):f} {invoice.currency}"


def _verified_text(close: InvoiceClose) -> str:
    """The total that was compared, as it was written down then: the row may have been brought up to date since."""
    return close.steps.get(step=Step.VERIFIED).detail


def _is_of_cycle(close: InvoiceClose) -> bool:
    """Whether Stripe made the draft for the next period, rather than we for an order or for late usage."""
    return close.period is not None and not hasattr(close.invoice, "order")


def _period(close: InvoiceClose) -> BillingPeriod:
    if close.period is None:
        raise CloseHeld("the close names no period")
    return close.period


_STEPS: dict[Step, Callable[[InvoiceClose, datetime], str]] = {
    Step.STARTED: _accrue,
    Step.ACCRUED: _push,
    Step.ITEMS_PUSHED: _verify,
    Step.VERIFIED: _prove,
    Step.PROVED: _finalize,
}
