"""
Ends said before they come, and compared once they have. Figures worked out by hand: 20.00 a month of 31 days, 3.00 for
1,000,000 tokens.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.catalog.models import PlanVersion
from billing.reconciliation.comparison import Scope
from billing.reconciliation.subscription_checks import changes_invoiced
from billing.subscriptions import lifecycle, scheduling
from billing.subscriptions.change_models import EndOutcome, EndPreview
from billing.subscriptions.end_comparing import compare_ends_due
from billing.subscriptions.end_previews import outdated, preview_end
from billing.subscriptions.errors import ChangeRefused
from billing.subscriptions.models import Subscription
from billing.subscriptions.paying_again import what_is_paid_again
from billing.subscriptions.starting import reactivate
from promotions.operations import issue_grant
from tests.billing.invoicing.ordering import carry_out_all
from tests.billing.subscriptions.lives import (
    ACTOR,
    DECEMBER,
    NOVEMBER,
    OCT_11,
    OCT_16_NOON,
    advance,
    invoices,
    now_of,
    said,
    spans,
    started,
)
from tests.billing.thread import Thread

pytestmark = pytest.mark.usefixtures("committed_db")
OCT_20, OCT_25 = datetime(2026, 10, 20, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)


def said_of(thread: Thread, subscription: Subscription, how: str, **terms: object) -> EndPreview:
    asked = {"how": how, "actor": ACTOR, "now": now_of(thread)} | terms
    return preview_end(subscription_id=subscription.pk, **asked)  # type: ignore[arg-type]


def fee(end: EndPreview) -> dict[str, int]:
    sums: dict[str, int] = {}
    for line in end.preview.lines.all():
        sums[line.source] = sums.get(line.source, 0) + line.amount_minor
    return sums


def test_an_end_now_is_said_compared_and_what_it_credits_pays_a_reactivation(thread: Thread) -> None:
    subscription = started(thread)
    issue_grant(
        customer_key="ada", kind="goodwill", name="Sorry", amount=Decimal(1), currency="USD", priority=50,
        effective_at=OCT_11, expires_at=None, reason="r", actor=ACTOR, recorded_at=now_of(thread),
        idempotency_key="g",
    )  # fmt: skip
    thread.use(2_000_000, at=OCT_11)
    advance(thread, OCT_16_NOON)
    plan = PlanVersion.objects.get(plan__code="pro")
    scheduling.schedule(phases=[scheduling.Phase(NOVEMBER, plan, 5)], **said(thread, subscription, "more"))
    first = said_of(thread, subscription, "now", prorate=True)

    assert fee(first) == {"ours": -1000, "stripe": -1000}
    assert (first.rated, first.credited, first.unbilled, first.usage_minor) == (6, 1, 5, 500)
    told = dict(first.consequences)
    assert "is cancelled when it ends" in told["Scheduled change"]
    assert "Not possible" in told["Taking it back"]
    thread.use(1_000_000, at=OCT_16_NOON - timedelta(hours=1))
    thread.aggregate()
    second = said_of(thread, subscription, "now", prorate=True)
    assert (second.usage_minor, outdated(second)) == (800, {})
    assert outdated(first) == {"usage": "Its rated usage was 6, and is 9 now"}  # said, and stops nobody
    with pytest.raises(ChangeRefused, match="another end"):
        lifecycle.cancel(**said(thread, subscription, "no"), prorate=False, preview=second)
    thread.sandbox.advance(OCT_16_NOON + timedelta(minutes=10))
    lifecycle.cancel(**said(thread, subscription, "end"), prorate=True, preview=second)
    thread.settle()
    carry_out_all(thread)
    assert compare_ends_due(now=thread.now, limit=10) == 1
    assert compare_ends_due(now=thread.now, limit=10) == 0

    outcome = EndOutcome.objects.get()
    # 15.5 days less 10 minutes: 9.9955 floored as a credit.
    assert (outcome.fee_minor, outcome.fee_invoiced_minor, outcome.usage_invoiced_minor) == (-1000, -1000, 800)
    assert (outcome.differences, outdated(second)) == ([], {})
    assert all(pair.agrees for pair in changes_invoiced(Scope(OCT_11, NOVEMBER)))  # type: ignore[union-attr]

    ended = Subscription.objects.get()
    paid = what_is_paid_again(ended, now=now_of(thread))
    # The closing invoice took 8.00 of the 10.00 that were credited.
    assert (paid.fee_minor, paid.from_balance_minor, paid.unused_minor) == (2000, 200, 0)
    thread.sandbox.advance(OCT_20)
    reactivate(**said(thread, ended, "again"))
    thread.settle()
    assert thread.balances().get("balance") is None
    assert invoices()[-1] == ("paid", [("fee", 2000)])


def test_an_end_at_a_date_gives_back_what_it_said_and_dates_are_checked(thread: Thread) -> None:
    subscription = started(thread)
    advance(thread, OCT_16_NOON)
    for at, prorate, why in (
        (None, False, "name the date"),
        (OCT_11, False, "not ahead"),
        (NOVEMBER + timedelta(days=3), False, "2026-12-01"),
        (DECEMBER, True, "nothing to give back"),
    ):
        with pytest.raises(ChangeRefused, match=why):
            said_of(thread, subscription, "at", at=at, prorate=prorate)
    assert said_of(thread, subscription, "at", at=DECEMBER).ends_at == DECEMBER
    with_period = said_of(thread, subscription, "period_end")
    assert (with_period.ends_at, fee(with_period)) == (NOVEMBER, {})
    lifecycle.cancel_at_period_end(**said(thread, subscription, "taken back"), preview=with_period)
    lifecycle.undo_cancellation(**said(thread, subscription, "undo"))
    thread.sandbox.advance(OCT_16_NOON + timedelta(minutes=1))
    end = said_of(thread, subscription, "at", at=OCT_25, prorate=True)
    assert fee(end) == {"ours": -452, "stripe": -452}  # 7 of 31 days
    planned = lifecycle.cancel_at_date(**said(thread, subscription), at=OCT_25, prorate=True, preview=end)
    assert planned.cancel_at == OCT_25
    assert "standing" in outdated(end)
    advance(thread, OCT_25)
    advance(thread, OCT_25 + timedelta(hours=2))  # Stripe finalises its last invoice after an hour
    carry_out_all(thread)
    assert compare_ends_due(now=thread.now, limit=10) == 1

    outcome = EndOutcome.objects.get()
    assert (outcome.fee_invoiced_minor, outcome.differences) == (-452, [])
    assert spans(subscription) == [("10-01 00", "10-25 00", "regular")]
    ended = Subscription.objects.get()
    assert what_is_paid_again(ended, now=OCT_25).unused_minor == 0
    assert thread.unfinished() == []


def test_what_was_paid_and_not_given_back_is_named_before_a_reactivation(thread: Thread) -> None:
    subscription = started(thread)
    advance(thread, OCT_16_NOON)
    lifecycle.cancel(**said(thread, subscription), prorate=False)
    thread.settle()

    paid = what_is_paid_again(Subscription.objects.get(), now=now_of(thread))
    assert (paid.fee_minor, paid.from_balance_minor, paid.unused_minor) == (2000, 0, 1000)
    assert paid.unused_until == NOVEMBER
