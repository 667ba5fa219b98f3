"""
The worker dies after each named step of a close; started again, it ends at the figures of an undisturbed month.

The worker is stopped at the step by the sandbox, which holds the request that follows it (or holds the answer, when
Stripe has done it and we do not know yet). The step before is committed by then, and the kill comes in between.
"""

import pytest

from tests.sandbox.core.faults import RequestMode
from tests.scenarios.thread import UNDISTURBED, MainThread

STEPS: dict[str, tuple[RequestMode, str]] = {
    "accrued": ("hold_before", r"POST /v1/invoices/[^/]+/add_lines"),
    "items pushed, answer lost": ("hold_after", r"POST /v1/invoices/[^/]+/add_lines"),
    "items pushed": ("hold_before", r"GET /v1/invoices/[^/]+$"),
    "verified": ("hold_before", r"POST /v1/invoices/[^/]+/finalize"),
    "finalised, answer lost": ("hold_after", r"POST /v1/invoices/[^/]+/finalize"),
    "paid": ("hold_before", r"GET /v1/payment_intents/[^/]+"),
    "projected in part": ("hold_before", r"GET /v1/customers/[^/]+/balance_transactions"),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_worker_ends_at_the_figures_of_an_undisturbed_month(step: str, thread: MainThread) -> None:
    mode, operation = STEPS[step]
    thread.replace_card_of("declined", "pm_card_chargeCustomerFail")
    thread.use()
    thread.sandbox.fault(operation=operation, mode=mode, times=1)
    thread.end_month()
    thread.sandbox.wait_until_held(timeout_seconds=60)

    thread.worker.kill()
    thread.sandbox.release()
    thread.worker.start(thread.environment)
    thread.settle()

    assert thread.figures() == UNDISTURBED
