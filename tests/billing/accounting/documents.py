"""Documents as Stripe states them, as far as the books read them, and the books after them. Amounts in minor units."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from billing.customers.models import Customer
from billing.invoicing.crediting import project_credit_note
from billing.invoicing.models import CreditNote, Invoice
from billing.invoicing.operations import project_invoice
from billing.payments.operations import record_customer_balance_transactions
from billing.subscriptions.models import Subscription
from tests.factories import NOVEMBER, CustomerFactory

StripeDict = dict[str, Any]
FINALIZED, PAID, ENDED = NOVEMBER, NOVEMBER + timedelta(days=1), NOVEMBER + timedelta(days=2)
NOW = NOVEMBER + timedelta(days=3)

_BALANCES = """
SELECT ac.code, sum(po.amount) * CASE ac.normal_side WHEN 'D' THEN 1 ELSE -1 END
  FROM ledger_account ac JOIN ledger_posting po ON po.account_id = ac.id
 GROUP BY ac.id HAVING sum(po.amount) <> 0 ORDER BY 1
"""


def ada() -> Customer:
    return CustomerFactory(customer_key="ada", stripe_customer_id="cus_ada")


def balances() -> dict[str, Decimal]:
    """Every account that is not at zero, on its normal side, without customer and currency."""
    with connection.cursor() as cursor:
        cursor.execute(_BALANCES)
        return {code.replace(":ada", "").replace(":USD", ""): amount.normalize() for code, amount in cursor.fetchall()}


def amounts(**expected: str) -> dict[str, Decimal]:
    return {name.replace("__", ":"): Decimal(amount).normalize() for name, amount in expected.items()}


def line(
    line_id: str,
    amount: int,
    *,
    kind: str = "fee",
    discount: int = 0,
    tax: int = 0,
    inclusive_tax: int = 0,
    metadata: dict[str, str] | None = None,
) -> StripeDict:
    """`kind` fee, proration, item (of an invoice item: its metadata must say what it is), or ours."""
    details = {"proration": kind == "proration", "subscription": "sub_1"}
    parent_type = "subscription_item_details" if kind in ("fee", "proration") else "invoice_item_details"
    taxes = {"exclusive": tax, "inclusive": inclusive_tax}
    return {
        "id": line_id,
        "amount": amount,
        "description": line_id,
        "quantity": 1,
        "metadata": metadata or {},
        "discount_amounts": [{"amount": discount, "discount": "di_1"}] if discount else [],
        "pretax_credit_amounts": [{"amount": discount, "discount": "di_1", "type": "discount"}] if discount else [],
        "taxes": [{"amount": of, "tax_behavior": behaviour} for behaviour, of in taxes.items() if of],
        "parent": {"type": parent_type, parent_type: details},
        "period": {"start": int(NOVEMBER.timestamp()), "end": int((NOVEMBER + timedelta(days=30)).timestamp())},
    }


def one_off(line_id: str, amount: int, **charges: int) -> StripeDict:
    return line(line_id, amount, kind="item", metadata={"kind": "one_off"}, **charges)


def prepaid(line_id: str, amount: int, *, bonus: str = "", valid_days: str = "", **charges: int) -> StripeDict:
    terms = {"kind": "prepaid", "prepaid_name": "Top-up", "prepaid_bonus": bonus, "prepaid_valid_days": valid_days}
    return line(line_id, amount, kind="item", metadata=terms, **charges)


def net(lines: Sequence[StripeDict]) -> int:
    """What lines come to: amount less discount plus tax on top."""
    added = sum(tax["amount"] for one in lines for tax in one["taxes"] if tax["tax_behavior"] == "exclusive")
    return added + sum(one["amount"] - sum(off["amount"] for off in one["discount_amounts"]) for one in lines)


def invoice(
    lines: Sequence[StripeDict], *, invoice_id: str = "in_1", status: str = "open", **changes: Any
) -> StripeDict:
    """A finalised invoice; one that is paid was paid on PAID, one that is void or uncollectible is so since ENDED."""
    total = net(lines)
    moments = {
        "finalized_at": FINALIZED,
        "paid_at": PAID if status == "paid" else None,
        "voided_at": ENDED if status == "void" else None,
        "marked_uncollectible_at": ENDED if status == "uncollectible" else None,
    }
    return {
        "id": invoice_id,
        "customer": "cus_ada",
        "currency": "usd",
        "billing_reason": "manual",
        "number": f"ADA-{invoice_id}",
        "status": status,
        "created": int(FINALIZED.timestamp()),
        "total": total,
        "amount_due": total,
        "amount_paid": total if status == "paid" else 0,
        "amount_remaining": 0 if status == "paid" else total,
        "starting_balance": 0,
        "ending_balance": 0,
        "attempt_count": 0,
        "pre_payment_credit_notes_amount": 0,
        "post_payment_credit_notes_amount": 0,
        "total_discount_amounts": [off for one in lines for off in one["discount_amounts"]],
        "total_taxes": [tax for one in lines for tax in one["taxes"]],
        "status_transitions": {name: at and int(at.timestamp()) for name, at in moments.items()},
        "lines": lines,
        **changes,
    }


def note(
    credited: Sequence[tuple[str, StripeDict]],
    *,
    note_id: str = "cn_1",
    invoice_id: str = "in_1",
    status: str = "issued",
    refunds: Sequence[int] = (),
    out_of_band: int = 0,
    pre_payment: int | None = None,
    to_balance: bool = False,
    at: datetime = PAID,
) -> StripeDict:
    """Credits lines: (id of the invoice's line, or nothing for a line of its own; what is credited, as a line)."""
    lines = [
        {**one, "type": "invoice_line_item" if of else "custom_line_item", "invoice_line_item": of or None}
        for of, one in credited
    ]
    total = net(lines)
    before = total if pre_payment is None else pre_payment
    return {
        "id": note_id,
        "invoice": invoice_id,
        "status": status,
        "number": f"ADA-{note_id}",
        "reason": None,
        "memo": None,
        "created": int(at.timestamp()),
        "voided_at": int(ENDED.timestamp()) if status == "void" else None,
        "total": total,
        "pre_payment_amount": before,
        "post_payment_amount": total - before,
        "refunds": [{"refund": f"re_{number}", "amount_refunded": of} for number, of in enumerate(refunds, start=1)],
        "out_of_band_amount": out_of_band or None,
        "customer_balance_transaction": "cbtxn_of_note" if to_balance else None,
        "lines": {"data": lines, "has_more": False},
    }


def movement(stripe_id: str, kind: str, amount: int, *, of_invoice: str = "", of_note: str = "") -> StripeDict:
    """A customer balance transaction; `amount` has Stripe's sign."""
    return {
        "id": stripe_id,
        "type": kind,
        "amount": amount,
        "currency": "usd",
        "ending_balance": 0,
        "invoice": of_invoice or None,
        "credit_note": of_note or None,
        "created": int(FINALIZED.timestamp()),
    }


def project(
    fetched: StripeDict, *, notes: Sequence[StripeDict] = (), subscription: Subscription | None = None
) -> Invoice:
    """Take an invoice into the books, twice: the second time changes nothing."""
    for _ in range(2):
        with transaction.atomic():
            row = project_invoice(fetched, lines=fetched["lines"], notes=notes, subscription=subscription, now=NOW)
    return row


def project_note(fetched: StripeDict) -> CreditNote:
    for _ in range(2):
        with transaction.atomic():
            row = project_credit_note(fetched, now=NOW)
    return row


def record(*movements: StripeDict) -> None:
    for _ in range(2):
        with transaction.atomic():
            record_customer_balance_transactions(movements, customer=Customer.objects.get(), now=NOW)
