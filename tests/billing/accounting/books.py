"""Facts written straight into the ledger, as the rooms enter them, for the tests of finance's reports."""

from datetime import UTC, datetime
from decimal import Decimal

from billing.accounting.chart import receivable, system
from billing.customers.models import Customer
from billing.invoicing.models import Invoice
from ledger.operations import JournalEntryDraft, Line, PostedEntry, post_journal_entry

ACTOR = "user:tester"


def day(text: str) -> datetime:
    """Noon of a day in UTC."""
    return datetime.fromisoformat(f"{text}T12:00:00").replace(tzinfo=UTC)


def post(
    key: str,
    *lines: tuple[str, str],
    kind: str,
    at: datetime,
    known_at: datetime | None = None,
    cause: dict[str, str] | None = None,
) -> PostedEntry:
    """One entry of the lines (account, amount; debits above zero), known as it happened unless said otherwise."""
    draft = JournalEntryDraft(
        idempotency_key=key,
        kind=kind,
        lines=tuple(Line(account, Decimal(amount)) for account, amount in lines),
        effective_at=at,
        actor=ACTOR,
        cause=cause or {},
    )
    return post_journal_entry(draft, recorded_at=known_at or at)


def owes(
    customer: Customer,
    invoice: str,
    amount: str,
    *,
    at: datetime,
    known_at: datetime | None = None,
    kind: str = "invoice_finalized",
    against: str = "revenue:subscription",
) -> PostedEntry:
    """The receivable moves by `amount`, because of an invoice ("" for none)."""
    account = receivable(customer.customer_key, customer.currency)
    other = system(against, customer.currency)
    number = f"{kind}:{customer.customer_key}:{invoice}:{amount}:{at.isoformat()}"
    lines = ((account, amount), (other, str(-Decimal(amount))))
    return post(number, *lines, kind=kind, at=at, known_at=known_at, cause={"invoice": invoice} if invoice else {})


def invoice_row(
    customer: Customer, stripe_id: str, minor: int, *, finalized_at: datetime, due_at: datetime | None = None
) -> Invoice:
    return Invoice.objects.create(
        stripe_invoice_id=stripe_id,
        customer=customer,
        number=f"BB-{stripe_id}",
        billing_reason="subscription_cycle",
        status=Invoice.Status.OPEN,
        currency=customer.currency,
        total_minor=minor,
        amount_due_minor=minor,
        amount_paid_minor=0,
        amount_remaining_minor=minor,
        starting_balance_minor=0,
        created_at=finalized_at,
        due_at=due_at,
        finalized_at=finalized_at,
        projected_at=finalized_at,
    )


def months_of_receivables() -> dict[str, Customer]:
    """
    Three customers in two currencies: paid in part, credited, written off, paid and known later, and one movement that
    names no invoice. What is open at the end of December 2026 is worked out in test_ageing.py.
    """
    from tests.factories import CustomerFactory

    acme, zeta = CustomerFactory(customer_key="acme"), CustomerFactory(customer_key="zeta")
    euro = CustomerFactory(customer_key="euro", currency="EUR")
    invoice_row(acme, "in_a1", 10_000, finalized_at=day("2026-09-15"))
    owes(acme, "in_a1", "100.00", at=day("2026-09-15"))
    owes(acme, "in_a1", "-30.00", at=day("2026-10-01"), kind="payment_succeeded", against="stripe:in_transit")
    invoice_row(acme, "in_a2", 4_000, finalized_at=day("2026-11-20"), due_at=day("2026-12-20"))
    owes(acme, "in_a2", "40.00", at=day("2026-11-20"))
    owes(acme, "in_a2", "-5.00", at=day("2026-11-25"), kind="credit_note_issued", against="contra:refunds")
    invoice_row(acme, "in_a3", 6_000, finalized_at=day("2026-12-30"), due_at=day("2027-01-29"))
    owes(acme, "in_a3", "60.00", at=day("2026-12-30"))
    invoice_row(zeta, "in_z1", 8_000, finalized_at=day("2026-10-10"))
    owes(zeta, "in_z1", "80.00", at=day("2026-10-10"))
    paid, cash, late = "payment_succeeded", "stripe:in_transit", day("2027-01-03")
    owes(zeta, "in_z1", "-80.00", at=day("2026-12-28"), known_at=late, kind=paid, against=cash)
    invoice_row(zeta, "in_z2", 2_000, finalized_at=day("2026-11-05"))
    owes(zeta, "in_z2", "20.00", at=day("2026-11-05"))
    owes(zeta, "in_z2", "-20.00", at=day("2026-12-15"), kind="written_off", against="bad_debt")
    owes(zeta, "", "-7.00", at=day("2026-12-01"), kind=paid, against=cash)
    invoice_row(euro, "in_e1", 5_000, finalized_at=day("2026-12-01"))
    owes(euro, "in_e1", "50.00", at=day("2026-12-01"))
    return {"acme": acme, "zeta": zeta, "euro": euro}
