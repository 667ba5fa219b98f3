"""What somebody with all rights changes in the tables is named by verify_invoice; the rules refuse what they can."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from io import StringIO

import psycopg
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from psycopg import errors

from billing.invoicing.proofs.models import InvoiceProof, InvoiceVerification
from billing.invoicing.proofs.operations import verify_invoice
from billing.reconciliation.comparison import Agreed, Pair, Scope
from billing.reconciliation.proof_checks import invoice_proofs
from metering import operations as metering
from tests.billing import usage
from tests.billing.invoicing.proofs.proving import draft, finalise, invoice_of, proved
from tests.billing.usage import AFTER_OCTOBER, october_of, send
from tests.factories import ACTOR, DECEMBER, NOVEMBER, OCTOBER, CreditGrantFactory

DAY = timedelta(days=1)
# As the owner with every trigger off: what is changed, and what is said of it.
TAMPERING = {
    "an event's value": (
        """UPDATE metering_event SET data = jsonb_set(data, '{input_tokens}', '1000001') WHERE event_id = :event""",
        "event e.* of edge/test .* is not as it was accepted",
    ),
    "an event's time": (
        "UPDATE metering_event SET event_time = event_time + interval '1 minute' WHERE event_id = :event",
        "event e.* is not as it was accepted",
    ),
    "an event away": ("DELETE FROM metering_event WHERE event_id = :event", "window 2026-10-02 .* no event makes it"),
    "a window": ("UPDATE metering_window SET quantity = 1", "the table holds 1 .* the proof 1000000"),
    "a price": ("UPDATE billing_rate SET unit_price = 6", r"rate \d+: unit_price is '6' in the tables, '5' in"),
    "a meter": ("UPDATE metering_meter SET value_path = 'data.x'", "meter input_tokens v1: value_path is 'data.x'"),
    "a drawdown": ("UPDATE billing_grantdrawdown SET amount = 1", r"drawdowns on grant \d+ come to 1 and 0 units"),
    "an accrual": ("UPDATE billing_usageaccrualline SET quantity = 1", "lines of accruals come to"),
    "an allowance": ("UPDATE billing_periodallowance SET amount = 3", "allowances is"),
    "a grant": ("UPDATE promotions_creditgrant SET amount = 3", "amount is '3' in the tables, '2' in the proof"),
    "a line": (
        "UPDATE billing_invoiceline SET amount_minor = 1 WHERE kind = 'usage'",
        r"line \d+: amount_minor is 1 in the tables",
    ),
    "a posting": ("UPDATE ledger_posting SET amount = amount * 2", r"accrual 1: entry \d+ moves"),
    "the total": ("UPDATE billing_invoice SET total_minor = 1", "its total is 1"),
    "the proof's hash": ("UPDATE billing_invoiceproof SET sha256 = repeat('0', 64)", "000 was kept of it"),
    "the proof": ("UPDATE billing_invoiceproof SET packed = substring(packed FROM 1 FOR 9)", "cannot be unpacked"),
}


@pytest.fixture
def proof(committed_db: None) -> InvoiceProof:
    """5 USD of usage, of which 1 is included and 2 are paid by credit."""
    usage.define_token_meters()
    period = october_of("acme", included="1")
    CreditGrantFactory(customer_key="acme", amount=Decimal(2))
    send("acme", OCTOBER + DAY, input_tokens=1_000_000)
    metering.catch_up_windows(now=AFTER_OCTOBER)
    made = proved(period)
    finalise(made.invoice)
    return made


def test_whatever_is_changed_is_named(proof: InvoiceProof, owner_connection: psycopg.Connection) -> None:
    (event,) = owner_connection.execute("SELECT event_id FROM metering_event").fetchone() or ("",)
    for what, (statement, expected) in TAMPERING.items():
        with tampered(owner_connection, statement.replace(":event", f"'{event}'")):
            found = verify_invoice(invoice=proof.invoice, actor=ACTOR, now=AFTER_OCTOBER)

        assert not found.is_proved, what
        assert re.search(expected, "\n".join(found.differences)), (what, found.differences)
    assert verify_invoice(invoice=proof.invoice, actor=ACTOR, now=AFTER_OCTOBER).differences == []


@contextmanager
def tampered(connection: psycopg.Connection, statement: str) -> Iterator[None]:
    """The statement carried out with the table's triggers off, and undone afterwards."""
    found = re.match(r"(?:UPDATE|DELETE FROM) (\w+)(?: SET (\w+) =)?", statement)
    assert found is not None
    table, column = found.groups()
    connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    connection.execute(f"CREATE TABLE before_it AS SELECT * FROM {table}")
    try:
        connection.execute(statement)
        yield
    finally:
        _put_back(connection, table, column)


def _put_back(connection: psycopg.Connection, table: str, column: str) -> None:
    if table == "metering_event":
        connection.execute("DELETE FROM metering_event")
        connection.execute("INSERT INTO metering_event SELECT * FROM before_it")
    else:
        key = "(t.entry_id, t.line_no) = (b.entry_id, b.line_no)" if table == "ledger_posting" else "t.id = b.id"
        connection.execute(f"UPDATE {table} AS t SET {column} = b.{column} FROM before_it AS b WHERE {key}")
    connection.execute("DROP TABLE before_it")
    connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


