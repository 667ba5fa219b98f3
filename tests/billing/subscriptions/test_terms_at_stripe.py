# mypy: disable-error-code="comparison-overlap"
# (whole amounts stand beside Decimals)
"""
Trials, add-ons, seats by tiers, calendars and changes of plan, each through the sandbox from the start to a paid
invoice. Every figure was worked out by hand: the plan of these tests costs 20.00 USD, October has 31 days.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.catalog.models import Allowance, Plan, PlanVersion, Rate, RateCard
from billing.catalog.operations import publish_plan_version, sync_catalog_to_stripe
from billing.customers.operations import create_customer
from billing.invoicing.models import Invoice
from billing.stripe import gateway
from billing.subscriptions.models import BillingPeriod, PeriodAllowance, Subscription
from billing.subscriptions.operations import ChangeRefused, change_terms, create_subscription, start_at_stripe
from tests.billing.thread import MODEL, START, Thread, post_event
from tests.factories import OCTOBER, PlanFactory

pytestmark = pytest.mark.usefixtures("committed_db")

ACTOR = "user:tester"
OCT_15, OCT_16_NOON = datetime(2026, 10, 15, tzinfo=UTC), datetime(2026, 10, 16, 12, tzinfo=UTC)
NOVEMBER, DECEMBER = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
TIERS = [
    {"up_to": 2, "unit_minor": 1000, "flat_minor": 0},
    {"up_to": None, "unit_minor": 800, "flat_minor": 500},
]


def version_of(
    code: str, *, allowances: dict[str, Any] | None = None, is_add_on: bool = False, **terms: Any
) -> PlanVersion:
    """A published version that Stripe sells, on the card of the thread's world."""
    plan = Plan.objects.filter(code=code).first() or PlanFactory(code=code, is_add_on=is_add_on)
    bundled = terms.pop("bundled", ())
    number = plan.versions.count() + 1
    version = PlanVersion.objects.create(
        **{
            "plan": plan,
            "version": number,
            "currency": "USD",
            "fee_minor": 2000,
            "rate_card": RateCard.objects.get(code="card"),
        }
        | terms
    )
    for position, (name, values) in enumerate((allowances or {}).items(), start=1):
        Allowance.objects.create(plan_version=version, code=name, name=name, position=position, **values)
    version.bundled.set(bundled)
    publish_plan_version(plan_version_id=version.pk, now=OCTOBER)
    sync_catalog_to_stripe(now=OCTOBER)
    version.refresh_from_db()
    return version


def subscribe(thread: Thread, version: PlanVersion, *, seats: int = 1, **terms: Any) -> Subscription:
    starts_at = datetime.fromtimestamp(thread.sandbox.now(), tz=UTC)
    customer = create_customer(
        customer_key="ada", name="Ada", email="ada@example.com", kind="individual", currency="USD",
        created_at=starts_at, actor=ACTOR,
    )  # fmt: skip
    subscription = create_subscription(
        customer=customer, plan_version=version, seats=seats, starts_at=starts_at, actor=ACTOR, **terms
    )
    return start_at_stripe(subscription_id=subscription.pk, payment_method="pm_card_visa", now=starts_at)


def advance(thread: Thread, to: datetime) -> None:
    thread.advance_our_clock_to(to)
    thread.sandbox.advance(to)
    thread.settle()


def spans(subscription: Subscription) -> list[tuple[str, str, str]]:
    rows = BillingPeriod.objects.filter(subscription=subscription).order_by("starts_at")
    return [(f"{row.starts_at:%m-%d %H}", f"{row.ends_at:%m-%d %H}", row.kind) for row in rows]


def latest_invoice() -> Invoice:
    return Invoice.objects.order_by("-created_at", "-pk")[0]


def lines(invoice: Invoice) -> list[tuple[str, int]]:
    return [
        (line.kind, line.amount_minor) for line in invoice.lines.order_by("kind", "amount_minor") if line.amount_minor
    ]


