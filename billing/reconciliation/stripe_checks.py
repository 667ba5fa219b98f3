"""Our records and the ledger against what Stripe itself lists: events, invoices line by line, balances, movements."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice

from billing.customers.models import Customer
from billing.invoicing.metered.closing import metered_prices_of
from billing.invoicing.models import Invoice
from billing.payments.models import BalanceTransaction
from billing.reconciliation.comparison import Findings, Pair, Scope
from billing.reconciliation.minor_units import in_units
from billing.reconciliation.queries import rows
from billing.stripe import gateway, readers
from billing.stripe.gateway import StripeDict
from billing.stripe.models import InboxEvent
from billing.stripe.projection import ENABLED_EVENTS
from billing.stripe.seconds import second_from
from billing.subscriptions.operations import ENDED_STATUSES
from billing.subscriptions.pending import bound_and_begun
from billing.takeover.cut import cut, left_out

# Looked up together on our side; one page of Stripe's lists.
PAGE = 100
# Fields of an event's object that name another object the event changes as well.
_CONCERNED = ("id", "customer", "invoice", "payment_intent", "charge", "balance_transaction")


def _created(scope: Scope) -> dict[str, int]:
    """Return the range as a filter of Stripe's lists, whose times have a resolution of one second."""
    return {"gte": second_from(scope.range_start), "lt": second_from(scope.range_end)}


def after_the_cut(scope: Scope) -> Scope:
    """The part of the range that is not in the opening of a takeover; what is found there is remembered in `scope`."""
    cut_at = cut()
    start = scope.range_start if cut_at is None else max(scope.range_start, cut_at + timedelta(seconds=1))
    return Scope(start, max(start, scope.range_end), scope.unheard)


def _pages(objects: Iterable[StripeDict]) -> Iterator[list[StripeDict]]:
    iterator = iter(objects)
    while page := list(islice(iterator, PAGE)):
        yield page


def events_inbox(scope: Scope) -> Findings:
    """Every event Stripe lists, of the types we take, reached the inbox and was projected."""
    scope = after_the_cut(scope)
    waiting = set()
    for page in _pages(gateway.listed_events(ENABLED_EVENTS, created=_created(scope))):
        known = {row.event_id: row for row in InboxEvent.objects.filter(event_id__in=[event["id"] for event in page])}
        for event in page:
            row = known.get(event["id"])
            if row is None or row.state != InboxEvent.State.DONE:
                _remember_unheard(scope, event)
                waiting.add(event["id"])
            yield _event_pair(event["id"], event["type"], event["data"]["object"].get("id", ""), row)
    unlisted = InboxEvent.objects.filter(
        stripe_created_at__gte=scope.range_start, stripe_created_at__lt=scope.range_end
    ).exclude(state=InboxEvent.State.DONE)
    for row in unlisted.exclude(event_id__in=waiting).order_by("stripe_created_at", "event_id"):
        yield _event_pair(row.event_id, row.type, row.object_id, row)


def _event_pair(event_id: str, event_type: str, object_id: str, row: InboxEvent | None) -> Pair:
    if row is None:
        explanation = "This webhook never arrived: poll Stripe's events, or send it again from Stripe's dashboard."
    else:
        explanation = f"It arrived and is not projected after {row.attempts} attempts: {row.error or 'still waiting'}"
    happened = f"{event_type} of {object_id}"
    heard = None if row is None else happened if row.state == InboxEvent.State.DONE else f"{row.state}, not done"
    return Pair(event_id, "at Stripe", happened, "projected", heard, explanation)


def _remember_unheard(scope: Scope, event: StripeDict) -> None:
    for field in _CONCERNED:
        concerned = event["data"]["object"].get(field)
        if isinstance(concerned, str):
            scope.unheard.setdefault(concerned, f"{event['id']} ({event['type']})")


