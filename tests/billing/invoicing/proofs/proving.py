"""Invoices to prove, without Stripe: a draft, lines as a close writes them, and the finalisation entered."""

import json
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from itertools import count
from typing import Any
from zipfile import ZipFile

from billing.accounting.invoices import post_invoice_finalized
from billing.invoicing.drafting import late_rows, write_lines
from billing.invoicing.models import Invoice, InvoiceClose, InvoiceLine
from billing.invoicing.proofs.bundles import write_bundle
from billing.invoicing.proofs.models import InvoiceProof
from billing.invoicing.proofs.operations import prove_invoice
from billing.invoicing.proofs.verifier.bundle import HELD, check_of, verify_bundle
from billing.invoicing.proofs.verifier.proof import canonical
from billing.invoicing.rounding import from_minor
from billing.subscriptions.at_stripe import billed_fees
from billing.subscriptions.models import BillingPeriod
from tests.billing.usage import AFTER_OCTOBER

_numbers = count(1)


def draft(period: BillingPeriod, **values: Any) -> Invoice:
    """A draft as Stripe makes it."""
    subscription = period.subscription
    given = {
        "stripe_invoice_id": f"in_proof{next(_numbers)}",
        "customer": subscription.customer,
        "subscription": subscription,
        "billing_reason": "subscription_cycle",
        "status": "draft",
        "currency": subscription.customer.currency,
        "total_minor": 0,
        "amount_due_minor": 0,
        "amount_paid_minor": 0,
        "amount_remaining_minor": 0,
        "starting_balance_minor": 0,
        "created_at": period.ends_at,
        "projected_at": period.ends_at,
    }
    return Invoice.objects.create(**given | values)


def invoice_of(period: BillingPeriod, *, now: datetime = AFTER_OCTOBER) -> Invoice:
    """A draft with the lines that the close of the period writes."""
    invoice = draft(period)
    InvoiceClose.objects.create(invoice=invoice, period=period, step="verified", next_attempt_at=now)
    write_lines(invoice=invoice, period=period, now=now)
    return invoice


def proved(period: BillingPeriod, *, now: datetime = AFTER_OCTOBER) -> InvoiceProof:
    return prove_invoice(invoice=invoice_of(period, now=now), now=now)


def late_invoice_of(period: BillingPeriod, *, now: datetime) -> Invoice:
    """A draft with what is left of a closed period."""
    invoice = draft(period)
    InvoiceLine.objects.bulk_create(late_rows(invoice=invoice, period=period, after=0))
    return invoice


def finalise(invoice: Invoice, *, now: datetime = AFTER_OCTOBER) -> Invoice:
    """As Stripe's webhook brings it: numbered, and entered in the ledger."""
    _add_fee(invoice)
    lines = list(invoice.lines.all())
    invoice.total_minor = sum(line.amount_minor for line in lines)
    invoice.status, invoice.number, invoice.finalized_at = "open", f"BB-{invoice.pk}", now
    invoice.save()
    post_invoice_finalized(invoice=invoice, lines=lines, finalized_at=now, recorded_at=now)
    return invoice


def _add_fee(invoice: Invoice) -> None:
    """Of the period that follows the one that the invoice ends, as Stripe adds it."""
    close = InvoiceClose.objects.filter(invoice=invoice, period__isnull=False).select_related("period").first()
    if close is None or close.period is None:
        return
    of_subscription = BillingPeriod.objects.filter(subscription=invoice.subscription)
    following = of_subscription.filter(starts_at=close.period.ends_at).first()
    if following is not None:
        fee_of(invoice, following, sum(fee.amount_minor for fee in billed_fees(following)))


def fee_of(invoice: Invoice, period: BillingPeriod, amount_minor: int) -> InvoiceLine:
    return InvoiceLine.objects.create(
        invoice=invoice,
        kind="fee",
        position=invoice.lines.count() + 1,
        period=period,
        description="Subscription fee",
        quantity=1,
        exact_amount=from_minor(amount_minor, invoice.currency),
        amount_minor=amount_minor,
        rounding=0,
    )


def bundle_of(proof: InvoiceProof) -> dict[str, bytes]:
    """The files of the proof's bundle."""
    written = BytesIO()
    write_bundle(written, proof)
    with ZipFile(written) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}


class Held:
    """A bundle in memory, which a test may change."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = dict(files)

    def read(self, name: str) -> bytes:
        return self.files[name]

    def names(self) -> list[str]:
        return list(self.files)

    def json(self, name: str) -> Any:
        return json.loads(self.files[name])

    def rows(self, name: str) -> list[Any]:
        return [json.loads(line) for line in self.files[name].splitlines()]

    def write(self, name: str, value: Any) -> None:
        self.files[name] = canonical(value)

    def write_rows(self, name: str, rows: list[Any]) -> None:
        self.files[name] = b"".join(canonical(row) + b"\n" for row in rows)

    def forge(self) -> None:
        """Make every checksum right again, as whoever changed something on purpose would."""
        rows = self.rows("events.jsonl")
        for row in rows:
            row["check"] = check_of(row)
        self.write_rows("events.jsonl", rows)
        files = {name: sha256(self.files[name]).hexdigest() for name in HELD}
        proof = sha256(canonical(self.json("proof.json"))).hexdigest()
        self.write("manifest.json", {"format": 1, "files": files, "proof_sha256": proof})

    def differences(self) -> list[str]:
        return verify_bundle(self)[1]
