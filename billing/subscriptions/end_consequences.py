"""What becomes of everything a subscription has when it ends, in words. Reads only."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing.invoicing.models import Invoice
from billing.money_text import exact_text, minor_text
from billing.payments.queries import customer_balance_minor
from billing.subscriptions.change_models import EndPreview, ScheduledChange
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.scheduling import waiting_for
from billing.teams.seat_floor import seats_in_use
from promotions import queries as promotion_queries

PAID = "paid"


@dataclass(frozen=True, slots=True)
class CreditLeft:
    """A grant with something left, in currency units."""

    terms_name: str
    kind: str
    available: Decimal
    expires_at: datetime | None


def credit_left(subscription: Subscription) -> list[CreditLeft]:
    """The customer's grants, in the subscription's currency, of which something is left."""
    currency = subscription.plan_version.currency
    grants = promotion_queries.grants_of(subscription.customer.customer_key, currency=currency)
    left = [one for one in grants if one.available > 0]
    terms = promotion_queries.grants_by_id(one.grant_id for one in left)
    return [CreditLeft(terms[one.grant_id].name, one.kind, one.available, one.expires_at) for one in left]


def all_of(
    subscription: Subscription, *, latest: BillingPeriod, ends_at: datetime, how: str, now: datetime
) -> list[tuple[str, str]]:
    """What, and what becomes of it; in the order in which somebody asks."""
    currency = subscription.plan_version.currency
    found = [("Access", f"What the plan and its add-ons allow ends {_text(ends_at)}.")]
    if how == EndPreview.How.NOW:
        found.append(("Taking it back", "Not possible: only a new subscription, which pays its fee again."))
    else:
        found.append(("Taking it back", f"Possible until {_text(ends_at)}."))
    if subscription.cancel_at is not None:
        found.append(("Planned end", f"It ends {_text(subscription.cancel_at)} already; this takes its place."))
    if latest.kind != BillingPeriod.Kind.REGULAR:
        found.append((latest.get_kind_display(), "All usage of it is included, and no fee was paid for it."))
    members = seats_in_use(subscription.pk)
    if members:
        found.append(("Members", f"{members} hold a seat until then; they stay in the team, and no seat is paid for."))
    found += _scheduled(subscription, ends_at=ends_at)
    for grant in credit_left(subscription):
        found.append(("Credit", f"“{grant.terms_name}”: {_credit(grant, currency)}"))
    balance = customer_balance_minor(subscription.customer_id)
    if balance:
        what = "pays the closing invoice, then the next ones" if balance < 0 else "is asked for by the next invoice"
        found.append(("Customer balance", f"{minor_text(abs(balance), currency)} {what}."))
    unpaid = Invoice.objects.filter(subscription=subscription, status=Invoice.Status.OPEN)
    due = sum(unpaid.values_list("amount_remaining_minor", flat=True))
    if due:
        found.append(("Open invoices", f"{minor_text(due, currency)} stays due."))
    return found


def _scheduled(subscription: Subscription, *, ends_at: datetime) -> Iterator[tuple[str, str]]:
    from billing.subscriptions.timeline import scheduled_text  # noqa: PLC0415  (pages, which read all rooms)

    for row in waiting_for(subscription):
        is_before = row.effective_at < ends_at
        becomes = "comes before the end, and is carried out" if is_before else "is cancelled when it ends"
        what = "Scheduled change" if row.kind == ScheduledChange.Kind.TERMS else "Scheduled end of the pause"
        yield what, f"{scheduled_text(row)}: {becomes}."


def _credit(grant: CreditLeft, currency: str) -> str:
    amount = exact_text(grant.available, currency)
    until = "has no end" if grant.expires_at is None else f"expires {_text(grant.expires_at)}"
    paid = "; it was paid for, and can be given back by a credit note" if grant.kind == PAID else ""
    return f"{amount} left. It pays usage until the end; what then remains stays for later and {until}{paid}."


def _text(at: datetime) -> str:
    return f"{at:%d %b %Y %H:%M:%S} UTC"