def ledger_stripe_invoices(scope: Scope) -> Findings:
    """Every invoice Stripe made in the range against ours: status, amounts, and each line; and the other way round."""
    seen: set[str] = set()
    for page in _pages(gateway.listed("/v1/invoices", created=_created(scope))):
        seen.update(invoice["id"] for invoice in page)
        ours = Invoice.objects.filter(stripe_invoice_id__in=[invoice["id"] for invoice in page])
        known = {row.stripe_invoice_id: row for row in ours.select_related("customer").prefetch_related("lines")}
        absent = left_out({invoice["customer"] for invoice in page if invoice["id"] not in known})
        for invoice in (one for one in page if one["customer"] not in absent):
            yield from _invoice_pairs(invoice, known.get(invoice["id"]))
    made = Invoice.objects.filter(created_at__gte=scope.range_start, created_at__lt=scope.range_end)
    # A draft that was deleted there is void here, and was never finalised.
    made = made.exclude(status=Invoice.Status.VOID, finalized_at=None)
    for row in made.exclude(stripe_invoice_id__in=seen).select_related("customer").order_by("id"):
        yield Pair(
            f"invoice {row.stripe_invoice_id}", "at Stripe", None, "ours", row.status,
            "We hold an invoice Stripe does not list: a deleted draft, or another account's.",
            row.customer.customer_key, row.stripe_invoice_id,
        )  # fmt: skip


def _invoice_pairs(theirs: StripeDict, ours: Invoice | None) -> Findings:
    subject, invoice_id = f"invoice {theirs['id']}", theirs["id"]
    if ours is None:
        yield Pair(
            subject, "at Stripe", theirs["status"], "ours", None,
            "Stripe made an invoice we do not know: its webhook is missing, or its customer is not ours.",
            stripe_id=invoice_id,
        )  # fmt: skip
        return
    customer_key = ours.customer.customer_key
    figures = (
        ("status", theirs["status"], ours.status),
        ("total", theirs["total"], ours.total_minor),
        ("amount due", theirs["amount_due"], ours.amount_due_minor),
        ("amount paid", theirs["amount_paid"], ours.amount_paid_minor),
        ("amount remaining", theirs["amount_remaining"], ours.amount_remaining_minor),
        ("discount", _sum(theirs["total_discount_amounts"]), ours.discount_minor),
        ("tax", _sum(theirs["total_taxes"]), ours.tax_minor),
        ("credited before payment", theirs["pre_payment_credit_notes_amount"], ours.credited_before_payment_minor),
        ("credited after payment", theirs["post_payment_credit_notes_amount"], ours.credited_after_payment_minor),
    )
    for name, at_stripe, here in figures:
        yield Pair(
            f"{subject}: {name}", "at Stripe", at_stripe, "ours", here,
            "The invoice changed at Stripe after we last looked at it.", customer_key, invoice_id,
        )  # fmt: skip
    # Stripe's own lines are only written down when the invoice is finalised.
    if ours.status != Invoice.Status.DRAFT:
        yield from _line_pairs(theirs, ours, customer_key)


def customers_subscriptions(scope: Scope) -> Findings:
    """
    Every subscription that began at Stripe in the range for a customer of ours, and lives, is one of ours that goes on:
    another, such as a checkout's that was paid late, bills its fee beside ours month after month (field.md, E43).
    """
    scope = after_the_cut(scope)
    for page in _pages(gateway.listed("/v1/subscriptions", created=_created(scope))):
        payers = Customer.objects.filter(stripe_customer_id__in={one["customer"] for one in page})
        keys = dict(payers.values_list("stripe_customer_id", "customer_key"))
        own = bound_and_begun(page)
        for one in (one for one in page if one["customer"] in keys and one["status"] not in ENDED_STATUSES):
            here = one["status"] if one["id"] in own.bound else None
            yield Pair(
                f"subscription {one['id']}", "at Stripe", one["status"], "ours", here,
                _ANSWER_LOST if one["id"] in own.begun else _NONE_OF_OURS, keys[one["customer"]], one["id"],
            )  # fmt: skip


