"""
The account at Stripe against the books, after a takeover: every customer, subscription and invoice is here, and the
figures agree to the last minor unit. Each difference by name. Reads only, and keeps what it found.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain, islice

from billing.accounting.chart import system
from billing.customers.models import Customer
from billing.invoicing.models import Invoice
from billing.reconciliation.comparison import Pair, Scope, shown
from billing.reconciliation.minor_units import in_units
from billing.reconciliation.stripe_checks import ledger_stripe_customers
from billing.stripe import gateway
from billing.stripe.readers import id_of
from billing.subscriptions.at_stripe import items_of, quantities
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.queries import latest_period
from billing.takeover.cut import left_out
from billing.takeover.deciding import NEAR
from billing.takeover.finding import ENDED, StripeDict
from billing.takeover.models import Takeover, TakeoverCheck
from billing.takeover.operations import TakeoverRefused, balance_at
from ledger import queries as ledger


def check_takeover(*, actor: str, now: datetime) -> TakeoverCheck:
    """Compare, and keep every difference. Raises TakeoverRefused before a takeover, and StripeUnavailable."""
    takeover = Takeover.objects.first()
    if takeover is None:
        raise TakeoverRefused("no account was taken over; say run first")
    compared, apart = 0, []
    with gateway.bulk_work():
        for pair in chain(_customers(takeover, now), _subscriptions(), _invoices(), _clearing(now)):
            compared += 1
            if not pair.agrees:
                apart.append(pair)
    differences = [
        {
            "subject": pair.subject,
            "at_stripe": f"{pair.left_name} {shown(pair.left)}",
            "here": f"{pair.right_name} {shown(pair.right)}",
            "explanation": pair.explanation,
        }
        for pair in apart
    ]
    return TakeoverCheck.objects.create(
        takeover=takeover,
        compared=compared,
        differences=differences,
        difference_count=len(differences),
        checked_at=now,
        actor=actor,
    )


def _customers(takeover: Takeover, now: datetime) -> Iterator[Pair]:
    """Every customer is here or was left out; receivables and balances are Stripe's."""
    for finding in ledger_stripe_customers(Scope(takeover.as_of, now)):
        if isinstance(finding, Pair):
            yield finding


def _subscriptions() -> Iterator[Pair]:
    """Every subscription that runs is here, with its terms, its status and its period's end."""
    rows = Subscription.objects.select_related("plan_version", "customer").exclude(stripe_subscription_id=None)
    running: set[str] = set()
    for page in _pages(one for one in gateway.listed("/v1/subscriptions") if one["status"] not in ENDED):
        absent = left_out(id_of(one["customer"]) for one in page)
        ids = [one["id"] for one in page]
        running.update(ids)
        known = {row.stripe_subscription_id: row for row in rows.filter(stripe_subscription_id__in=ids)}
        for theirs in page:
            if id_of(theirs["customer"]) in absent:
                continue
            row = known.get(theirs["id"])
            if row is None:
                yield Pair(
                    f"subscription {theirs['id']}", "at Stripe", theirs["status"], "here", None,
                    "It is not in the books: say run again.", stripe_id=theirs["id"],
                )  # fmt: skip
            else:
                yield from _subscription_pairs(theirs, row)
    for row in rows.iterator():
        gone = row.stripe_subscription_id or ""
        if gone not in running:
            yield Pair(
                f"subscription {gone}", "at Stripe", "ended",
                "here", "ended" if row.ended_at is not None else row.status,
                "It ended at Stripe and its event was not projected.", row.customer.customer_key, gone,
            )  # fmt: skip


def _subscription_pairs(theirs: StripeDict, row: Subscription) -> Iterator[Pair]:
    latest = latest_period(row.pk)
    assert latest is not None
    wanted = {item.version.stripe_price_id or "": item.seats for item in items_of(row, at=latest.ends_at)}
    for name, at_stripe, here in (
        ("items and seats", _items(quantities(theirs)), _items(wanted)),
        ("status", theirs["status"], row.status),
        ("period's end", *_ends(theirs, latest)),
    ):
        yield Pair(
            f"subscription {theirs['id']}: {name}", "at Stripe", at_stripe, "here", here,
            "It changed at Stripe and its event was not projected.", row.customer.customer_key, theirs["id"],
        )  # fmt: skip


def _items(held: dict[str, int]) -> str:
    return ", ".join(f"{seats} x {price}" for price, seats in sorted(held.items()))


def _ends(theirs: StripeDict, latest: BillingPeriod) -> tuple[str, str]:
    """Both ends in words; ours as Stripe's where it is as near as a renewal takes for the same."""
    item = theirs["items"]["data"][0]
    end = datetime.fromtimestamp(item["current_period_end"], tz=latest.ends_at.tzinfo)
    said = f"{end:%F %T}"
    return said, said if abs(end - latest.ends_at) <= NEAR else f"{latest.ends_at:%F %T}"


def _invoices() -> Iterator[Pair]:
    """Every invoice is here, in Stripe's state, with what it still asks for."""
    for page in _pages(gateway.listed("/v1/invoices")):
        absent = left_out({id_of(one["customer"]) for one in page})
        ours = Invoice.objects.in_bulk([one["id"] for one in page], field_name="stripe_invoice_id")
        for theirs in page:
            if id_of(theirs["customer"]) in absent:
                continue
            row = ours.get(theirs["id"])
            said = _asked(theirs["status"], theirs["amount_remaining"], theirs["currency"].upper())
            here = None if row is None else _asked(row.status, row.amount_remaining_minor, row.currency)
            yield Pair(
                f"invoice {theirs['id']}", "at Stripe", said, "here", here,
                "It is not in the books, or it changed at Stripe and its event was not projected.",
                stripe_id=theirs["id"],
            )  # fmt: skip


def _pages(listed: Iterable[StripeDict]) -> Iterator[list[StripeDict]]:
    """As many as Stripe gives at once, so that neither they nor our rows of them fill the memory."""
    rest = iter(listed)
    while page := list(islice(rest, gateway.PAGE_SIZE_MAX)):
        yield page


def _asked(status: str, remaining_minor: int, currency: str) -> str:
    return f"{status}, {in_units(remaining_minor, currency):f} {currency} open"


def _clearing(now: datetime) -> Iterator[Pair]:
    """The account stripe:clearing is our balance at Stripe, in each currency."""
    at_stripe = balance_at(now)
    currencies = at_stripe.keys() | set(Customer.objects.order_by().values_list("currency", flat=True).distinct())
    for currency in sorted(currencies):
        yield Pair(
            f"account stripe:clearing:{currency}", "Stripe's balance", in_units(at_stripe.get(currency, 0), currency),
            "ledger", ledger.balance_of(system("stripe:clearing", currency)),
            "Movements of after the cut are not entered yet: let the poll of balance transactions run.",
        )  # fmt: skip
