"""
What a change is said to cost before it is made: by us, by Stripe, and then on the invoice, line by line.

Recorded facts of the real Stripe go through this preview: 1 → 3 of 1000 with 1/400 of the month left is −3 and +7.
"""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.catalog.models import PlanVersion
from billing.invoicing.models import Invoice
from billing.reconciliation.comparison import Scope
from billing.reconciliation.subscription_checks import changes_invoiced
from billing.subscriptions import comparing, previews
from billing.subscriptions.change_models import ChangePreview
from billing.subscriptions.end_previews import preview_end
from billing.subscriptions.errors import ChangeRefused
from billing.subscriptions.models import Subscription
from billing.subscriptions.opening import Item
from billing.subscriptions.operations import change_terms, create_subscription
from billing.subscriptions.proration import Rounding, line_minor
from tests.billing.accounting.stripe_story import post
from tests.billing.subscriptions.lives import (
    ACTOR,
    NOVEMBER,
    OCT_11,
    OCT_16_NOON,
    advance,
    now_of,
    said,
    started,
)
from tests.billing.subscriptions.test_terms_at_stripe import TIERS, version_of
from tests.billing.thread import Thread
from tests.factories import CustomerFactory, PlanFactory, PlanVersionFactory

LAST_400TH = datetime(2026, 10, 31, 22, 8, 24, tzinfo=UTC)
SHARED = Path(__file__).resolve().parents[4] / "shared/data"


def amounts(preview: ChangePreview, source: str) -> list[tuple[bool, int]]:
    lines = preview.lines.filter(source=source).order_by("position")
    return [(line.is_proration, line.amount_minor) for line in lines]


def preview_of(thread: Thread, subscription: Subscription, version: PlanVersion, **terms: Any) -> ChangePreview:
    asked: dict[str, Any] = {"seats": 1, "actor": ACTOR, "now": now_of(thread)} | terms
    return previews.preview_change(subscription_id=subscription.pk, plan_version=version, **asked)


def fresh(previews_made: list[ChangePreview]) -> list[ChangePreview]:
    return [ChangePreview.objects.get(pk=one.pk) for one in previews_made]


