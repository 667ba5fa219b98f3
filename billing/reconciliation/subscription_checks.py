"""What changes of subscriptions were said to cost, by us and by Stripe, against what was invoiced for them."""

from datetime import timedelta

from django.db.models import QuerySet

from billing.reconciliation.comparison import Findings, Pair, Scope
from billing.subscriptions.change_models import ChangePreview, EndOutcome, SubscriptionEvent
from billing.subscriptions.comparing import Row, rows_of

# Prorations wait for the renewal, a month away at most where fees are monthly.
INVOICED_WITHIN = timedelta(days=40)


def _made(scope: Scope) -> QuerySet[ChangePreview]:
    return ChangePreview.objects.filter(
        effective_at__gte=scope.range_start,
        effective_at__lt=scope.range_end,
        requests__events__kind=SubscriptionEvent.Kind.TERMS,
    )


def changes_overdue(scope: Scope) -> Findings:
    """Every change that was made with a preview is invoiced in the end."""
    until = scope.range_end - INVOICED_WITHIN
    overdue = _made(scope).filter(outcome=None, from_next_period=False, effective_at__lt=until)
    yield Pair(
        "changes of subscriptions that no invoice has after 40 days", "there are", overdue.distinct().count(),
        "there may be", 0, "Stripe never invoiced their prorations: look at the subscription's pending items.",
    )  # fmt: skip


def changes_invoiced(scope: Scope) -> Findings:
    """Every change that was made with a preview: our amounts against Stripe's, and against those billed."""
    found = _made(scope).filter(
        subscription__customer_id__gte=scope.customers_from, subscription__customer_id__lt=scope.customers_until
    )
    found = found.select_related("subscription__customer", "outcome").prefetch_related("lines").distinct()
    for preview in found.order_by("pk"):
        for row in rows_of(preview):
            yield from _pairs(preview, row)
    ended = EndOutcome.objects.filter(ended_at__gte=scope.range_start, ended_at__lt=scope.range_end)
    ended = ended.filter(
        preview__preview__subscription__customer_id__gte=scope.customers_from,
        preview__preview__subscription__customer_id__lt=scope.customers_until,
    )
    for outcome in ended.select_related("preview__preview__subscription__customer").order_by("pk"):
        yield _fee_of_end(outcome)


def _fee_of_end(outcome: EndOutcome) -> Pair:
    subscription = outcome.preview.preview.subscription
    return Pair(
        f"{subscription}, end of {outcome.ended_at:%F %T}", "our proration", outcome.fee_minor, "invoiced",
        outcome.fee_invoiced_minor,
        "The end gave back another part of the fee than we reckon for its second: see the subscription's page.",
        subscription.customer.customer_key, outcome.stripe_invoice_id,
    )  # fmt: skip


def _pairs(preview: ChangePreview, row: Row) -> Findings:
    subject = f"{preview.subscription}, change of {preview.effective_at:%F %T}: {row.description}"
    customer_key = preview.subscription.customer.customer_key
    yield Pair(
        subject, "our proration", row.ours or 0, "Stripe's preview", row.stripe or 0,
        "Stripe bills a change otherwise than we reckon: look at what it billed of this period before.",
        customer_key,
    )  # fmt: skip
    if row.is_invoiced_known and row.is_proration:
        yield Pair(
            subject, "our proration", row.ours or 0, "invoiced", row.invoiced or 0,
            "What was invoiced is not what the page said before the change: see the subscription's page.",
            customer_key, preview.outcome.stripe_invoice_id,
        )  # fmt: skip
