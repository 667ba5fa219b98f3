"""Credit notes: less is owed on an invoice that is open, or money goes back for one that was paid."""

from dataclasses import dataclass
from typing import Any

from tests.sandbox.billing.invoices.balance import move_balance
from tests.sandbox.billing.invoices.crediting import credit_totals, credits_of, shown_lines
from tests.sandbox.billing.invoices.totals import taxability
from tests.sandbox.billing.payments.invoice_payments import close_payment, intent_of, payment_of
from tests.sandbox.billing.payments.refunding import refund
from tests.sandbox.billing.payments.settling import mark_paid
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.metadata import merged_metadata
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

CREDITABLE = ("open", "paid", "uncollectible")
LINES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Drafted:
    """A credit note as it would be, with all its lines, before anything follows from it."""

    note: StripeObject
    lines: list[StripeObject]
    refund_amount: int
    credit_amount: int


def drafted(world: World, parameters: Parameters) -> Drafted:
    """The credit note that the parameters of `POST /v1/credit_notes` ask for, unstored. Raises `StripeError`."""
    invoice = world.store.get("invoice", parameters["invoice"], param="invoice")
    if invoice["status"] not in CREDITABLE:
        raise StripeError(
            f"Credit notes can only be made for open, paid and uncollectible invoices. This invoice is "
            f"{invoice['status']}.",
            param="invoice",
        )
    asked = credits_of(world, invoice, parameters)
    lines = shown_lines(world, asked, taxability(invoice))
    totals = credit_totals(asked, lines)
    refunds = _linked_refunds(world, invoice, parameters.get("refunds", []))
    total: int = totals["total"]
    _require_creditable(world, invoice, total, linked=_of_charges(refunds))
    pre_payment = min(total, invoice["amount_remaining"])
    _require_settled(parameters, total - pre_payment, refunds)
    name = world.ids.new("cn")
    note = world.skeletons.new(
        "credit_note",
        id=name,
        created=world.now,
        currency=invoice["currency"],
        customer=invoice["customer"],
        effective_at=parameters.get("effective_at", world.now),
        invoice=invoice["id"],
        memo=parameters.get("memo"),
        metadata=merged_metadata({}, parameters),
        number=f"{invoice['number']}-CN-{len(world.store.where('credit_note', 'invoice', invoice['id'])) + 1}",
        out_of_band_amount=parameters.get("out_of_band_amount"),
        pdf=f"https://pay.stripe.com/credit_notes/{name}/pdf",
        post_payment_amount=total - pre_payment,
        pre_payment_amount=pre_payment,
        reason=parameters.get("reason"),
        refunds=refunds,
        status="issued",
        type=_type(pre_payment, total),
        **totals,
    )
    note["lines"] = {
        "object": "list",
        "data": lines[:LINES_SHOWN],
        "has_more": len(lines) > LINES_SHOWN,
        "url": f"/v1/credit_notes/{name}/lines",
    }
    return Drafted(note, lines, parameters.get("refund_amount", 0), parameters.get("credit_amount", 0))


def issue(world: World, wanted: Drafted) -> StripeObject:
    """Store a drafted credit note and do what follows from it. Raises `StripeError` where a refund is not possible."""
    note = wanted.note
    invoice = world.store.get("invoice", note["invoice"])
    if wanted.refund_amount:
        made = refund(world, _charge(world, invoice), wanted.refund_amount, reason=None, metadata={})
        note["refunds"] = [*note["refunds"], _refund_entry(made["id"], wanted.refund_amount)]
    world.store.add(note)
    world.credit_note_lines[note["id"]] = wanted.lines
    if wanted.credit_amount:
        transaction = move_balance(
            world,
            world.store.get("customer", note["customer"], param="credit_amount"),
            amount=-wanted.credit_amount,
            kind="credit_note",
            currency=note["currency"],
            invoice=note["invoice"],
            credit_note=note["id"],
        )
        note["customer_balance_transaction"] = transaction["id"]
    world.emit("credit_note.created", note)
    world.update(
        invoice,
        "invoice.updated",
        amount_due=invoice["amount_due"] - note["pre_payment_amount"],
        amount_remaining=invoice["amount_remaining"] - note["pre_payment_amount"],
        pre_payment_credit_notes_amount=invoice["pre_payment_credit_notes_amount"] + note["pre_payment_amount"],
        post_payment_credit_notes_amount=invoice["post_payment_credit_notes_amount"] + note["post_payment_amount"],
    )
    if note["pre_payment_amount"]:
        _collect_the_rest(world, invoice)
    return note