@pytest.mark.usefixtures("committed_db")
class TestThroughTheSandbox:
    def test_recorded_from_one_to_three_of_1000_is_minus_3_and_plus_7(self, thread: Thread) -> None:
        plan = version_of("thousand", fee_minor=1000)
        subscription = started(thread, plan)
        thread.sandbox.advance(LAST_400TH)

        preview = preview_of(thread, subscription, plan, seats=3)

        assert amounts(preview, "ours") == [(True, -3), (True, 7), (False, 3000)]
        assert amounts(preview, "stripe") == amounts(preview, "ours")

    def test_the_fee_is_seen_behind_more_lines_than_stripe_shows_at_once(self, thread: Thread) -> None:
        """What waits for an invoice comes first on a preview, and that carries the first lines only: its fee is on
        their next page (https://github.com/stripe/stripe-dotnet/issues/381)."""
        plan = version_of("thousand", fee_minor=1000)
        subscription = started(thread, plan)
        [theirs] = thread.sandbox.state()["subscription"]
        for number in range(12):
            waiting = {"customer": theirs["customer"], "subscription": theirs["id"], "currency": "usd"}
            post("/v1/invoiceitems", amount=100, description=f"by hand {number}", **waiting)

        preview = preview_of(thread, subscription, plan, seats=3, from_next_period=True)

        assert amounts(preview, "stripe") == amounts(preview, "ours") == [(False, 3000)]

    def test_recorded_halves_are_floored_on_both_sides(self, thread: Thread) -> None:
        """−2.5 → −3 and +4.5 → +4."""
        old, new = version_of("thousand", fee_minor=1000), version_of("more", fee_minor=1800)
        subscription = started(thread, old)
        thread.sandbox.advance(LAST_400TH)

        preview = preview_of(thread, subscription, new)

        assert amounts(preview, "ours") == amounts(preview, "stripe") == [(True, -3), (True, 4), (False, 1800)]

    def test_all_three_agree_and_it_is_written_down_once(self, thread: Thread) -> None:
        """Half of October is left: −10.00, +30.00; a second change credits what the first one billed."""
        large = version_of("large", fee_minor=6000)
        boost = version_of("boost", is_add_on=True, fee_minor=777)
        subscription = started(thread)
        advance(thread, OCT_16_NOON)
        first = preview_of(thread, subscription, large)
        assert amounts(first, "ours")[:2] == [(True, -1000), (True, 3000)]
        thread.sandbox.advance(OCT_16_NOON + timedelta(minutes=3))
        change_terms(**said(thread, subscription), plan_version=large, seats=1, preview=first)
        thread.sandbox.advance(OCT_16_NOON + timedelta(days=4, seconds=7))
        second = preview_of(thread, subscription, large, seats=3, add_ons=[(boost, 2)])
        change_terms(
            **said(thread, subscription, "again"), plan_version=large, seats=3, add_ons=[(boost, 2)], preview=second
        )
        advance(thread, NOVEMBER)
        assert comparing.compare_due(now=NOVEMBER, limit=10) == 2
        assert comparing.compare_due(now=NOVEMBER, limit=10) == 0

        for preview in (first, second):
            assert comparing.differences(comparing.rows_of(preview), "USD") == []
            assert amounts(preview, "invoiced") == [one for one in amounts(preview, "ours") if one[0]]
            assert preview.outcome.differences == []
        start = subscription.periods.order_by("starts_at")[1].starts_at
        assert start == first.effective_at == OCT_16_NOON
        pairs = list(changes_invoiced(Scope(OCT_11, NOVEMBER)))
        assert len(pairs) > 6
        assert all(pair.agrees for pair in pairs)  # type: ignore[union-attr]

    def test_who_waits_a_year_or_is_refused_holds_up_no_other(self, thread: Thread) -> None:
        """Ada pays by the year; Stripe does not find Bob's invoice for a while. No more than `limit` are looked at."""
        bob, cas = thread.subscribe("bob"), thread.subscribe("cas")
        yearly, large = version_of("yearly", fee_minor=9000, interval="year"), version_of("large", fee_minor=6000)
        subscriptions = [started(thread, yearly), bob, cas]
        advance(thread, OCT_16_NOON)
        made = []
        for number, subscription in enumerate(subscriptions):
            terms: dict[str, Any] = {"plan_version": yearly, "seats": 2} if not number else {"plan_version": large}
            terms = {"seats": 1} | terms
            version = terms.pop("plan_version")
            preview = preview_of(thread, subscription, version, **terms)
            change_terms(**said(thread, subscription, f"{number}"), plan_version=version, preview=preview, **terms)
            made.append(preview)
        advance(thread, NOVEMBER)
        bobs = Invoice.objects.filter(subscription=subscriptions[1]).latest("finalized_at")
        Invoice.objects.filter(pk=bobs.pk).update(stripe_invoice_id="in_of_nobody")

        assert comparing.compare_due(now=NOVEMBER, limit=2) == 1
        assert [hasattr(one, "outcome") for one in fresh(made)] == [False, False, True]
        Invoice.objects.filter(pk=bobs.pk).update(stripe_invoice_id=bobs.stripe_invoice_id)
        assert comparing.compare_due(now=NOVEMBER, limit=1) == 1
        assert [hasattr(one, "outcome") for one in fresh(made)] == [False, True, True]
        assert comparing.compare_due(now=NOVEMBER, limit=1) == 0

    def test_what_somebody_changes_after_the_preview_is_a_discrepancy(self, thread: Thread) -> None:
        """The invoice item of the proration is made cheaper in the dashboard before it is invoiced."""
        from billing.stripe import gateway

        large = version_of("large", fee_minor=6000)
        subscription = started(thread)
        advance(thread, OCT_16_NOON)
        preview = preview_of(thread, subscription, large)
        change_terms(**said(thread, subscription), plan_version=large, seats=1, preview=preview)
        customer = subscription.customer.stripe_customer_id or Subscription.objects.get().customer.stripe_customer_id
        items = list(gateway.listed("/v1/invoiceitems", customer=customer, pending=True))
        debit = next(item for item in items if item["amount"] > 0)
        gateway.request("delete", f"/v1/invoiceitems/{debit['id']}", {})
        advance(thread, NOVEMBER)
        comparing.compare_due(now=NOVEMBER, limit=10)

        said_of_it = preview.outcome.differences
        assert len(said_of_it) == 1
        assert "30.00" in said_of_it[0]
        assert [pair.right for pair in changes_invoiced(Scope(OCT_11, NOVEMBER)) if not pair.agrees] == [0]  # type: ignore[union-attr]

    def test_a_preview_is_of_one_change_and_of_its_moment(self, thread: Thread) -> None:
        large = version_of("large", fee_minor=6000)
        subscription = started(thread)
        thread.sandbox.advance(OCT_16_NOON)
        preview = preview_of(thread, subscription, large)
        with pytest.raises(ChangeRefused, match="another change"):
            change_terms(**said(thread, subscription), plan_version=large, seats=2, preview=preview)
        thread.sandbox.advance(OCT_16_NOON + timedelta(hours=1))
        with pytest.raises(ChangeRefused, match="preview this change again"):
            change_terms(**said(thread, subscription), plan_version=large, seats=1, preview=preview)

    def test_a_fee_by_tiers_is_credited_line_by_line(self, thread: Thread) -> None:
        tiers = version_of("tiers", fee_minor=0, fee_tiers=TIERS, max_seats=50)
        subscription = started(thread, tiers, seats=5)
        thread.sandbox.advance(OCT_11 + timedelta(seconds=1))

        preview = preview_of(thread, subscription, tiers, seats=7)

        # Stripe has a line of nothing for a tier without a flat amount.
        ours, stripes = ([one for one in amounts(preview, of) if one[1]] for of in ("ours", "stripe"))
        assert ours == stripes
        assert len([one for one in ours if one[1] < 0]) == 3

    def test_a_calendar_s_first_part_is_prorated_across_the_change_of_clocks(self, thread: Thread) -> None:
        """Paris turns its clocks on 25 October; Stripe keeps the hour of winter, and bills a part of October."""
        paris = version_of("paris", alignment="calendar", time_zone="Europe/Paris", fee_minor=9999)
        subscription = started(thread, paris)
        thread.sandbox.advance(datetime(2026, 10, 26, 7, 8, 9, tzinfo=UTC))

        preview = preview_of(thread, subscription, paris, seats=3)

        assert amounts(preview, "ours") == amounts(preview, "stripe")

    def test_from_the_next_period_on_only_its_fee_changes(self, thread: Thread) -> None:
        large = version_of("large", fee_minor=6000)
        subscription = started(thread)

        preview = preview_of(thread, subscription, large, seats=2, from_next_period=True)

        assert amounts(preview, "ours") == amounts(preview, "stripe") == [(False, 12000)]
        assert preview.effective_at == NOVEMBER

    def test_a_cancellation_now_gives_back_half_of_the_month(self, thread: Thread) -> None:
        subscription = started(thread)
        thread.sandbox.advance(OCT_16_NOON)
        end = preview_end(subscription_id=subscription.pk, how="now", prorate=True, actor=ACTOR, now=now_of(thread))
        preview = end.preview

        assert amounts(preview, "ours") == amounts(preview, "stripe") == [(True, -1000)]

    def test_preview_equals_invoice_over_random_changes(self, thread: Thread) -> None:
        """Seats up and down, other plans, add-ons that come and go, at odd seconds: all three say the same."""
        import random

        chance = random.Random(7)
        plans = [version_of(f"plan{fee}", fee_minor=fee) for fee in (999, 4001, 12_345)]
        boost = version_of("boost", is_add_on=True, fee_minor=333)
        subscription = started(thread, plans[0], seats=2)
        at = now_of(thread)
        made = []
        for number in range(4):
            at += timedelta(seconds=chance.randint(1, 6 * 86_400))
            thread.sandbox.advance(at)
            terms: dict[str, Any] = {"seats": chance.randint(1, 9)}
            terms["add_ons"] = [(boost, chance.randint(1, 3))] if chance.random() < 0.5 else []
            plan = chance.choice(plans)
            preview = preview_of(thread, subscription, plan, **terms)
            assert comparing.differences(comparing.rows_of(preview), "USD") == []
            change_terms(**said(thread, subscription, str(number)), plan_version=plan, preview=preview, **terms)
            made.append(preview)
        advance(thread, NOVEMBER)
        comparing.compare_due(now=NOVEMBER, limit=10)

        assert [one.outcome.differences for one in made] == [[]] * 4