class TestRules:
    REWRITES = (
        ("UPDATE billing_invoiceproof SET sha256 = repeat('a', 64)", "billing_invoiceproof_append_only"),
        ("DELETE FROM billing_invoiceverification", "billing_invoiceverification_kept"),
        ("DELETE FROM billing_invoiceproof", "billing_invoiceproof_kept"),
        ("TRUNCATE billing_invoiceproof CASCADE", "_kept"),
        ("UPDATE billing_invoiceverification SET is_proved = false", "billing_invoiceverification_append_only"),
        (
            """INSERT INTO billing_invoiceverification (proof_id, verified_at, verified_by, is_proved, event_count,
               differences, difference_count) SELECT id, now(), 'x', true, 0, '[]', 1 FROM billing_invoiceproof""",
            "billing_invoiceverification_says_what",
        ),
    )

    def test_refuse_the_owner(self, proof: InvoiceProof, owner_connection: psycopg.Connection) -> None:
        verify_invoice(invoice=proof.invoice, actor=ACTOR, now=AFTER_OCTOBER)
        for statement, rule in self.REWRITES:
            with pytest.raises(errors.IntegrityError) as refused:
                owner_connection.execute(statement)
            assert rule in (refused.value.diag.constraint_name or ""), statement

    def test_leave_the_application_no_right(self, proof: InvoiceProof, app_connection: psycopg.Connection) -> None:
        for statement, _ in self.REWRITES[:-1]:
            with pytest.raises(errors.InsufficientPrivilege):
                app_connection.execute(statement)

    def test_no_close_is_finished_without_a_proof(self, committed_db: None, app_connection: psycopg.Connection) -> None:
        usage.define_token_meters()
        invoice_of(october_of("acme"))
        for step in ("proved", "finalized"):
            with pytest.raises(errors.IntegrityError) as refused:
                app_connection.execute("UPDATE billing_invoiceclose SET step = %s", [step])
            assert refused.value.diag.constraint_name == "billing_invoiceclose_proved"

    def test_a_proof_made_afterwards_says_so(self, proof: InvoiceProof, app_connection: psycopg.Connection) -> None:
        other = draft(october_of("other"), status="open", finalized_at=NOVEMBER)
        with pytest.raises(errors.IntegrityError) as refused:
            app_connection.execute(
                "INSERT INTO billing_invoiceproof (invoice_id, format, sha256, packed, size_bytes, line_count,"
                " window_count, made_at, made_by, is_afterwards) VALUES (%s, 1, repeat('a', 64), '', 0, 0, 0, now(),"
                " 'x', false)",
                [other.pk],
            )
        assert refused.value.diag.constraint_name == "billing_invoiceproof_before_finalisation"


class TestCommand:
    def run(self, *arguments: str) -> tuple[int, str]:
        out = StringIO()
        try:
            call_command("verify_invoice", *arguments, stdout=out)
        except SystemExit as ended:
            return int(ended.code or 0), out.getvalue()
        return 0, out.getvalue()

    def test_proves_one_and_all_and_names_what_differs(
        self, proof: InvoiceProof, owner_connection: psycopg.Connection
    ) -> None:
        assert self.run(proof.invoice.number) == (
            0,
            f"{proof.invoice} ({proof.invoice.stripe_invoice_id}) is proved; 1 events read.\n",
        )
        assert self.run("--all") == (0, "1 proofs, 0 differ.\n")
        assert self.run("--since", "2027-01-01") == (0, "0 proofs, 0 differ.\n")
        with tampered(owner_connection, "UPDATE billing_rate SET unit_price = 6"):
            code, told = self.run("--all")
        assert code == 1
        assert "unit_price is '6' in the tables" in told
        scope = Scope(OCTOBER, DECEMBER)
        (pair,) = [one for one in invoice_proofs(scope) if isinstance(one, Pair)]
        assert (pair.stripe_id, pair.agrees) == (proof.invoice.stripe_invoice_id, False)

    def test_refuses_bad_input(self, proof: InvoiceProof) -> None:
        for arguments in ([], ["none"], ["--all", "x"], ["--all", "--prove"]):
            with pytest.raises(CommandError) as refused:
                call_command("verify_invoice", *arguments)
            assert refused.value.returncode == 2

    def test_a_run_that_finds_nothing_tells_how_many_agree(self, proof: InvoiceProof) -> None:
        assert list(invoice_proofs(Scope(OCTOBER, DECEMBER))) == [Agreed(1)]
        verify_invoice(invoice=proof.invoice, actor=ACTOR, now=AFTER_OCTOBER)
        assert list(invoice_proofs(Scope(OCTOBER, DECEMBER))) == [Agreed(1)]
        assert InvoiceVerification.objects.get().is_proved