def test_a_trial_bills_no_usage_and_no_fee_and_turns_into_a_period(thread: Thread) -> None:
    """Polar#11046: a million tokens inside the trial cost nothing, two million after it 6.00 USD."""
    subscription = subscribe(thread, version_of("trial", trial_days=14))
    assert subscription.status == "trialing"
    thread.use(1_000_000, at=OCT_15 - timedelta(seconds=1))
    thread.use(2_000_000, at=OCT_15)
    advance(thread, OCT_15)
    ended = latest_invoice()
    advance(thread, datetime(2026, 11, 15, tzinfo=UTC))

    assert lines(ended) == [("fee", 2000)]
    assert spans(subscription)[:2] == [("10-01 00", "10-15 00", "trial"), ("10-15 00", "11-15 00", "regular")]
    assert lines(latest_invoice()) == [("fee", 2000), ("usage", 600)]
    assert thread.unfinished() == []
    trial = subscription.periods.earliest("starts_at")
    assert (trial.state, trial.allowances.get().amount) == ("closed", None)
    assert trial.accruals.get().included == 3


def test_add_ons_are_items_of_their_own_and_bundled_ones_are_not(thread: Thread) -> None:
    """Plan 20.00, two seats of an add-on of 5.00; the bundled one costs nothing and its allowance counts."""
    bundled = version_of("support", is_add_on=True, fee_minor=900, allowances={"calls": {"amount": Decimal(1)}})
    add_on = version_of("boost", is_add_on=True, fee_minor=500, allowances={"boost": {"amount": Decimal(3)}})
    plan = version_of("team", bundled=[bundled], allowances={"included": {"amount": Decimal(2)}})
    subscription = subscribe(thread, plan, add_ons=[(add_on, 2)])
    thread.use(5_000_000, at=OCT_15)
    advance(thread, NOVEMBER)

    items = gateway.retrieve(f"/v1/subscriptions/{subscription.stripe_subscription_id}")["items"]["data"]
    assert sorted((item["price"]["unit_amount"], item["quantity"]) for item in items) == [(500, 2), (2000, 1)]
    period = subscription.periods.earliest("starts_at")
    assert [(row.code, row.amount) for row in period.allowances.all()] == [
        ("included", 2),
        ("support:calls", 1),
        ("boost:boost", 6),
    ]
    invoice = latest_invoice()
    # 15.00 of usage, 9.00 included.
    assert lines(invoice) == [("fee", 1000), ("fee", 2000), ("usage", 600)]
    assert (invoice.status, thread.unfinished()) == ("paid", [])


def test_seats_by_tiers_are_several_lines_of_one_price(thread: Thread) -> None:
    """Two seats at 10.00, three at 8.00 and 5.00 for having any of them: 49.00."""
    subscription = subscribe(thread, version_of("tiers", fee_minor=0, fee_tiers=TIERS, min_seats=2), seats=5)
    advance(thread, NOVEMBER)

    invoice = latest_invoice()
    assert (invoice.status, invoice.total_minor) == ("paid", 4900)
    assert subscription.periods.count() == 2
    assert thread.unfinished() == []


def test_seats_that_somebody_changed_at_stripe_beyond_the_terms_hold_the_invoice(thread: Thread) -> None:
    subscription = subscribe(thread, version_of("team", min_seats=2, max_seats=5), seats=5)
    stripe_id = subscription.stripe_subscription_id
    item = gateway.retrieve(f"/v1/subscriptions/{stripe_id}")["items"]["data"][0]["id"]
    changed = {"items": [{"id": item, "quantity": 9}], "proration_behavior": "none"}
    gateway.request("post", f"/v1/subscriptions/{stripe_id}", changed)
    thread.settle()
    advance(thread, NOVEMBER)

    invoice = latest_invoice()
    assert (invoice.status, invoice.close.held_reason) == ("draft", "Team v1 is for 2 to 5 seats, not for 9")