@pytest.mark.django_db
@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is absent: recorded prorations are not checked")
class TestWhatOthersRecorded:
    def test_the_real_invoice_of_a_change_of_quantity(self) -> None:
        """Fee and instants of the recorded bodies go through `our_amounts`; the lines are the recorded ones."""
        folder = SHARED / "real-stripe"
        invoice = json.loads((folder / "invoice_quantity_change.json").read_text())
        theirs = json.loads((folder / "subscription_after_quantity_change.json").read_text())
        item = theirs["items"]["data"][0]
        start = datetime.fromtimestamp(item["current_period_start"], tz=UTC)
        plan = PlanVersionFactory(fee_minor=item["price"]["unit_amount"])
        PlanVersion.objects.filter(pk=plan.pk).update(stripe_price_id=item["price"]["id"])
        plan.refresh_from_db()
        subscription = create_subscription(
            customer=CustomerFactory(), plan_version=plan, seats=1, starts_at=start, actor=ACTOR
        )
        recorded = previews.amounts_of(
            invoice["lines"]["data"],
            at=datetime.fromtimestamp(invoice["lines"]["data"][0]["period"]["start"], tz=UTC),
        )

        ours = previews.our_amounts(
            subscription,
            [Item(plan, item["quantity"])],
            latest=subscription.periods.get(),
            at=datetime.fromtimestamp(invoice["lines"]["data"][0]["period"]["start"], tz=UTC),
        )

        assert [one.amount_minor for one in recorded if one.is_proration] == [-3, 7]
        assert [one.amount_minor for one in ours if one.is_proration] == [-3, 7]

    def test_the_cases_of_proration_of_others(self) -> None:
        """Each that counts by the second in whole minor units, through the preview; others round half up, so ±1."""
        cases = json.loads((SHARED / "cases" / "cases.json").read_text())["cases"]
        fitting = [
            case
            for case in cases
            if case.get("calc") == "proration"
            and case["input"].get("granularity") == "second"
            and not case["input"].get("new_starts_fresh")
            and {*case["input"]} <= {
                "old_price", "new_price", "period_start", "period_end", "change_at", "granularity", "new_starts_fresh",
            }
        ]  # fmt: skip
        assert fitting
        for number, case in enumerate(fitting):
            given_case, expected = case["input"], case["expected"]
            ours = self._through_preview(f"case-{number}", given_case)
            assert abs(-ours[0] - int(Decimal(expected["credit"]))) <= 1, case["id"]
            assert abs(ours[1] - int(Decimal(expected["debit"]))) <= 1, case["id"]

    def _through_preview(self, code: str, case: dict[str, str]) -> list[int]:
        start, at = (datetime.fromisoformat(case[name]).replace(tzinfo=UTC) for name in ("period_start", "change_at"))
        old, new = (
            PlanVersionFactory(plan=PlanFactory(code=f"{code}-{name}"), fee_minor=int(case[f"{name}_price"]))
            for name in ("old", "new")
        )
        for version in (old, new):
            PlanVersion.objects.filter(pk=version.pk).update(stripe_price_id=f"{code}-{version.pk}")
            version.refresh_from_db()
        subscription = create_subscription(
            customer=CustomerFactory(), plan_version=old, seats=1, starts_at=start, actor=ACTOR
        )
        found = previews.our_amounts(subscription, [Item(new, 1)], latest=subscription.periods.get(), at=at)
        return [one.amount_minor for one in found if one.is_proration]


