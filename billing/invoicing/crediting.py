"""The projection of Stripe's credit notes: a row with its lines, and its entry. Inside the caller's transaction."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.accounting.credit_notes import (
    PENDING,
    CreditedLine,
    GivenBack,
    Prepaid,
    UnexplainedCredit,
    post_credit_note_issued,
    post_credit_note_of_before,
    post_credit_note_voided,
)
from billing.customers.operations import lock_customer
from billing.invoicing.late_models import LateCorrection
from billing.invoicing.models import CreditNote, CreditNoteLine, Invoice, InvoiceLine
from billing.invoicing.rounding import from_minor
from billing.invoicing.stripe_lines import charges_of
from billing.payments.operations import instant
from billing.payments.refunds import cover_refunds
from billing.stripe.errors import NotYetKnown, ProjectionRefused
from billing.stripe.readers import id_of, refunds_at_stripe
from billing.takeover.cut import cut, is_before
from ledger.operations import PostedEntry
from promotions.operations import withdraw_paid_credit

Status = CreditNote.Status
StripeDict = dict[str, Any]


def project_credit_note(fetched: StripeDict, *, now: datetime) -> CreditNote:
    """
    Bring the row of one credit note, fetched with all its lines, up to date, and enter what it gives back.

    Raises NotYetKnown while its invoice is not in the books, ProjectionRefused for a credit note that cannot be
    explained, and LedgerError.
    """
    invoice_id = id_of(fetched["invoice"])
    invoice = Invoice.objects.select_related("customer").filter(stripe_invoice_id=invoice_id).first()
    if invoice is None or invoice.finalized_at is None:
        raise NotYetKnown(f"invoice {invoice_id} of credit note {fetched['id']} is not in the books")
    lock_customer(customer_id=invoice.customer_id)
    (note,) = project_credit_notes(Invoice.objects.get(pk=invoice.pk), [fetched], now=now)
    return note


def project_credit_notes(invoice: Invoice, fetched: Iterable[StripeDict], *, now: datetime) -> list[CreditNote]:
    """
    The same for several credit notes of one invoice, whose customer is held. Also unwinds those of a void invoice.

    Raises ProjectionRefused and LedgerError.
    """
    by_age = sorted(fetched, key=lambda note: (note["created"], note["id"]))
    notes = [_project(invoice, note, now=now) for note in by_age]
    if invoice.voided_at is not None:
        for note in invoice.credit_notes.filter(unwound_at=None):
            _unwind(note, at=max(invoice.voided_at, note.issued_at), now=now)
    return notes


def _project(invoice: Invoice, fetched: StripeDict, *, now: datetime) -> CreditNote:
    note = CreditNote.objects.filter(stripe_credit_note_id=fetched["id"]).first()
    if note is None:
        note = _enter(invoice, fetched, now=now)
    if fetched["status"] == Status.VOID and note.status != Status.VOID:
        note.status, note.voided_at = Status.VOID, instant(fetched["voided_at"] or fetched["created"])
        if note.unwound_at is None:
            _unwind(note, at=note.voided_at, now=now)
    note.memo, note.projected_at = fetched["memo"] or "", now
    note.save(update_fields=["status", "voided_at", "memo", "projected_at"])
    return note


def _enter(invoice: Invoice, fetched: StripeDict, *, now: datetime) -> CreditNote:
    """Write a credit note that is not known yet, as it was issued, and its entry."""
    given_back = _ways(fetched)
    lines = [_line(invoice, fetched, line) for line in fetched["lines"]["data"]]
    cut_at, issued_at = cut(), instant(fetched["created"])
    if cut_at is not None and is_before(issued_at, cut_at):
        entry = _enter_of_before(invoice, fetched, as_of=cut_at, now=now)
        return _write(invoice, fetched, given_back, lines, entry, now=now)
    correction = _correction_of(invoice, fetched)
    usage = _usage_given_back(correction, lines, fetched) if correction is not None else {}
    credited = [_credited(invoice, fetched, line, usage=usage.get(line.stripe_line_id), now=now) for line in lines]
    try:
        entry = post_credit_note_issued(
            credit_note=fetched["id"],
            invoice=invoice.stripe_invoice_id,
            customer_key=invoice.customer.customer_key,
            currency=invoice.currency,
            lines=credited,
            given_back=GivenBack(**{name: from_minor(amount, invoice.currency) for name, amount in given_back.items()}),
            issued_at=issued_at,
            recorded_at=now,
            memo=f"Credit note {fetched['number']} of invoice {invoice.number}",
        )
    except UnexplainedCredit as unexplained:
        raise ProjectionRefused(str(unexplained)) from unexplained
    note = _write(invoice, fetched, given_back, lines, entry, now=now)
    if correction is not None:
        LateCorrection.objects.filter(pk=correction.pk).update(credit_note=note)
    return note


def _enter_of_before(invoice: Invoice, fetched: StripeDict, *, as_of: datetime, now: datetime) -> PostedEntry | None:
    """The entry of one of before the takeover: none, unless its invoice was still open and it took something off."""
    if invoice.taken_over != Invoice.TakenOver.OPEN or not fetched["pre_payment_amount"]:
        return None
    return post_credit_note_of_before(
        credit_note=fetched["id"],
        invoice=invoice.stripe_invoice_id,
        customer_key=invoice.customer.customer_key,
        currency=invoice.currency,
        pre_payment=from_minor(fetched["pre_payment_amount"], invoice.currency),
        as_of=as_of,
        recorded_at=now,
        memo=f"Credit note {fetched['number']} of invoice {invoice.number}, of before the takeover",
    )


def _write(
    invoice: Invoice,
    fetched: StripeDict,
    given_back: dict[str, int],
    lines: list[CreditNoteLine],
    entry: PostedEntry | None,
    *,
    now: datetime,
) -> CreditNote:
    note = CreditNote.objects.create(
        stripe_credit_note_id=fetched["id"],
        invoice=invoice,
        number=fetched["number"],
        status=Status.ISSUED,
        reason=fetched["reason"] or "",
        memo=fetched["memo"] or "",
        currency=invoice.currency,
        total_minor=fetched["total"],
        **{f"{name}_minor": amount for name, amount in given_back.items()},
        issued_at=instant(fetched["created"]),
        journal_entry_id=None if entry is None else entry.id,
        projected_at=now,
    )
    for position, line in enumerate(lines, start=1):
        line.credit_note, line.position = note, position
    CreditNoteLine.objects.bulk_create(lines)
    cover_refunds(refunds_at_stripe(fetched), credit_note_id=fetched["id"], now=now)
    return note


def _ways(fetched: StripeDict) -> dict[str, int]:
    """In what ways a credit note gives back its total, minor units. Raises ProjectionRefused where one is not clear."""
    refunded = sum(entry["amount_refunded"] for entry in refunds_at_stripe(fetched))
    elsewhere = sum(entry["amount_refunded"] for entry in fetched["refunds"]) - refunded
    out_of_band = (fetched["out_of_band_amount"] or 0) + elsewhere
    to_balance = fetched["post_payment_amount"] - refunded - out_of_band
    if to_balance < 0 or (to_balance and not fetched["customer_balance_transaction"]):
        raise ProjectionRefused(
            f"credit note {fetched['id']} gives back {fetched['post_payment_amount']} after payment: {refunded} by"
            f" refunds, {out_of_band} outside Stripe; {to_balance} cannot be explained by the customer's balance"
        )
    return {
        "pre_payment": fetched["pre_payment_amount"],
        "to_balance": to_balance,
        "refunded": refunded,
        "out_of_band": out_of_band,
    }


def _line(invoice: Invoice, fetched: StripeDict, line: StripeDict) -> CreditNoteLine:
    """The row of a line, not written yet. Raises ProjectionRefused for what it cannot stand for."""
    if any(entry["type"] == "credit_balance_transaction" for entry in line.get("pretax_credit_amounts") or []):
        raise ProjectionRefused(f"line {line['id']} of credit note {fetched['id']} gives back Stripe's billing credits")
    credited = None
    if line["type"] == "invoice_line_item":
        credited = InvoiceLine.objects.filter(invoice=invoice, stripe_line_id=line["invoice_line_item"]).first()
        if credited is None:
            raise ProjectionRefused(
                f"credit note {fetched['id']} credits line {line['invoice_line_item']}, which is not on its invoice"
            )
    charges = charges_of(line)
    return CreditNoteLine(
        invoice_line=credited,
        description=(line["description"] or "Credit")[:500],
        amount_minor=line["amount"],
        discount_minor=charges.discount_minor,
        exclusive_tax_minor=charges.exclusive_tax_minor,
        inclusive_tax_minor=charges.inclusive_tax_minor,
        stripe_line_id=line["id"],
    )


def _correction_of(invoice: Invoice, fetched: StripeDict) -> LateCorrection | None:
    """
    The late usage that a credit note settles, by the id that we wrote into its metadata.

    Anybody may edit metadata at Stripe: they count only on this invoice, and for one without a credit note yet.
    """
    named = str((fetched.get("metadata") or {}).get("late_correction") or "")
    if not named.isdecimal():
        return None
    waiting = LateCorrection.objects.filter(kind=LateCorrection.Kind.CREDIT_NOTE, credit_note=None, invoice=invoice)
    return waiting.filter(pk=int(named)).first()


def _usage_given_back(
    correction: LateCorrection, lines: Iterable[CreditNoteLine], fetched: StripeDict
) -> dict[str, Decimal]:
    """By Stripe's id of a line, the exact amount it gives back. Raises ProjectionRefused where it is not as meant."""
    intended = {line.invoice_line_id: line for line in correction.lines.all()}
    exact: dict[str, Decimal] = {}
    for line in lines:
        credited = line.invoice_line
        meant = intended.pop(credited.pk, None) if credited is not None else None
        if meant is None or line.amount_minor != -meant.amount_minor or line.discount_minor:
            raise ProjectionRefused(f"line {line.stripe_line_id} of credit note {fetched['id']} is not as intended")
        exact[line.stripe_line_id] = -meant.exact_amount
    if intended:
        raise ProjectionRefused(f"credit note {fetched['id']} lacks lines that {correction} intends")
    return exact


