"""What was sent to Stripe's meters against what Stripe's own summaries add up, per customer, price and period."""

from datetime import timedelta

from django.db.models import Max, Min

from billing.invoicing.metered.models import MeteredEvent
from billing.invoicing.metered.summaries import counted
from billing.invoicing.metered.targets import MINUTE, Standing, standings
from billing.reconciliation.comparison import Findings, Pair, Scope
from billing.stripe import gateway
from billing.subscriptions.models import BillingPeriod

ANSWERED_WITHIN = timedelta(days=1)


def metered_unanswered(scope: Scope) -> Findings:
    """Nothing that was sent waits for an answer for long."""
    unanswered = MeteredEvent.objects.filter(
        state=MeteredEvent.State.INTENDED, made_at__lt=scope.range_end - ANSWERED_WITHIN
    )
    yield Pair(
        "meter events that Stripe has not answered for a day", "there are", unanswered.count(), "there may be", 0,
        "They are tried with each run: look at their way to Stripe in the outbox.",
    )  # fmt: skip


def metered_stripe(scope: Scope) -> Findings:
    """Every price of a period that anything was sent of in the range: what counts of it against Stripe's summary."""
    sent = MeteredEvent.objects.filter(
        minute_at__gte=scope.range_start,
        minute_at__lt=scope.range_end,
        period__subscription__customer_id__gte=scope.customers_from,
        period__subscription__customer_id__lt=scope.customers_until,
    )
    reach = sent.values("period__subscription_id").annotate(
        first=Min("period__starts_at"), last=Max("period__ends_at"), latest=Max("minute_at")
    )
    rows = BillingPeriod.objects.select_related("subscription__customer", "plan_version")
    with gateway.bulk_work():
        for one in reach.order_by("period__subscription_id"):
            # A period may have been cut at an instant that its events had gone beyond: the next is looked at with it.
            until = max(one["last"], one["latest"] + MINUTE)
            periods = rows.filter(
                subscription_id=one["period__subscription_id"], starts_at__lt=until, ends_at__gt=one["first"]
            )
            yield from _pairs(standings(list(periods.order_by("starts_at"))))


def _pairs(found: list[Standing]) -> Findings:
    for said in counted(found):
        one = said.last
        yield Pair(
            f"meter {one.price}: {one.period}", "sent", said.ours, "Stripe's summary", said.theirs,
            "Stripe does not count what was sent, or counts what was not: see the events of the meter, and send "
            "again what does not count.",
            one.period.subscription.customer.customer_key,
        )  # fmt: skip