@pytest.mark.django_db
def test_half_of_a_february_is_half() -> None:
    february = datetime(2027, 2, 1, tzinfo=UTC)
    plan = PlanVersionFactory(fee_minor=2801)
    PlanVersion.objects.filter(pk=plan.pk).update(stripe_price_id="plan")
    plan.refresh_from_db()
    subscription = create_subscription(
        customer=CustomerFactory(), plan_version=plan, seats=1, starts_at=february, actor=ACTOR
    )

    ours = previews.our_amounts(
        subscription, [Item(plan, 2)], latest=subscription.periods.get(), at=february + timedelta(days=14)
    )

    assert [one.amount_minor for one in ours] == [-1401, 2801, 5602]


@given(fee=st.integers(0, 10_000_000), left=st.integers(0, 2_678_400), again=st.integers(0, 2_678_400))
@settings(max_examples=60, deadline=None)
def test_what_was_debited_is_never_given_back_more_than_once(fee: int, left: int, again: int) -> None:
    """A debit for the rest, and its credit later: at most a unit is lost to the floor, and none is won."""
    from fractions import Fraction

    whole = 2_678_400
    later = min(left, again)
    debit = line_minor(fee, Fraction(left, whole), rounding=Rounding.STRIPE)
    credit = -line_minor(-debit, Fraction(later, left) if left else Fraction(0), rounding=Rounding.STRIPE)
    assert 0 <= credit <= debit