def _credited(
    invoice: Invoice, fetched: StripeDict, line: CreditNoteLine, *, usage: Decimal | None, now: datetime
) -> CreditedLine:
    """What the line gives back, with what of it comes out of the paid grant it had become."""
    currency, credited = invoice.currency, line.invoice_line
    given_back = CreditedLine(
        amount=from_minor(line.amount_minor, currency),
        discount=from_minor(line.discount_minor, currency),
        exclusive_tax=from_minor(line.exclusive_tax_minor, currency),
        inclusive_tax=from_minor(line.inclusive_tax_minor, currency),
        usage=usage,
    )
    if credited is None or credited.kind != InvoiceLine.Kind.PREPAID:
        return given_back
    grant_id = credited.prepaid.grant_id
    if grant_id is None:
        return replace(given_back, prepaid=PENDING)
    line.from_grant = withdraw_paid_credit(
        grant_id=grant_id,
        at_most=given_back.amount - given_back.inclusive_tax,
        reason=f"Given back by credit note {fetched['number']}",
        idempotency_key=f"credit_note:{line.stripe_line_id}",
        recorded_at=now,
    )
    return replace(given_back, prepaid=Prepaid(grant_id=grant_id, taken=line.from_grant))


def _unwind(note: CreditNote, *, at: datetime, now: datetime) -> None:
    """Take the entry back. Raises ProjectionRefused where paid credit went with it, which Stripe never does."""
    if note.lines.filter(from_grant__gt=0).exists():
        raise ProjectionRefused(
            f"credit note {note} gave back paid credit and is void: correct the grant by hand first"
        )
    if note.journal_entry_id is not None:
        cut_at = cut()  # what was void by then is in the books from there on, as its entry is
        post_credit_note_voided(
            issued_entry_id=note.journal_entry_id,
            credit_note=note.stripe_credit_note_id,
            invoice=note.invoice.stripe_invoice_id,
            voided_at=at if cut_at is None else max(at, cut_at),
            recorded_at=now,
            memo=f"Credit note {note.number} void",
        )
    note.unwound_at = at
    note.save(update_fields=["unwound_at"])


def credited_of_prepaid(line: InvoiceLine) -> Decimal:
    """What credit notes before payment took off a line of prepaid credit, in currency units."""
    rows = CreditNoteLine.objects.filter(invoice_line=line, credit_note__unwound_at=None, from_grant=0)
    minor = sum(row.amount_minor - row.inclusive_tax_minor for row in rows)
    return from_minor(minor, line.invoice.currency)


def is_as_shown(note: CreditNote, snapshot: StripeDict) -> bool:
    """Whether an event that showed this snapshot can tell nothing new about the credit note."""
    return note.status == Status.VOID or (note.status, note.memo) == (snapshot["status"], snapshot["memo"] or "")