def test_months_of_paris_begin_at_its_midnight_and_the_first_is_a_part(thread: Thread) -> None:
    """From 1 October 00:00 UTC: Paris begins November at 23:00 UTC on the 31st, after 30 days and 23 of 31 × 24 h."""
    plan = version_of(
        "paris", alignment="calendar", time_zone="Europe/Paris", allowances={"included": {"amount": Decimal(744)}}
    )
    subscription = subscribe(thread, plan)
    # October has 745 hours in Paris; 743 of them are left two hours after its beginning at 22:00 UTC.
    assert subscription.periods.get().allowances.get().amount == Decimal("742.01")  # 742.0026…, rounded up
    advance(thread, datetime(2026, 10, 31, 23, tzinfo=UTC))
    assert lines(latest_invoice()) == [("fee", 2000)]
    for year, month in ((2026, 12), (2027, 1), (2027, 2), (2027, 3), (2027, 4), (2027, 5)):
        # Stripe keeps the hour that is midnight in winter.
        advance(thread, datetime(year, month, 1, tzinfo=UTC) - timedelta(hours=1))

    assert spans(subscription) == [
        ("10-01 00", "10-31 23", "regular"),
        ("10-31 23", "11-30 23", "regular"),
        ("11-30 23", "12-31 23", "regular"),
        ("12-31 23", "01-31 23", "regular"),
        ("01-31 23", "02-28 23", "regular"),
        ("02-28 23", "03-31 22", "regular"),
        ("03-31 22", "04-30 22", "regular"),
        ("04-30 22", "05-31 22", "regular"),
    ]
    assert thread.unfinished() == []


@pytest.mark.parametrize(("interval", "count", "ends"), [("week", 2, "10-15 00"), ("year", 1, "10-01 00")])
def test_other_intervals_are_stripe_s_own(thread: Thread, interval: str, count: int, ends: str) -> None:
    subscription = subscribe(thread, version_of(interval, interval=interval, interval_count=count))

    period = subscription.periods.get()
    item = gateway.retrieve(f"/v1/subscriptions/{subscription.stripe_subscription_id}")["items"]["data"][0]
    assert f"{period.ends_at:%m-%d %H}" == ends
    assert datetime.fromtimestamp(item["current_period_end"], tz=UTC) == period.ends_at


def test_a_trial_that_ends_within_a_calendar_month_is_billed_for_the_rest_of_it(thread: Thread) -> None:
    """From 15 October 17 of 31 days are left: 10.96 of 20.00, floored as Stripe does, and 17 of 31 USD included."""
    plan = version_of("mixed", trial_days=14, alignment="calendar", allowances={"included": {"amount": Decimal(31)}})
    subscription = subscribe(thread, plan)
    advance(thread, OCT_15)

    assert spans(subscription) == [("10-01 00", "10-15 00", "trial"), ("10-15 00", "11-01 00", "regular")]
    assert subscription.periods.latest("starts_at").allowances.get().amount == 17
    assert thread.unfinished() == []
    assert (lines(latest_invoice()), latest_invoice().status) == ([("fee", 1096)], "paid")
    advance(thread, NOVEMBER)
    assert (lines(latest_invoice()), latest_invoice().status) == ([("fee", 2000)], "paid")


def test_a_maximum_commitment_caps_what_is_billed(thread: Thread) -> None:
    """30.00 of usage, 4.00 included, at most 10.00 billed."""
    card = RateCard.objects.create(code="capped", name="Capped", currency="USD", base=RateCard.objects.get())
    Rate.objects.create(
        rate_card=card, charge_model="maximum_commitment", terms={"amount": "10"}, effective_from=OCTOBER
    )
    plan = version_of("capped", rate_card=card, allowances={"included": {"amount": Decimal(4)}})
    subscription = subscribe(thread, plan)
    thread.use(10_000_000, at=OCT_15)
    advance(thread, NOVEMBER)

    period = subscription.periods.earliest("starts_at")
    assert [(row.code, row.measure, row.amount) for row in period.allowances.all()] == [
        ("included", "money", 4),
        ("maximum_commitment", "cap", 10),
    ]
    assert lines(latest_invoice()) == [("fee", 2000), ("usage", 1000)]
    accrual = period.accruals.get()
    assert (accrual.rated, accrual.included, accrual.unbilled) == (30, 20, 10)


