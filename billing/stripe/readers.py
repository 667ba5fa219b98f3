"""Readers of Stripe's shapes at API 2026-08-26.dahlia: where today's objects keep what the field calls by one word."""

from typing import Any

from billing.stripe.gateway import StripeDict, listed, request, retrieve

CHARGE_MOVEMENTS = ("balance_transaction", "failure_balance_transaction")
# What was paid of an invoice outside Stripe. Stripe says it only where it is asked for, and in no event
# (https://docs.stripe.com/changelog/dahlia/2026-05-27/invoice-object-amount-paid-off-stripe-property).
PAID_OFF_STRIPE = "amount_paid_off_stripe"


def id_of(value: Any) -> str:
    """The id of a field that holds an id, an expanded object, or nothing."""
    return str(value["id"]) if isinstance(value, dict) else str(value or "")


def subscription_of_invoice(invoice: StripeDict) -> str:
    """Stripe's id of the subscription an invoice belongs to, or nothing."""
    details = (invoice.get("parent") or {}).get("subscription_details") or {}
    return id_of(details.get("subscription"))


def subscription_metadata_of_invoice(invoice: StripeDict) -> dict[str, str]:
    """The subscription's metadata as it was when the invoice was made."""
    details = (invoice.get("parent") or {}).get("subscription_details") or {}
    return dict(details.get("metadata") or {})


def price_of_line(line: StripeDict) -> str:
    """Stripe's id of the price of an invoice line, or nothing."""
    details = (line.get("pricing") or {}).get("price_details") or {}
    return id_of(details.get("price"))


def is_proration_line(line: StripeDict) -> bool:
    """Whether a line credits or charges a part of a fee, because the subscription changed within a period."""
    parent = line.get("parent") or {}
    details = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    return bool(details.get("proration"))


def invoice_with_lines(invoice_id: str) -> tuple[StripeDict, list[StripeDict]]:
    """An invoice and all its lines: one call while they fit in the invoice's own list, pages of 100 when not."""
    invoice = retrieve(f"/v1/invoices/{invoice_id}", expand=(PAID_OFF_STRIPE,))
    return invoice, all_lines(invoice)


def all_lines(invoice: StripeDict) -> list[StripeDict]:
    """Every line of an invoice that was just fetched."""
    if not invoice["lines"]["has_more"]:
        return list(invoice["lines"]["data"])
    return list(listed(f"/v1/invoices/{invoice['id']}/lines"))


def credit_note_with_lines(credit_note_id: str) -> StripeDict:
    """A credit note whose own list holds all its lines."""
    return _with_all_lines(retrieve(f"/v1/credit_notes/{credit_note_id}"))


def credit_notes_of(invoice: StripeDict) -> list[StripeDict]:
    """The credit notes of an invoice that was just fetched, each with all its lines; void ones too, if one stands."""
    if not invoice["pre_payment_credit_notes_amount"] and not invoice["post_payment_credit_notes_amount"]:
        return []
    return [_with_all_lines(note) for note in listed("/v1/credit_notes", invoice=invoice["id"])]


def refunds_at_stripe(note: StripeDict) -> list[StripeDict]:
    """
    Of what a credit note names as refunds, those that Stripe sends. One by a payment record was made outside Stripe,
    and is only reported there.
    """
    return [one for one in note["refunds"] if one.get("type") != "payment_record_refund"]


def _with_all_lines(note: StripeDict) -> StripeDict:
    if not note["lines"]["has_more"]:
        return note
    lines = list(listed(f"/v1/credit_notes/{note['id']}/lines"))
    return {**note, "lines": {**note["lines"], "data": lines, "has_more": False}}


def payments_after_giving_up(invoice: StripeDict) -> list[StripeDict]:
    """
    What paid, at Stripe, an invoice that was marked uncollectible and has ended; of others nobody has to ask. What was
    paid elsewhere is a payment record, and the invoice itself says it (PAID_OFF_STRIPE).
    """
    is_ended = invoice["status"] in ("paid", "void")
    if not is_ended or invoice["status_transitions"]["marked_uncollectible_at"] is None:
        return []
    paid = listed("/v1/invoice_payments", invoice=invoice["id"], status="paid")
    return [one for one in paid if one["payment"]["type"] != "payment_record"]


def payment_intent_with_charge(payment_intent_id: str) -> StripeDict:
    """A payment intent with its latest charge and what that moved on our balance, also where it failed afterwards."""
    movements = (f"latest_charge.{name}" for name in CHARGE_MOVEMENTS)
    return retrieve(f"/v1/payment_intents/{payment_intent_id}", expand=("latest_charge", *movements))


def payment_of_charge(charge_id: str) -> StripeDict:
    """
    A charge that belongs to no payment intent, in the shape of one that has its id: the old API made such.

    Its fields say the same: https://docs.stripe.com/payments/payment-intents/migration/charges.
    """
    charge = retrieve(f"/v1/charges/{charge_id}", expand=CHARGE_MOVEMENTS)
    statuses = {"succeeded": "succeeded", "pending": "processing", "failed": "requires_payment_method"}
    status = statuses[charge["status"]]
    return {
        "id": charge["id"],
        "object": "payment_intent",
        "amount": charge["amount"],
        "amount_received": charge["amount_captured"],
        "currency": charge["currency"],
        "customer": charge.get("customer"),
        "created": charge["created"],
        "status": "requires_capture" if status == "succeeded" and not charge["captured"] else status,
        "latest_charge": charge,
        "last_payment_error": None,
    }


def named_by(payment_id: str) -> dict[str, str]:
    """How requests name a payment: by its intent, or by its charge where it has none."""
    return {"payment_intent" if payment_id.startswith("pi_") else "charge": payment_id}


def invoice_of_payment_intent(payment_intent_id: str) -> str:
    """The invoice a payment intent pays, or nothing: since basil only the invoice payment knows."""
    payment = {"type": "payment_intent", "payment_intent": payment_intent_id}
    page = request("get", "/v1/invoice_payments", {"payment": payment, "limit": 1}).data
    return id_of(page["data"][0]["invoice"]) if page["data"] else ""


def payment_of_invoice_payment(invoice_payment: StripeDict) -> str:
    """What paid, or is to pay, a part of an invoice: a payment intent, or an old charge without one; else nothing."""
    paid_by = invoice_payment.get("payment") or {}
    return id_of(paid_by.get("payment_intent")) or id_of(paid_by.get("charge"))


def invoice_of_old_charge(charge: StripeDict) -> str:
    """
    The invoice that a charge without a payment intent pays, or nothing. Stripe finds the payments of invoices by
    intents and records only, so what the customer was asked for before is looked through, the latest first.
    """
    if not id_of(charge.get("customer")):
        return ""
    before = {"customer": id_of(charge["customer"]), "created": {"lte": charge["created"]}}
    for invoice in listed("/v1/invoices", **before, expand=["data.payments"]):
        if any(payment_of_invoice_payment(one) == charge["id"] for one in invoice["payments"]["data"]):
            return str(invoice["id"])
    return ""


def with_source(movement: StripeDict) -> StripeDict:
    """A balance transaction; one that Stripe converted with its source as an object, which knows the other amount."""
    if movement.get("exchange_rate") is None or not isinstance(movement.get("source"), str):
        return movement
    return retrieve(f"/v1/balance_transactions/{movement['id']}", expand=("source",))
