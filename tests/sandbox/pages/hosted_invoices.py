"""The hosted page of an invoice: its lines and sums, and while it is open the way to pay it."""

from tests.sandbox.billing.payments.collecting import pay_by_request
from tests.sandbox.billing.payments.invoice_payments import intent_of, payment_of
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.pages.layout import Html, day, joined, money
from tests.sandbox.pages.payer import (
    SELLER,
    Form,
    card,
    heading,
    mark,
    method_choice,
    notice,
    pairs,
    payer_document,
    read_method,
    said,
    sum_lines,
)
from tests.sandbox.world import World

PAYABLE = frozenset({"open", "uncollectible"})
MARKS = {"paid": "good", "open": "wait", "uncollectible": "bad"}


def invoice_page(world: World, invoice: StripeObject, *, form: Form | None = None, refusal: str | None = None) -> str:
    """The page as it is now; after a refused try with why."""
    title = f"Invoice {invoice['number'] or ''}"
    shown = [_summary(invoice), _lines(world, invoice)]
    if not is_payable(invoice):
        return payer_document(title, shown)
    parts = [Html(f'<div class="stack">{joined(shown)}</div>'), _payment(world, invoice, form or {}, refusal)]
    return payer_document(title, parts, wide=True)


def is_payable(invoice: StripeObject) -> bool:
    return invoice["status"] in PAYABLE and invoice["amount_remaining"] > 0


def act_on_invoice(world: World, invoice: StripeObject, form: Form) -> str:
    """Pay it; the answer is where the payer goes. Raises the card's `StripeError`."""
    if not is_payable(invoice):
        raise StripeError(f"This invoice is {invoice['status']}; there is nothing to pay.")
    payment_method = read_method(world, form)
    try:
        pay_by_request(world, invoice, payment_method, off_session=False)
    except StripeError:
        intent = waiting_for(world, invoice)
        if intent is None:
            raise
        return f"/pay/authenticate/{intent['id']}"
    return f"/pay/invoices/{invoice['id']}"


def waiting_for(world: World, invoice: StripeObject) -> StripeObject | None:
    """The invoice's intent if it waits for the payer to authenticate."""
    payment = payment_of(world, invoice)
    intent = intent_of(world, payment) if payment is not None else None
    return intent if intent is not None and intent["status"] == "requires_action" else None


def _summary(invoice: StripeObject) -> Html:
    currency = invoice["currency"]
    paid = invoice["status"] == "paid"
    amount = invoice["amount_paid"] if paid else invoice["amount_remaining"]
    facts: list[tuple[str, object]] = [
        ("Invoice", invoice["number"] or invoice["id"]),
        ("From", SELLER),
        ("To", invoice["customer_name"] or invoice["customer_email"] or invoice["customer"]),
        ("Issued", day(invoice["effective_at"] or invoice["created"])),
    ]
    if invoice["due_date"]:
        facts.append(("Due", day(invoice["due_date"])))
    if invoice["status_transitions"]["paid_at"]:
        facts.append(("Paid", day(invoice["status_transitions"]["paid_at"])))
    return card(
        heading("Invoice paid" if paid else f"Invoice from {SELLER}", level=1),
        Html(f'<p class="amount-large">{money(amount, currency)}</p>'),
        Html(f"<p>{mark(invoice['status'], MARKS.get(invoice['status'], ''))}</p>"),
        pairs(facts),
        *([said(invoice["description"])] if invoice["description"] else []),
    )


def _payment(world: World, invoice: StripeObject, form: Form, refusal: str | None) -> Html:
    methods = method_choice(world, ["card"], invoice["customer"], form.get("method", ""))
    return card(
        notice(refusal),
        Html(
            f'<form method="post" action="/pay/invoices/{invoice["id"]}">{methods}'
            f'<button class="main">Pay {money(invoice["amount_remaining"], invoice["currency"])}</button></form>'
        ),
    )


def _lines(world: World, invoice: StripeObject) -> Html:
    currency = invoice["currency"]
    rows: list[tuple[object, object, str]] = []
    for line in world.lines[invoice["id"]]:
        period = line["period"]
        when = (
            f"{day(period['start'])} – {day(period['end'])}"
            if period["start"] != period["end"]
            else day(period["start"])
        )
        text = joined([line["description"] or "–", Html(f'<br><span class="small soft">{when}</span>')])
        rows.append((text, money(line["amount"], currency), ""))
    rows.append(("Subtotal", money(invoice["subtotal"], currency), "soft"))
    discount = sum(item["amount"] for item in invoice["total_discount_amounts"] or [])
    if discount:
        rows.append(("Discount", money(-discount, currency), ""))
    tax = sum(item["amount"] for item in invoice["total_taxes"] or [])
    if tax:
        rows.append(("Tax", money(tax, currency), ""))
    rows.append(("Total", money(invoice["total"], currency), "total"))
    applied = invoice["amount_due"] - invoice["total"]
    if applied:
        rows.append(("Balance applied", money(applied, currency), ""))
    if invoice["amount_paid"]:
        rows.append(("Paid", money(-invoice["amount_paid"], currency), ""))
    rows.append(("Amount due", money(invoice["amount_remaining"], currency), "total"))
    return card(heading("What it is for"), sum_lines(rows))