def test_a_pause_is_a_period_in_which_nothing_is_billed(thread: Thread) -> None:
    """The trial ends without a card, and is resumed with one on 20 October."""
    subscription = subscribe(thread, version_of("trial", trial_days=14))
    stripe_id = subscription.stripe_subscription_id
    without_card = {"trial_settings": {"end_behavior": {"missing_payment_method": "pause"}}}
    gateway.request("post", f"/v1/subscriptions/{stripe_id}", without_card)
    customer_id = subscription.customer.stripe_customer_id
    settings = gateway.retrieve(f"/v1/customers/{customer_id}")["invoice_settings"]
    gateway.request("post", f"/v1/payment_methods/{settings['default_payment_method']}/detach", {})
    advance(thread, OCT_15)
    thread.use(1_000_000, at=datetime(2026, 10, 18, tzinfo=UTC))
    advance(thread, datetime(2026, 10, 20, tzinfo=UTC))
    thread.use_card("ada", "pm_card_visa")
    gateway.request("post", f"/v1/subscriptions/{stripe_id}/resume", {})
    thread.settle()

    assert spans(subscription) == [
        ("10-01 00", "10-15 00", "trial"),
        ("10-15 00", "10-20 00", "paused"),
        ("10-20 00", "11-20 00", "regular"),
    ]
    advance(thread, datetime(2026, 11, 20, tzinfo=UTC))
    assert (lines(latest_invoice()), latest_invoice().status) == ([("fee", 2000)], "paid")
    assert thread.unfinished() == []
    assert [period.state for period in subscription.periods.order_by("starts_at")] == [
        "closed",
        "closed",
        "closed",
        "open",
    ]