_NONE_OF_OURS = (
    "Stripe bills our customer by a subscription that is none of ours, of a checkout, a payment link or the dashboard,"
    " or that has ended here. No usage goes onto its invoices. Cancel it there, and refund what it charged."
)
_ANSWER_LOST = (
    "We asked Stripe for it, and neither its answer nor an event of it has come. Leave it there: poll Stripe's events,"
    " or look for its write in the outbox."
)


def _sum(entries: Iterable[StripeDict] | None) -> int:
    return sum(int(entry["amount"]) for entry in entries or ())


def _line_pairs(theirs: StripeDict, ours: Invoice, customer_key: str) -> Findings:
    lines = readers.all_lines(theirs)
    here = {line.stripe_line_id: line.amount_minor for line in ours.lines.all() if line.stripe_line_id}
    metered = metered_prices_of(lines)
    # A metered price that nothing was used of, or whose usage went as a line, has a line of nothing there.
    at_stripe = {
        line["id"]: line["amount"]
        for line in lines
        if line["amount"] or line["id"] in here or readers.price_of_line(line) not in metered
    }
    unpushed = [line for line in ours.lines.all() if not line.stripe_line_id]
    for line_id in sorted(at_stripe.keys() | here.keys()):
        yield Pair(
            f"invoice {theirs['id']}, line {line_id}: amount",
            "at Stripe", at_stripe.get(line_id), "ours", here.get(line_id),
            "The line was changed, added or removed at Stripe, not by us."
            if line_id in here else "Stripe has a line on this invoice that we did not write down.",
            customer_key, line_id,
        )  # fmt: skip
    for line in unpushed:
        yield Pair(
            f"invoice {theirs['id']}, our line {line.position}", "at Stripe", None, "ours", line.amount_minor,
            "The line was written here and never reached Stripe.", customer_key, theirs["id"],
        )  # fmt: skip
    yield Pair(
        f"invoice {theirs['id']}: sum of lines", "lines at Stripe", sum(_net(line) for line in lines),
        "total at Stripe", theirs["total"],
        "The invoice's lines, less discounts and with tax on top, do not add up to the total that Stripe states.",
        customer_key, theirs["id"],
    )  # fmt: skip


def _net(line: StripeDict) -> int:
    on_top = _sum(tax for tax in line["taxes"] or () if tax["tax_behavior"] == "exclusive")
    return int(line["amount"]) - _sum(line["discount_amounts"]) + on_top


_CUSTOMER_ACCOUNTS = """
SELECT c.stripe_customer_id, c.customer_key, c.currency,
       coalesce(sum(po.amount) FILTER (WHERE ac.kind = 'receivable'), 0),
       coalesce(-sum(po.amount) FILTER (WHERE ac.kind = 'balance'), 0)
  FROM billing_customer c
  LEFT JOIN ledger_account ac ON ac.customer_key = c.customer_key AND ac.currency = c.currency
                             AND ac.kind IN ('receivable', 'balance')
  LEFT JOIN ledger_posting po ON po.account_id = ac.id
 WHERE c.stripe_customer_id IS NOT NULL
 GROUP BY c.id
 ORDER BY 2
"""


