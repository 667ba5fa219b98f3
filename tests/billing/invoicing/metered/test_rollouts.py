"""A rollout that moves a customer from meters to lines, and back: billed once, and the items are those of the terms."""

from datetime import timedelta

from billing.catalog.models import PlanVersion
from billing.invoicing.models import Invoice
from billing.rollouts import moves
from billing.rollouts import operations as rollouts
from billing.subscriptions.models import BillingPeriod
from tests.billing.invoicing.metered.test_changes import items_at_stripe, metered_items
from tests.billing.invoicing.metered.world import OCT_20, Metered, at_stripe, charged, units
from tests.billing.rollouts.test_rollout_at_stripe import LAST_DAY, begun, renew, sold
from tests.billing.rollouts.world import FIONA, hire
from tests.billing.thread import SECOND_MONTH

DAYS_10 = timedelta(days=10)


def last_invoice() -> Invoice:
    return Invoice.objects.filter(billing_reason="subscription_cycle").latest("created_at")


def test_from_meters_to_lines_and_back(metered: Metered) -> None:
    hire()
    metered.subscribe()
    metered.settle()
    first = PlanVersion.objects.get()
    lines = PlanVersion.objects.create(
        plan=first.plan, version=2, currency="USD", fee_minor=2500, rate_card=first.rate_card
    )
    lines = sold(lines, now=metered.now)
    rollout = begun(lines)
    metered.use(1_000_000, at=OCT_20)
    metered.at(LAST_DAY)
    metered.send()
    october = BillingPeriod.objects.get()
    assert units(october) == [300]
    # Its meter stands at nothing before its item goes: whatever Stripe does with what is left on it.
    assert moves.tell_due_moves(now=LAST_DAY) == 1
    assert (units(october), metered.summary(october)) == ([300, -300], 0)
    assert items_at_stripe(metered) == [("licensed", lines.stripe_price_id)]
    renew(metered, SECOND_MONTH)
    assert (charged(last_invoice()), at_stripe(last_invoice())) == ([("input_tokens", 300, False)], [300, 2500])

    rollouts.roll_back(rollout_id=rollout.pk, reason="too dear", actor=FIONA, now=SECOND_MONTH + DAYS_10)
    metered.at(SECOND_MONTH + DAYS_10)
    assert moves.tell_due_moves(now=SECOND_MONTH + DAYS_10) == 1
    assert set(items_at_stripe(metered)) == {("licensed", first.stripe_price_id), *metered_items(first)}
