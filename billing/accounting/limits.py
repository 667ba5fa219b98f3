"""
Up to how much one person may move alone, for each currency: a setting, because every company has its own.

One limit for all ways in which money is moved by hand: whoever splits a sum over several ways gains nothing.
"""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from django.apps import apps
from django.conf import settings
from django.db.models import Sum

from billing.customers.models import Customer
from billing.invoicing.rounding import from_minor

# Each table of requests: where its customer is, and its amount. By name, because the rooms above ask here. Batches of
# refunds are refund requests, and always take two.
_ENTRIES = "ManualEntry"
_REQUESTS = (
    ("InvoiceRequest", "customer"),
    ("RefundRequest", "customer"),
    ("WriteOffRequest", "case__customer"),
    ("DisputeAcceptance", "dispute__payment__customer"),
)


def limit_of(currency: str) -> Decimal | None:
    """
    What one person may move by hand for one customer on one day (UTC), in currency units.

    None: the currency has no limit, and so everything that is moved by hand needs a second person.
    """
    limits: dict[str, Decimal] = settings.MANUAL_ENTRY_LIMITS
    return limits.get(currency)


def moved_alone(*, actor: str, customer: Customer | None, currency: str, day: date) -> Decimal:
    """
    What one person moved without a second one, for one customer (or for none), on a day (UTC), in currency units.

    In every way: manual entries, invoices ordered, voided and credited, refunds, debts given up, disputes accepted.
    What a second person approved does not count: somebody looked at it. Call it under the customer's lock, so that
    two who ask at the same time in different ways see each other.
    """
    midnight = datetime.combine(day, time.min, tzinfo=UTC)
    theirs = {
        "requested_by": actor,
        "currency": currency,
        "requested_at__gte": midnight,
        "requested_at__lt": midnight + timedelta(days=1),
        "needs_second_person": False,
    }
    total = _sum(_ENTRIES, "amount", customer=customer, **theirs) or Decimal(0)
    if customer is not None:
        for table, owner in _REQUESTS:
            total += from_minor(int(_sum(table, "amount_minor", **{owner: customer}, **theirs) or 0), currency)
    return total


def _sum(table: str, amount: str, **which: object) -> Decimal | None:
    found = apps.get_model("billing", table)._default_manager.filter(**which)
    total: Decimal | None = found.aggregate(total=Sum(amount))["total"]
    return total
