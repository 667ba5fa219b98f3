"""
Renewals that are heard of in another order than Stripe made them: after the end, before the one that came first, or
never. No period has a gap and usage is billed once. Figures worked out by hand; 1,000,000 tokens are 3.00.
"""

from datetime import UTC, datetime, timedelta

import pytest

from billing.stripe import gateway
from config import clock
from tests.billing.invoicing.ordering import carry_out_all
from tests.billing.subscriptions.lives import (
    DECEMBER,
    NOVEMBER,
    OCT_11,
    invoices,
    spans,
    started,
)
from tests.billing.subscriptions.test_moved_unheard import lose, require_gapless
from tests.billing.thread import Thread, post_event

pytestmark = pytest.mark.usefixtures("committed_db")
OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)


def unheard(thread: Thread, to: datetime) -> list[dict[str, object]]:
    """Time passes at Stripe and here, and what Stripe tells of it is on its way."""
    thread.advance_our_clock_to(to)
    thread.sandbox.advance(to)
    return lose(thread, "")


def hear(events: list[dict[str, object]], beginning: str = "") -> None:
    for event in events:
        if str(event["type"]).startswith(beginning):
            assert post_event(event).status_code == 200


def test_a_renewal_heard_of_after_the_end_within_its_hour(thread: Thread) -> None:
    """Ended at 00:30, while Stripe's renewal is a draft: what was used since midnight goes onto the closing invoice."""
    subscription = started(thread)
    thread.settle()
    thread.use(1_000_000, at=OCT_11)
    renewed = unheard(thread, NOVEMBER)
    thread.use(2_000_000, at=NOVEMBER + timedelta(minutes=10))
    renewed += unheard(thread, NOVEMBER + timedelta(minutes=30))
    gateway.request("delete", f"/v1/subscriptions/{subscription.stripe_subscription_id}")
    hear(lose(thread, "customer.subscription.deleted"))
    thread.settle()
    hear(renewed)
    carry_out_all(thread)

    rows = list(subscription.periods.order_by("starts_at").values_list("starts_at", "ends_at", "state"))
    assert rows == [
        (OCTOBER, NOVEMBER, "closed"), (NOVEMBER, NOVEMBER + timedelta(minutes=30), "closed"),
    ]  # fmt: skip
    assert invoices()[1:] == [("paid", [("fee", 2000), ("usage", 300)]), ("paid", [("usage", 600)])]
    assert thread.unfinished() == []


def test_a_renewal_heard_of_before_the_one_before_it(thread: Thread, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Of November's no event comes, and Stripe lists it late: it is asked for, and both follow in their order without a
    person. Stripe finalised November's by itself, so its usage goes onto December's.
    """
    monkeypatch.setattr(clock, "now", lambda: thread.now)  # what arrives waits four days from then
    subscription = started(thread)
    thread.settle()
    thread.use(1_000_000, at=OCT_11)
    thread.sandbox.fault(mode="lagging_lists", operation="GET /v1/invoices$", seconds=40 * 86_400, times=1)
    november = unheard(thread, NOVEMBER)
    thread.use(2_000_000, at=NOVEMBER + timedelta(days=1))
    november += unheard(thread, NOVEMBER + timedelta(days=2))
    hear(unheard(thread, DECEMBER))
    thread.aggregate()
    for why in ("its period of 2026-11-01 00:00:00 is missing", "not known here yet and asked for now"):
        thread.now += timedelta(minutes=20)
        thread._project()
        assert [why in error for kind, _, error in thread.unfinished() if kind == "invoice.created"] == [True]
        assert spans(subscription) == [("10-01 00", "11-01 00", "regular")]
    thread.settle()

    assert spans(subscription)[1:] == [("11-01 00", "12-01 00", "regular"), ("12-01 00", "01-01 00", "regular")]
    assert invoices()[1:] == [("paid", [("fee", 2000)]), ("paid", [("fee", 2000), ("usage", 300), ("usage", 600)])]
    assert thread.unfinished() == []
    before = invoices()
    hear(november)  # its payment among them
    thread.settle()
    assert (invoices(), thread.balances().get("receivable"), thread.unfinished()) == (before, None, [])
    require_gapless(subscription)