def ledger_stripe_customers(scope: Scope) -> Findings:
    """Per customer: receivable = what Stripe's open invoices ask for; balance = minus Stripe's customer balance."""
    remaining_minor: dict[str, int] = defaultdict(int)
    for invoice in gateway.listed("/v1/invoices", status="open"):
        remaining_minor[invoice["customer"]] += invoice["amount_remaining"]
    balance_minor = {customer["id"]: customer["balance"] for customer in gateway.listed("/v1/customers")}
    for stripe_id, customer_key, currency, receivable, balance in rows(_CUSTOMER_ACCOUNTS):
        yield Pair(
            f"account receivable:{customer_key}:{currency}", "Stripe's open invoices",
            in_units(remaining_minor.pop(stripe_id, 0), currency), "ledger", receivable,
            "The ledger asks this customer for another amount than Stripe does.", customer_key, stripe_id,
        )  # fmt: skip
        at_stripe = balance_minor.pop(stripe_id, None)
        yield Pair(
            f"account balance:{customer_key}:{currency}", "minus Stripe's customer balance",
            None if at_stripe is None else -in_units(at_stripe, currency), "ledger", balance,
            "Stripe's customer balance moved without an entry here, or an entry was made without it.",
            customer_key, stripe_id,
        )  # fmt: skip
    absent = left_out(balance_minor)
    for stripe_id, amount in sorted(balance_minor.items()):
        if stripe_id in absent:
            continue
        yield Pair(
            f"customer {stripe_id}", "at Stripe (balance)", amount, "ours", None,
            "Stripe holds a customer that no customer here is linked to.", stripe_id=stripe_id,
        )  # fmt: skip


_CLEARING = """
SELECT currency, coalesce(moved.net_minor, 0), coalesce(account.amount, 0)
  FROM (SELECT currency, sum(net_minor) AS net_minor
          FROM (SELECT currency, net_minor FROM billing_balancetransaction
                 UNION ALL
                SELECT currency, debit_minor FROM billing_openingentry WHERE account_kind = 'stripe:clearing') held
         GROUP BY 1) moved
  FULL JOIN (SELECT ac.currency, sum(po.amount) AS amount
               FROM ledger_account ac JOIN ledger_posting po ON po.account_id = ac.id
              WHERE ac.kind = 'stripe:clearing' GROUP BY 1) account USING (currency)
 ORDER BY 1
"""


def stripe_balance(scope: Scope) -> Findings:
    """Every movement on our balance at Stripe against ours, one by one."""
    scope = after_the_cut(scope)
    listed = gateway.listed("/v1/balance_transactions", created=_created(scope))
    seen: set[str] = set()
    for page in _pages(listed):
        ids = [movement["id"] for movement in page]
        seen.update(ids)
        known = {row.stripe_id: row for row in BalanceTransaction.objects.filter(stripe_id__in=ids)}
        for movement in page:
            yield from _movement_pairs(movement, known.get(movement["id"]))
    ours = BalanceTransaction.objects.filter(occurred_at__gte=scope.range_start, occurred_at__lt=scope.range_end)
    for row in ours.exclude(stripe_id__in=seen).order_by("id"):
        yield Pair(
            f"balance transaction {row.stripe_id}", "at Stripe", None, "ours", row.net_minor,
            "We entered a movement that Stripe does not list.", stripe_id=row.stripe_id,
        )  # fmt: skip


def clearing_account(scope: Scope) -> Findings:
    """Per currency: the net sum of all movements = the account stripe:clearing."""
    for currency, net_minor, held in rows(_CLEARING):
        yield Pair(
            f"account stripe:clearing:{currency}", "net of all balance transactions",
            in_units(int(net_minor), currency), "ledger", held,
            "A movement was entered with another amount, or the account was touched by something else.",
        )  # fmt: skip


def _movement_pairs(theirs: StripeDict, ours: BalanceTransaction | None) -> Findings:
    subject = f"balance transaction {theirs['id']} ({theirs['type']})"
    source = theirs["source"] if isinstance(theirs.get("source"), str) else theirs["id"]
    if ours is None:
        yield Pair(
            subject, "at Stripe (net)", theirs["net"], "ours", None,
            "Money moved at Stripe and the ledger does not know.", stripe_id=source,
        )  # fmt: skip
        return
    for name, at_stripe, here in (
        ("amount", theirs["amount"], ours.amount_minor),
        ("fee", theirs["fee"], ours.fee_minor),
        ("net", theirs["net"], ours.net_minor),
    ):
        yield Pair(
            f"{subject}: {name}", "at Stripe", at_stripe, "ours", here,
            "The movement was entered with another amount than Stripe states.", stripe_id=source,
        )  # fmt: skip
