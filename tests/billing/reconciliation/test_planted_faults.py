"""Every check sees its own fault, at the place where the two sides part, and only those that follow part with it."""

import pytest

from billing.invoicing.models import InvoiceLine
from billing.reconciliation.checks import CHECKS
from tests.billing.reconciliation.faults import FAULTS, Fault, planted
from tests.billing.reconciliation.month import discrepancies, hear_from_the_bank, live_through, reconciled
from tests.billing.thread import Thread


def test_each_fault_is_named_by_its_own_check_where_the_sides_part(thread: Thread, subtests: pytest.Subtests) -> None:
    live_through(thread)
    hear_from_the_bank()
    assert discrepancies(thread) == []

    for fault in FAULTS:
        with subtests.test(fault.name), planted(fault):
            first, *others = discrepancies(thread)

            assert first.check_code == fault.check
            assert fault.subject in first.subject
            assert first.left_value.startswith(fault.left)
            assert first.right_value.startswith(fault.right)
            assert {found.check_code for found in others} <= {fault.check} | fault.followers

    assert discrepancies(thread) == []


def test_a_clean_month_compares_with_every_check(thread: Thread) -> None:
    live_through(thread)

    run = reconciled(thread)

    assert run.discrepancy_count == 0
    assert set(run.checks) == set(CHECKS)
    assert {code for code, result in run.checks.items() if not result["checked"]} == set()
    assert run.checked == sum(result["checked"] for result in run.checks.values())
    assert run.finished_at == thread.now


def test_an_invoice_line_changed_at_stripe_is_named_by_its_id(thread: Thread) -> None:
    live_through(thread)
    line = InvoiceLine.objects.get(kind="usage")
    thread.sandbox.alter(str(line.stripe_line_id), amount=line.amount_minor + 100)

    line_differs, sum_differs = discrepancies(thread)

    assert line_differs.check_code == "ledger_stripe_invoices"
    assert str(line.stripe_line_id) in line_differs.subject
    assert (line_differs.left_value, line_differs.right_value) == ("370", "270")
    assert line_differs.customer_key == "ada"
    assert "sum of lines" in sum_differs.subject


def test_a_customer_balance_moved_at_stripe_is_named(thread: Thread) -> None:
    live_through(thread)
    customer = thread.sandbox.state()["customer"][0]
    thread.sandbox.alter(customer["id"], balance=-500)

    (found,) = discrepancies(thread)

    assert found.check_code == "ledger_stripe_customers"
    assert (found.subject, found.left_value, found.right_value) == ("account balance:ada:USD", "5", "0")


def test_what_follows_from_an_event_that_never_arrived_says_so(thread: Thread) -> None:
    live_through(thread)
    events = thread.sandbox.state()["event"]
    lost = [event for event in events if event["type"] == "invoice.paid"][-1]
    status = next(fault for fault in FAULTS if fault.name == "an invoice has another status")
    webhook = next(fault for fault in FAULTS if fault.name == "a webhook never arrived")

    with planted(webhook), planted(status):
        first, follower = discrepancies(thread)

    assert (first.check_code, first.subject) == ("events_inbox", lost["id"])
    assert follower.check_code == "ledger_stripe_invoices"
    assert follower.explanation.startswith(f"Follows from event {lost['id']} (invoice.paid)")


def test_usage_of_a_model_without_a_price_is_named(thread: Thread) -> None:
    live_through(thread)
    renamed = Fault(
        "a window of a model nobody prices",
        "metering_window",
        """UPDATE metering_window SET dimensions = '{"model": "unheard-of"}' WHERE quantity = 1234567""",
        check="windows_rated",
        subject="input_tokens unheard-of",
        left="1234567",
        right="0",
    )

    with planted(renamed):
        found = [each for each in discrepancies(thread) if renamed.subject in each.subject]

    unpriced = next(each for each in found if each.check_code == renamed.check)
    assert (unpriced.left_value, unpriced.right_value) == (renamed.left, renamed.right)
    assert unpriced.explanation.startswith("No rate applies")
