"""Coupons on a subscription whose usage Stripe bills: they take their part off metered lines, and our books say so."""

import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from billing.invoicing.discount_models import InvoiceLineDiscount
from billing.invoicing.models import Invoice
from billing.invoicing.proofs.models import InvoiceProof
from billing.invoicing.proofs.operations import verify_invoice
from billing.invoicing.proofs.verifier.bundle import FINALISED
from billing.stripe import gateway, readers
from ledger import queries as ledger_queries
from tests.billing.invoicing.late import assert_reconciled
from tests.billing.invoicing.metered.world import OCT_10, OCT_20, Metered, charged
from tests.billing.invoicing.proofs.proving import Held, bundle_of
from tests.billing.thread import SECOND_MONTH


def test_two_coupons_are_told_apart_on_every_line(
    metered: Metered, tmp_path: Path, app_connection: psycopg.Connection
) -> None:
    """
    10 % and then 5.00, of 20.00, 6.70 and 1.50: 2.82 and 5.00 in all. The draft was made when the meter said 3.70, so
    what is taken off is another amount when it is final.
    """
    subscription = metered.subscribe()
    metered.settle()
    gateway.request("post", "/v1/coupons", {"id": "TEN", "percent_off": 10, "duration": "forever"})
    gateway.request("post", "/v1/coupons", {"id": "FIVE", "amount_off": 500, "currency": "usd", "duration": "once"})
    path = f"/v1/subscriptions/{subscription.stripe_subscription_id}"
    gateway.request("post", path, {"discounts": [{"coupon": "TEN"}, {"coupon": "FIVE"}]})
    metered.at(OCT_10)
    metered.use(1_234_567, at=OCT_10)  # 3.703701
    metered.use(100_000, at=OCT_10, meter="output_tokens")  # 1.50
    metered.send()
    metered.at(SECOND_MONTH)
    metered.use(1_000_000, at=OCT_20)
    metered.settle()

    invoice = Invoice.objects.get(billing_reason="subscription_cycle")
    fetched, stripe_lines = readers.invoice_with_lines(invoice.stripe_invoice_id)
    assert (fetched["total"], invoice.total_minor, invoice.discount_minor) == (2038, 2038, 782)
    assert charged(invoice) == [("input_tokens", 670, True), ("output_tokens", 150, True)]
    said = {one["id"]: [part["amount"] for part in one["discount_amounts"]] for one in stripe_lines}
    ours = {
        line.stripe_line_id: [
            (one.coupon, one.amount_minor) for one in InvoiceLineDiscount.objects.filter(line=line).order_by("pk")
        ]
        for line in invoice.lines.all()
    }
    assert {key: [amount for _, amount in parts] for key, parts in ours.items()} == said
    assert sorted(ours.values()) == [
        [("TEN", 15), ("FIVE", 28)],
        [("TEN", 67), ("FIVE", 118)],
        [("TEN", 200), ("FIVE", 354)],
    ]
    entry = ledger_queries.entry_by_key(f"invoice_finalized:{invoice.stripe_invoice_id}")
    assert entry is not None
    moved = {line.account.split(":USD")[0]: line.amount for line in entry.lines}
    assert (moved["receivable:ada"], moved["contra:promotions"]) == (Decimal("20.38"), Decimal("7.82"))
    assert moved["unbilled:ada"] == Decimal("-8.203701")
    assert ledger_queries.out_of_balance() == []
    metered.sandbox.advance(SECOND_MONTH + timedelta(hours=1))
    assert_reconciled(metered)
    assert verify_invoice(invoice=invoice, actor="user:tester", now=metered.now).differences == []
    assert_the_bundle_tells_it(invoice, tmp_path)
    assert_refused(app_connection)


def assert_the_bundle_tells_it(invoice: Invoice, folder: Path) -> None:
    """Which discount came off which line is in what leaves the house, and the verifier adds it up."""
    held = Held(bundle_of(InvoiceProof.objects.get(invoice=invoice)))
    told = held.json(FINALISED)
    parts = {line["amount_minor"]: [part[1:] for part in line.get("discounts", ())] for line in told["lines"]}
    assert parts[670] == [["TEN", 67], ["FIVE", 118]]
    assert _verified(held, folder) == (0, True)
    for line in told["lines"]:
        if line["amount_minor"] == 670:
            line["discounts"][0][2] = 68
    held.write(FINALISED, told)
    held.forge()
    code, is_told = _verified(held, folder, "185 minor units are taken off it, by its discounts 186 (TEN 68, FIVE 118)")
    assert (code, is_told) == (1, True)


def _verified(held: Held, folder: Path, words: str = "is proved") -> tuple[int, bool]:
    for name, content in held.files.items():
        (folder / name).write_bytes(content)
    command = [sys.executable, "-I", "-S", "verify.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, words in done.stdout


def assert_refused(connection: psycopg.Connection) -> None:
    """A line has each discount once, and no more than was taken off it."""
    added = (
        "INSERT INTO billing_invoicelinediscount (line_id, stripe_discount_id, coupon, amount_minor)"
        " SELECT line_id, {}, coupon, 1 FROM billing_invoicelinediscount LIMIT 1"
    )
    for what, rule in (("stripe_discount_id", "billing_linediscount_once"), ("'di'", "billing_linediscount_adds_up")):
        with pytest.raises(errors.IntegrityError) as refused, connection.transaction():
            connection.execute(added.format(what).encode())
        assert refused.value.diag.constraint_name == rule
