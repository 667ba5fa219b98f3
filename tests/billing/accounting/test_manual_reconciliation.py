"""Manual entries and reconciliation: no check parts because of one, and what was entered past the form is named."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.reconciliation.comparison import Pair, Scope
from billing.reconciliation.ledger_checks import identity, ledger_balanced, line_rounding, rated_ledger
from billing.reconciliation.manual_entry_checks import manual_entries
from billing.reconciliation.money_checks import clearing_accounts
from ledger.operations import JournalEntryDraft, credit, debit, post_journal_entry
from tests.billing.accounting.people import (
    FIONA,
    MORNING,
    NOON,
    SAM,
    adjust,
    approve,
    hire,
    posted_entry_id,
    reverse,
)
from tests.billing.reconciliation.faults import Fault, planted
from tests.factories import CustomerFactory

LATER = Scope(NOON - timedelta(days=60), NOON + timedelta(days=60))


@pytest.fixture(autouse=True)
def _books(committed_db: None) -> None:
    hire()
    CustomerFactory(customer_key="acme")


def differences(check: object = manual_entries) -> list[Pair]:
    assert callable(check)
    return [finding for finding in check(LATER) if isinstance(finding, Pair) and not finding.agrees]


def unknown_movement(amount: str) -> None:
    """Money that moved at Stripe in a way not known here, and landed in suspense."""
    lines = (debit("stripe:clearing:USD", Decimal(amount)), credit("suspense:USD", Decimal(amount)))
    draft = JournalEntryDraft(
        idempotency_key="balance_transaction:txn_42",
        kind="stripe_unknown",
        lines=lines,
        effective_at=MORNING,
        actor="service:stripe",
        cause={"balance_transaction": "txn_42"},
    )
    post_journal_entry(draft, recorded_at=MORNING)


def test_no_check_of_the_ledger_parts_because_of_manual_entries() -> None:
    adjust("refund_promised", "40")
    approve(adjust("bank_holds_more", "300"))
    reverse(posted_entry_id(adjust("tax_understated", "7")))
    adjust("refund_promise_ended", "40")

    found = [
        each
        for check in (manual_entries, ledger_balanced, identity, line_rounding, rated_ledger, clearing_accounts)
        for each in differences(check)
    ]

    assert found == []


def test_clearing_suspense_ends_the_story_of_the_movement() -> None:
    unknown_movement("30")
    (before,) = differences(clearing_accounts)

    adjust("suspense_was_revenue", "30")

    assert before.subject == "account suspense:USD: txn_42"
    assert differences(clearing_accounts) == []


def test_a_movement_that_was_a_payment_leaves_the_charge_to_be_met() -> None:
    unknown_movement("30")

    adjust("suspense_was_payment", "30")

    (left,) = differences(clearing_accounts)
    assert left.subject == "account stripe:in_transit:USD: ch_42"


def test_a_promise_that_is_neither_sent_nor_ended_is_named_after_a_while() -> None:
    adjust("refund_promised", "40", reference="SUP-1042")

    (left,) = differences(clearing_accounts)

    assert left.subject == "account refund_due:acme:USD: SUP-1042"


def test_an_entry_made_past_the_form_is_named() -> None:
    lines = (debit("bank:USD", Decimal(9)), credit("contra:adjustments:USD", Decimal(9)))
    draft = JournalEntryDraft(
        idempotency_key="mine", kind="manual_adjustment", lines=lines, effective_at=MORNING, actor=FIONA
    )
    entry = post_journal_entry(draft, recorded_at=NOON)

    (found,) = differences()

    assert found.subject == f"journal entry {entry.id} (mine)"
    assert "past the form" in found.explanation


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ("UPDATE billing_manualentry SET amount = 41, alone_total = 41", "amount"),
        ("UPDATE billing_manualentry SET debit_account = 'bank:USD'", "accounts"),
    ],
)
def test_what_was_asked_and_what_was_posted_are_compared(change: str, subject: str) -> None:
    asked = adjust("refund_promised", "40")
    fault = Fault("", "billing_manualentry", change, "", "", "", "")

    with planted(fault):
        (found,) = differences()

    assert found.subject == f"manual entry {asked.pk}: {subject}"


def test_who_passed_the_limit_alone_is_named() -> None:
    adjust("refund_promised", "200")
    adjust("refund_promised", "100", actor=SAM)
    change = "UPDATE billing_manualentry SET requested_by = 'user:fiona' WHERE requested_by = 'user:sam'"

    with planted(Fault("", "billing_manualentry", change, "", "", "", "")):
        (found,) = differences()

    assert (found.subject, found.left) == ("user:fiona alone on 2026-11-10, USD", Decimal(50))