class TestChangeTerms:
    def change(self, thread: Thread, subscription: Subscription, version: PlanVersion, **terms: Any) -> Subscription:
        now = datetime.fromtimestamp(thread.sandbox.now(), tz=UTC)
        asked: dict[str, Any] = {"seats": 1, "idempotency_key": "change", "now": now} | terms
        return change_terms(subscription_id=subscription.pk, plan_version=version, actor=ACTOR, **asked)

    def test_now_divides_the_period_and_stripe_prorates_the_fee(self, thread: Thread) -> None:
        """Half of October is left: −10.00, +30.00. Usage: 4 × 3 USD before, 10 × 3 USD after."""
        old = version_of("small", allowances={"included": {"amount": Decimal(20)}})
        new = version_of("large", fee_minor=6000, allowances={"included": {"amount": Decimal(60)}})
        subscription = subscribe(thread, old)
        thread.use(4_000_000, at=OCT_15)
        thread.use(10_000_000, at=OCT_16_NOON)
        thread.sandbox.advance(OCT_16_NOON)
        thread.settle()

        changed = self.change(thread, subscription, new)

        assert changed.plan_version == new
        assert spans(subscription) == [("10-01 00", "10-16 12", "regular"), ("10-16 12", "11-01 00", "regular")]
        before, after = subscription.periods.order_by("starts_at")
        # 10 + 30 for the whole month, of which 12 are used.
        assert (before.allowances.get().amount, after.allowances.get().amount) == (20, 28)
        advance(thread, NOVEMBER)
        invoice = latest_invoice()
        assert lines(invoice) == [("fee", -1000), ("fee", 3000), ("fee", 6000), ("usage", 200)]
        when = "01 Oct – 16 Oct 2026"
        assert [line.description for line in invoice.lines.filter(period=before).exclude(kind="fee")] == [
            f"{when}: {MODEL} input tokens: 4,000,000 × 3 USD per 1,000,000 = 12 USD, of which 12 USD covered",
            f"{when}: included: 12 of 20 USD used",
        ]
        assert (invoice.status, thread.unfinished()) == ("paid", [])
        assert [period.state for period in subscription.periods.order_by("starts_at")] == ["closed", "closed", "open"]
        assert PeriodAllowance.objects.latest("pk").amount == 60

    def test_said_twice_is_done_once_and_another_change_needs_another_key(self, thread: Thread) -> None:
        small, large = version_of("small"), version_of("large", fee_minor=6000)
        subscription = subscribe(thread, small)
        thread.sandbox.advance(OCT_16_NOON)

        self.change(thread, subscription, large)
        self.change(thread, subscription, large)

        assert subscription.periods.count() == 2
        assert thread.calls_counted("POST /v1/subscriptions/sub") == 1
        with pytest.raises(ChangeRefused, match="another key"):
            self.change(thread, subscription, small)

    def test_is_applied_by_the_webhook_when_our_process_died(
        self, thread: Thread, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        small, large = version_of("small"), version_of("large", fee_minor=6000)
        subscription = subscribe(thread, small)
        thread.settle()
        thread.sandbox.advance(OCT_16_NOON)
        with monkeypatch.context() as patch:
            patch.setattr("billing.subscriptions.lifecycle.project_subscription", _die)
            with pytest.raises(RuntimeError):
                self.change(thread, subscription, large)
        assert subscription.periods.count() == 1

        thread.settle()
        thread.redeliver_everything()

        assert spans(subscription) == [("10-01 00", "10-16 12", "regular"), ("10-16 12", "11-01 00", "regular")]
        subscription.refresh_from_db()
        assert subscription.plan_version == large

    def test_counts_although_our_process_died_and_the_renewal_comes_before_its_webhook(
        self, thread: Thread, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Otherwise November would have the old terms, and its fee no explanation: the close would be held for ever."""
        small, large = version_of("small"), version_of("large", fee_minor=6000)
        subscription = subscribe(thread, small)
        thread.settle()
        thread.sandbox.advance(OCT_16_NOON)
        with monkeypatch.context() as patch:
            patch.setattr("billing.subscriptions.lifecycle.project_subscription", _die)
            with pytest.raises(RuntimeError):
                self.change(thread, subscription, large)
        thread.sandbox.advance(NOVEMBER)
        thread.advance_our_clock_to(NOVEMBER)
        late = [event for event in thread.new_events() if event["type"].startswith("customer.subscription")]
        for event in thread.events():
            if event not in late:
                post_event(event)
        thread.settle()
        for event in late:
            post_event(event)
        thread.settle()

        assert spans(subscription)[1:] == [("10-16 12", "11-01 00", "regular"), ("11-01 00", "12-01 00", "regular")]
        invoice = latest_invoice()
        assert lines(invoice) == [("fee", -1000), ("fee", 3000), ("fee", 6000)]
        assert (invoice.status, invoice.close.held_reason, thread.unfinished()) == ("paid", "", [])

    def test_from_the_next_period_divides_nothing(self, thread: Thread) -> None:
        small, large = version_of("small"), version_of("large", fee_minor=6000)
        subscription = subscribe(thread, small)
        thread.sandbox.advance(OCT_16_NOON)

        self.change(thread, subscription, large, from_next_period=True)
        advance(thread, NOVEMBER)

        assert spans(subscription) == [("10-01 00", "11-01 00", "regular"), ("11-01 00", "12-01 00", "regular")]
        assert lines(latest_invoice()) == [("fee", 6000)]
        assert thread.unfinished() == []

    def test_add_ons_come_go_and_change_their_seats(self, thread: Thread) -> None:
        plan, add_on = version_of("small"), version_of("boost", is_add_on=True, fee_minor=500)
        other = version_of("extra", is_add_on=True, fee_minor=100)
        subscription = subscribe(thread, plan, add_ons=[(other, 1)])
        thread.sandbox.advance(OCT_16_NOON)
        self.change(thread, subscription, plan, add_ons=[(add_on, 2)])
        thread.sandbox.advance(OCT_16_NOON + timedelta(days=1))
        self.change(thread, subscription, plan, seats=3, add_ons=[(add_on, 5)], idempotency_key="again")
        advance(thread, NOVEMBER)

        assert [
            (row.plan_version.plan.code, row.seats, row.removed_at is None)
            for row in subscription.add_ons.order_by("pk")
        ] == [("extra", 1, False), ("boost", 2, False), ("boost", 5, True)]
        latest = subscription.periods.latest("starts_at")
        assert [(row.plan_version.plan.code, row.seats) for row in latest.add_ons.all()] == [("boost", 5)]
        invoice = latest_invoice()
        assert invoice.status == "paid"
        assert {("fee", 2500), ("fee", 6000)} < {*lines(invoice)}
        assert thread.unfinished() == []


def _die(*args: Any, **kwargs: Any) -> None:
    raise RuntimeError("the process died")


def test_the_world_starts_in_october(thread: Thread) -> None:
    assert datetime.fromtimestamp(thread.sandbox.now(), tz=UTC) == START
