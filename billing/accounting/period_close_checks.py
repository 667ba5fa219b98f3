"""
What is still to come for the time before an instant, for who closes the books there (ledger.period_checks).

None of it forbids the closing: what comes later takes effect in the open period, and says when it happened. What a
person dated does not move: it is refused then.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from django.db.models import Q

from billing.accounting import manual_entries
from billing.admin_links import list_url
from billing.invoicing.models import InvoiceClose
from billing.stripe.models import InboxEvent, OutboxIntent
from billing.subscriptions.models import BillingPeriod
from ledger.period_checks import Waiting


def open_billing_periods(instant: datetime) -> list[Waiting]:
    """Periods that ended, and whose usage is not on an invoice yet."""
    count = BillingPeriod.objects.filter(state=BillingPeriod.State.OPEN, ends_at__lte=instant).count()
    listed = {"state__exact": "open", "ends_at__lte": instant.isoformat()}
    words = ("billing period that ended is", "billing periods that ended are", "not closed")
    return _waiting(count, *words, "billingperiod", **listed)


def unfinished_closes(instant: datetime) -> list[Waiting]:
    """Invoices of that time which are not finalised: on their way, or held for a person."""
    found = InvoiceClose.objects.exclude(step__in=InvoiceClose.ENDS).filter(
        Q(period__ends_at__lte=instant) | Q(period=None, invoice__created_at__lt=instant)
    )
    held = found.exclude(held_reason="").count()
    return [
        *_waiting(held, "invoice is", "invoices are", "held for a person", "invoiceclose", held="yes"),
        *_waiting(found.count() - held, "invoice is", "invoices are", "not final", "invoiceclose"),
    ]


def unprocessed_events(instant: datetime) -> list[Waiting]:
    """What Stripe said of that time, and what is not entered."""
    found = InboxEvent.objects.exclude(state=InboxEvent.State.DONE).filter(stripe_created_at__lt=instant)
    words = ("event of Stripe's is", "events of Stripe's are", "not processed")
    return _waiting(found.count(), *words, "inboxevent", state__in="received,processing,failed,dead")


def unsent_intents(instant: datetime) -> list[Waiting]:
    """What we decided in that time and have not got an answer for."""
    found = OutboxIntent.objects.filter(state=OutboxIntent.State.INTENDED, created_at__lt=instant)
    words = ("call of Stripe is", "calls of Stripe are", "on the way")
    return _waiting(found.count(), *words, "outboxintent", state__exact="intended")


def waiting_manual_entries(instant: datetime) -> list[Waiting]:
    """Requests of people, dated before the instant: they do not move, and are refused once it is closed."""
    count = manual_entries.waiting().filter(effective_at__lt=instant).count()
    words = ("manual entry of that time is", "manual entries of that time are", "not decided")
    return _waiting(count, *words, "manualentry", state="waiting")


CHECKS: Mapping[str, Callable[[datetime], list[Waiting]]] = {
    "billing_periods": open_billing_periods,
    "invoice_closes": unfinished_closes,
    "inbox_events": unprocessed_events,
    "outbox_intents": unsent_intents,
    "manual_entries": waiting_manual_entries,
}


def _waiting(count: int, one: str, many: str, what: str, model: str, **listed: str) -> list[Waiting]:
    """The rows of a model of ours that wait, and the list narrowed to them."""
    if not count:
        return []
    text = f"{count:,} {one if count == 1 else many} {what}"
    return [Waiting(text, list_url(f"billing.{model}", **listed), f"billing.view_{model}")]
