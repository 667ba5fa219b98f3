"""One month of five customers, from the first event to the reconciled invoice, in figures worked out beforehand."""

from datetime import timedelta

from billing.reconciliation.operations import reconcile
from ledger import queries as ledger
from tests.scenarios.thread import (
    EVENTS,
    MONTH_END,
    MONTH_START,
    NEXT_MONTH_END,
    RECONCILED_TO,
    SOON,
    UNDISTURBED,
    MainThread,
)


def run_month(thread: MainThread) -> None:
    thread.replace_card_of("declined", "pm_card_chargeCustomerFail")
    thread.use()
    thread.end_month()
    thread.settle()


def test_a_month_ends_at_the_figures_written_beforehand(thread: MainThread) -> None:
    run_month(thread)

    assert thread.figures() == UNDISTURBED
    assert ledger.out_of_balance() == []
    run = reconcile(range_start=MONTH_START, range_end=RECONCILED_TO, now=RECONCILED_TO, actor="service:scenario")
    assert [str(found) for found in run.discrepancies.all()] == []
    assert run.checked > EVENTS


def test_an_event_after_the_close_is_billed_on_the_next_invoice_and_says_so(thread: MainThread) -> None:
    run_month(thread)
    late = {**thread.events()[2], "id": "late", "time": (MONTH_END - timedelta(minutes=30)).isoformat()}

    assert thread.send([late])["accepted"] == 1
    thread.aggregate()
    thread.sandbox.advance(NEXT_MONTH_END + SOON)
    thread.settle()

    # Two million more opus tokens in and one out: 35.00, nothing left of allowance and grant.
    late_lines = [line for line in thread.lines_at_stripe("grant") if "late" in line[0].lower()]
    assert sorted(amount for _, amount in late_lines) == [1000, 2500]
    end = NEXT_MONTH_END + 2 * SOON
    run = reconcile(range_start=MONTH_START, range_end=end, now=end, actor="service:scenario")
    assert [str(found) for found in run.discrepancies.all()] == []