def void_note(world: World, note: StripeObject) -> None:
    """Owe again what a credit note took off. Raises `StripeError` unless its invoice is still open."""
    invoice = world.store.get("invoice", note["invoice"])
    if note["status"] != "issued":
        raise StripeError("This credit note is void already.")
    if note["type"] != "pre_payment" or invoice["status"] != "open":
        raise StripeError(
            "You can only void a credit note that was issued before payment, while its invoice is still open. This "
            f"one is of type {note['type']}, and the invoice is {invoice['status']}."
        )
    world.update(note, None, status="void", voided_at=world.now)
    world.emit("credit_note.voided", note)
    world.update(
        invoice,
        "invoice.updated",
        amount_due=invoice["amount_due"] + note["pre_payment_amount"],
        amount_remaining=invoice["amount_remaining"] + note["pre_payment_amount"],
        pre_payment_credit_notes_amount=invoice["pre_payment_credit_notes_amount"] - note["pre_payment_amount"],
    )
    _collect_the_rest(world, invoice)


def _collect_the_rest(world: World, invoice: StripeObject) -> None:
    """The open payment asks for what is left; an invoice of which nothing is left is paid."""
    if invoice["amount_remaining"] == 0:
        close_payment(world, invoice, reason="void_invoice")
        mark_paid(world, invoice)
        return
    payment = payment_of(world, invoice)
    if payment is not None and payment["status"] == "open":
        world.update(payment, None, amount_requested=invoice["amount_remaining"])
        world.update(intent_of(world, payment), None, amount=invoice["amount_remaining"])


def _type(pre_payment: int, total: int) -> str:
    if pre_payment == total:
        return "pre_payment"
    return "mixed" if pre_payment else "post_payment"


def _require_creditable(world: World, invoice: StripeObject, total: int, *, linked: int) -> None:
    """All credit notes and refunds of an invoice together are at most its total."""
    if total <= 0:
        raise StripeError("The total of a credit note must be positive.", param="lines")
    noted = invoice["pre_payment_credit_notes_amount"] + invoice["post_payment_credit_notes_amount"]
    apart = _refunded_apart(world, invoice) - linked
    left = invoice["total"] - noted - apart
    if total > left:
        raise StripeError(
            f"The credit note's total ({total}) is more than what can still be credited on this invoice ({left}).",
            param="amount",
        )


def _refunded_apart(world: World, invoice: StripeObject) -> int:
    """What was refunded of the invoice's charges without a credit note."""
    refunded = sum(
        made["amount"]
        for charge in _charges(world, invoice)
        for made in world.store.where("refund", "charge", charge["id"])
        if made["status"] not in ("failed", "canceled")
    )
    return refunded - _of_charges(_entries(world, invoice))


def _of_charges(entries: list[StripeObject]) -> int:
    """What of refunds in credit notes is of charges, and was not refunded elsewhere."""
    return sum(entry["amount_refunded"] for entry in entries if entry["type"] == "refund")


def _require_settled(parameters: Parameters, post_payment: int, refunds: list[StripeObject]) -> None:
    """What goes back must be all of what was paid already, in whatever ways."""
    ways = {name: parameters.get(name, 0) for name in ("refund_amount", "credit_amount", "out_of_band_amount")}
    for name, amount in ways.items():
        if amount < 0:
            raise StripeError("Invalid non-negative integer", code="parameter_invalid_integer", param=name)
    settled = sum(ways.values()) + sum(entry["amount_refunded"] for entry in refunds)
    if settled != post_payment:
        raise StripeError(
            f"The sum of credit amount, refund amount and out of band amount ({settled}) must equal the credit "
            f"note's post payment amount ({post_payment}).",
            param=next((name for name, amount in ways.items() if amount), None),
        )


