"""Faults planted behind everybody's back, each undone again, so that one month lived through serves them all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tests.plugin import admin_url


@dataclass(frozen=True, slots=True)
class Fault:
    """One change of one table by SQL that no trigger sees, and what has to be named."""

    name: str
    table: str
    statement: str
    # The check that names the place, and what its first discrepancy says of it.
    check: str
    subject: str
    left: str
    right: str
    # Checks that part as well, because they look at the same figure from the other side.
    followers: frozenset[str] = frozenset()


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    """Keep a copy of the table, carry out the statement, and put every row back at the end."""
    table, kept = sql.Identifier(fault.table), sql.Identifier("kept_rows")
    with psycopg.connect(admin_url(os.environ["DATABASE_URL"].rsplit("/", 1)[1])) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute(sql.SQL("CREATE TEMPORARY TABLE {} AS TABLE {}").format(kept, table))
        changed = superuser.execute(fault.statement.encode())
        assert changed.rowcount == 1, f"{fault.name} changed {changed.rowcount} rows"
        superuser.commit()
        try:
            yield
        finally:
            superuser.execute(sql.SQL("DELETE FROM {}").format(table))
            columns = _written_columns(superuser, fault.table)
            superuser.execute(
                sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}").format(
                    table, columns, columns, kept
                )
            )
            superuser.commit()


def _written_columns(connection: psycopg.Connection, table: str) -> sql.Composed:
    """The columns of a table that are not computed from others."""
    rows = connection.execute(
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER'",
        [table],
    )
    return sql.SQL(", ").join(sql.Identifier(row[0]) for row in rows)


FAULTS = (
    Fault(
        "a raw event says another number",
        "metering_event",
        "UPDATE metering_event SET data = jsonb_set(data, '{input_tokens}', '1234568') WHERE event_id = 'event-1'",
        check="events_windows",
        subject="window 2026-10-10T12:00Z input_tokens claude-sonnet-5",
        left="1234568 from 1 events",
        right="1234567 from 1 events",
    ),
    Fault(
        "a raw event is gone",
        "metering_event",
        "DELETE FROM metering_event WHERE event_id = 'event-1'",
        check="events_windows",
        subject="window 2026-10-10T12:00Z input_tokens claude-sonnet-5",
        left="none",
        right="1234567 from 1 events",
    ),
    Fault(
        "a window says another number",
        "metering_window",
        "UPDATE metering_window SET quantity = quantity + 1 WHERE quantity = 1234567",
        check="events_windows",
        subject="window 2026-10-10T12:00Z input_tokens claude-sonnet-5",
        left="1234567 from 1 events",
        right="1234568 from 1 events",
        followers=frozenset({"windows_rated"}),
    ),
    Fault(
        "an accrual counted another quantity",
        "billing_usageaccrualline",
        "UPDATE billing_usageaccrualline SET quantity = quantity - 1",
        check="windows_rated",
        subject="input_tokens claude-sonnet-5: quantity",
        left="1234567",
        right="1234566",
    ),
    Fault(
        "an accrual was priced wrongly",
        "billing_usageaccrualline",
        "UPDATE billing_usageaccrualline SET rated = rated + 1, unbilled = unbilled + 1",
        check="windows_rated",
        subject="input_tokens claude-sonnet-5: amount",
        left="3.703701",
        right="4.703701",
        followers=frozenset({"rated_funded", "unbilled_invoiced"}),
    ),
    Fault(
        "a grant paid another amount than was drawn from it",
        "billing_grantdrawdown",
        "UPDATE billing_grantdrawdown SET amount = amount - 0.01",
        check="rated_funded",
        subject="accrual 1 of period",
        left="1",
        right="0.99",
    ),
    Fault(
        "an allowance was not used",
        "billing_periodallowance",
        "INSERT INTO billing_periodallowance (period_id, position, code, name, measure, amount, each_dimension, covers)"
        " SELECT id, 9, 'forgotten', 'Forgotten', 'money', 1, '', '[]'"
        " FROM billing_billingperiod WHERE state = 'closed'",
        check="rated_funded",
        subject="allowance used, forgotten",
        left="1",
        right="0",
    ),
    Fault(
        "a posting says another amount than its accrual",
        "ledger_posting",
        "UPDATE ledger_posting SET amount = amount + 1 WHERE account_id = (SELECT id FROM ledger_account"
        " WHERE code = 'revenue:usage:USD')",
        check="rated_ledger",
        subject="accrual 1 of period",
        left="3.703701",
        right="2.703701",
        followers=frozenset({"ledger_balanced"}),
    ),
    Fault(
        "an accrual lost its journal entry",
        "billing_usageaccrual",
        "UPDATE billing_usageaccrual SET journal_entry_id = NULL",
        check="rated_ledger",
        subject="accrual 1 of period",
        left="3.703701",
        right="0",
    ),
    Fault(
        "a usage line is gone",
        "billing_invoiceline",
        "DELETE FROM billing_invoiceline WHERE kind = 'usage'",
        check="unbilled_invoiced",
        subject="input_tokens claude-sonnet-5",
        left="2.703701",
        right="0",
        followers=frozenset({"line_rounding", "ledger_stripe_invoices"}),
    ),
    Fault(
        "a usage line was rounded up",
        "billing_invoiceline",
        "UPDATE billing_invoiceline SET amount_minor = amount_minor + 1 WHERE kind = 'usage'",
        check="line_rounding",
        subject=": amount",
        left="270",
        right="271",
        followers=frozenset({"ledger_stripe_invoices"}),
    ),
    Fault(
        "a usage line states another rounding",
        "billing_invoiceline",
        "UPDATE billing_invoiceline SET rounding = rounding + 0.001 WHERE kind = 'usage'",
        check="line_rounding",
        subject=": rounding",
        left="-0.003701",
        right="-0.002701",
    ),
    Fault(
        "a fee line claims a tax that nobody was asked for",
        "billing_invoiceline",
        "UPDATE billing_invoiceline SET exclusive_tax_minor = 7 WHERE kind = 'fee' AND position > 1",
        check="invoice_accounts",
        subject="tax:payable in USD",
        left="0.07",
        right="0",
    ),
    Fault(
        "an invoice states a credit note that is not there",
        "billing_invoice",
        "UPDATE billing_invoice SET credited_before_payment_minor = 7 WHERE billing_reason = 'subscription_cycle'",
        check="invoice_accounts",
        subject=": credited before payment",
        left="0.07",
        right="0",
        followers=frozenset({"ledger_stripe_invoices"}),
    ),
    Fault(
        "a webhook never arrived",
        "billing_inboxevent",
        "DELETE FROM billing_inboxevent WHERE event_id = (SELECT event_id FROM billing_inboxevent"
        " WHERE type = 'invoice.paid' ORDER BY stripe_created_at DESC LIMIT 1)",
        check="events_inbox",
        subject="evt_",
        left="invoice.paid of in_",
        right="none",
    ),
    Fault(
        "an event was set aside",
        "billing_inboxevent",
        "UPDATE billing_inboxevent SET state = 'dead', error = 'LedgerError: no' WHERE event_id = (SELECT event_id"
        " FROM billing_inboxevent WHERE type = 'invoice.paid' ORDER BY stripe_created_at DESC LIMIT 1)",
        check="events_inbox",
        subject="evt_",
        left="invoice.paid of in_",
        right="dead, not done",
    ),
    Fault(
        "an invoice has another status",
        "billing_invoice",
        "UPDATE billing_invoice SET status = 'open' WHERE billing_reason = 'subscription_cycle'",
        check="ledger_stripe_invoices",
        subject=": status",
        left="paid",
        right="open",
    ),
    Fault(
        "a movement was entered with another fee",
        "billing_balancetransaction",
        "UPDATE billing_balancetransaction SET fee_minor = fee_minor + 1 WHERE amount_minor = 2270",
        check="stripe_balance",
        subject=": fee",
        left="96",
        right="97",
    ),
    Fault(
        "a balance moved without a posting",
        "ledger_account",
        "UPDATE ledger_account SET balance = balance + 1 WHERE code = 'receivable:ada:USD'",
        check="ledger_balanced",
        subject="receivable:ada:USD",
        left="1",
        right="0",
    ),
    Fault(
        "a payment has another amount",
        "billing_payment",
        "UPDATE billing_payment SET amount_minor = amount_minor + 1 WHERE amount_minor = 2270",
        check="identity",
        subject="payments of ada",
        left="42.71",
        right="42.7",
    ),
    Fault(
        "an invoice is written off in our rows only",
        "billing_invoice",
        "UPDATE billing_invoice SET written_off_minor = 1 WHERE total_minor = 2270",
        check="identity",
        subject="bad debt of ada",
        left="0.01",
        right="0",
    ),
    Fault(
        "a payment was entered for another charge",
        "ledger_journalentry",
        "UPDATE ledger_journalentry SET cause = jsonb_set(cause, '{charge}', '\"ch_other\"') WHERE id ="
        " (SELECT min(id) FROM ledger_journalentry WHERE kind = 'payment_succeeded')",
        check="clearing_accounts",
        subject="account stripe:in_transit:USD: ch_",
        left="0",
        right="",
    ),
    Fault(
        "a payout that Stripe never made",
        "billing_payout",
        "INSERT INTO billing_payout (stripe_payout_id, status, amount_minor, currency, is_automatic, failure_code,"
        " failure_message, trace_id, statement_descriptor, occurred_at, expected_at, projected_at) VALUES ('po_ours',"
        " 'paid', 100, 'USD', false, '', '', '', '', '2026-10-15Z', '2026-10-17Z', '2026-10-17Z')",
        check="stripe_money",
        subject="payout po_ours",
        left="none",
        right="paid",
    ),
    Fault(
        "the bank has money of Stripe's that is no payout",
        "billing_bankline",
        "INSERT INTO billing_bankline (account_id, statement_id, line_number, booked_on, amount_minor, currency,"
        " reference, bank_id, identity, number) SELECT account_id, id, 3, '2026-10-06', 500, 'USD', 'STRIPE PAYOUT',"
        " '', 'x', 1 FROM billing_bankstatement",
        check="bank_lines",
        subject="of Main, 2026-10-06",
        left="5",
        right="none",
    ),
    Fault(
        "usage of nobody",
        "metering_subject",
        "INSERT INTO metering_subject (customer_key) VALUES ('nobody')",
        check="orphans",
        subject="metering subjects of nobody",
        left="1",
        right="0",
    ),
    Fault(
        "a payment no longer says which invoice it paid",
        "ledger_journalentry",
        "UPDATE ledger_journalentry SET cause = cause - 'invoice'"
        " WHERE id = (SELECT max(id) FROM ledger_journalentry WHERE kind = 'payment_succeeded')",
        check="receivable_invoices",
        subject="no invoice named",
        left="0",
        right="-22.7",
    ),
)