def _linked_refunds(world: World, invoice: StripeObject, given: list[dict[str, Any]]) -> list[StripeObject]:
    """Refunds made before that the credit note accounts for. Raises `StripeError` for one of another invoice."""
    entries: list[StripeObject] = []
    charges = {charge["id"] for charge in _charges(world, invoice)}
    for place, wanted in enumerate(given):
        param = f"refunds[{place}]"
        if "payment_record_refund" in wanted or wanted.get("type") == "payment_record_refund":
            entries.append(_refunded_elsewhere(world, invoice, wanted, entries, param=param))
            continue
        made = world.store.get("refund", wanted.get("refund", ""), param=f"{param}[refund]")
        if made["charge"] not in charges:
            raise StripeError("This refund is not one of the invoice's payment.", param=f"{param}[refund]")
        used = sum(entry["amount_refunded"] for entry in _entries(world, invoice) if entry["refund"] == made["id"])
        amount = wanted.get("amount_refunded", made["amount"] - used)
        if not 0 < amount <= made["amount"] - used:
            raise StripeError(
                f"Only {made['amount'] - used} of this refund is not in a credit note yet.",
                param=f"{param}[amount_refunded]",
            )
        entries.append(_refund_entry(made["id"], amount))
    return entries


def _refunded_elsewhere(
    world: World, invoice: StripeObject, wanted: dict[str, Any], before: list[StripeObject], *, param: str
) -> StripeObject:
    """What was refunded outside Stripe of a payment record that paid the invoice. Raises `StripeError` beyond that."""
    named = wanted.get("payment_record_refund")
    if named is None:
        raise StripeError(
            "Missing required param: payment_record_refund.",
            code="parameter_missing",
            param=f"{param}[payment_record_refund]",
        )
    record = named["payment_record"]
    payments = world.store.where("invoice_payment", "invoice", invoice["id"])
    paid = sum(one["amount_paid"] for one in payments if one["payment"].get("payment_record") == record)
    elsewhere = [one for one in (*_entries(world, invoice), *before) if one["type"] == "payment_record_refund"]
    of_record = [one for one in elsewhere if one["payment_record_refund"]["payment_record"] == record]
    left = paid - sum(one["amount_refunded"] for one in of_record)
    amount = wanted.get("amount_refunded", left)
    if not 0 < amount <= left:
        raise StripeError(
            f"Only {left} of this payment record can be in a credit note.", param=f"{param}[amount_refunded]"
        )
    # What `refund` says then is not published; the document wants a text.
    return {
        "amount_refunded": amount,
        "payment_record_refund": named,
        "refund": named["refund_group"],
        "type": "payment_record_refund",
    }


def _entries(world: World, invoice: StripeObject) -> list[StripeObject]:
    """The refunds in the invoice's credit notes."""
    notes = world.store.where("credit_note", "invoice", invoice["id"])
    return [entry for note in notes for entry in note["refunds"]]


def _refund_entry(refund_id: str, amount: int) -> StripeObject:
    return {"amount_refunded": amount, "payment_record_refund": None, "refund": refund_id, "type": "refund"}


def _charges(world: World, invoice: StripeObject) -> list[StripeObject]:
    """The charges that paid the invoice, oldest first."""
    charges: list[StripeObject] = []
    for payment in world.store.where("invoice_payment", "invoice", invoice["id"]):
        intent = world.store.find("payment_intent", payment["payment"].get("payment_intent"))
        charge = world.store.find("charge", intent["latest_charge"]) if intent else None
        if charge is not None and charge["paid"]:
            charges.append(charge)
    return charges


def _charge(world: World, invoice: StripeObject) -> StripeObject:
    """The one charge to refund. Raises `StripeError` where there is none, or more than one to choose from."""
    charges = _charges(world, invoice)
    if len(charges) != 1:
        found = "no payment" if not charges else "more than one payment"
        raise StripeError(
            f"This invoice has {found} that `refund_amount` could refund. Create the refunds first and link them with "
            "`refunds`, or use `credit_amount` or `out_of_band_amount`.",
            param="refund_amount",
        )
    return charges[0]
