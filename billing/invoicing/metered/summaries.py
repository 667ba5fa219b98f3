"""
Stripe's own summaries of its meters, read for exactly a period, beside what counts by our events.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.invoicing.metered.models import MeteredEvent, MeteredSummary
from billing.invoicing.metered.targets import MINUTE, Standing, bounds_of
from billing.stripe import gateway
from billing.stripe.errors import StripeRefused
from billing.stripe.seconds import second_of

UNCOUNTED = "Stripe's summary of its minute does not show it."


@dataclass(frozen=True, slots=True)
class Counted:
    """One price over periods of one subscription that follow each other: what we sent, and what Stripe adds up."""

    last: Standing
    ours: int
    theirs: int


def counted(found: Sequence[Standing]) -> list[Counted]:
    """
    Ask Stripe for each price of which anything was ever sent, over the whole minutes of all the periods together.
    Not inside a transaction. Raises StripeUnavailable.

    Together, because a period may have been cut at an instant that an event had gone beyond: its time is then in the
    next one, and Stripe bills the item over both.
    """
    groups: dict[tuple[int, int], list[Standing]] = {}
    for one in found:
        groups.setdefault((one.period.subscription_id, one.price.pk), []).append(one)
    said = []
    for (subscription_id, _), group in groups.items():
        if not any(one.number for one in group):
            continue
        periods = [one.period for one in found if one.period.subscription_id == subscription_id]
        start, end = min(bounds_of(one)[0] for one in periods), max(bounds_of(one)[1] for one in periods)
        theirs = _between(group[-1], start, end) if start < end else 0
        said.append(Counted(max(group, key=lambda one: one.period.ends_at), sum(one.sent for one in group), theirs))
    return said


def read_summaries(found: Sequence[Standing], *, now: datetime) -> list[MeteredSummary]:
    """What Stripe says of each price, beside ours, kept where it is news. Raises StripeUnavailable."""
    said = [
        MeteredSummary(
            period=one.last.period, price=one.last.price, stripe_units=one.theirs, our_units=one.ours, read_at=now
        )
        for one in counted(found)
    ]
    latest: dict[tuple[int, int], tuple[int, int]] = {}
    known = MeteredSummary.objects.filter(period_id__in={row.period_id for row in said}).order_by("pk")
    for row in known:
        latest[row.period_id, row.price_id] = (row.stripe_units, row.our_units)
    MeteredSummary.objects.bulk_create(
        row for row in said if latest.get((row.period_id, row.price_id)) != (row.stripe_units, row.our_units)
    )
    return said


def not_counted_of(one: Standing) -> dict[str, str]:
    """
    The events of a price that Stripe has taken and whose own minute shows nothing, by identifier with words for it.

    A report of errors names five of them at most; the summaries of the minutes name all. One request for each event.
    """
    taken = MeteredEvent.objects.filter(period=one.period, price=one.price, state=MeteredEvent.State.ACCEPTED)
    shown = ((event, _between(one, event.minute_at, event.minute_at + MINUTE)) for event in taken.order_by("number"))
    return {event.identifier: UNCOUNTED for event, units in shown if units == 0}


def counted_after_all(identifiers: Iterable[str]) -> set[str]:
    """
    The events that Stripe's summaries of their own minutes show: they count, whatever a report says of them. One
    request for each. Not inside a transaction. Raises StripeUnavailable.
    """
    rows = MeteredEvent.objects.filter(identifier__in=list(identifiers)).exclude(state=MeteredEvent.State.NOT_COUNTED)
    found = set()
    for event in rows.select_related("price", "period__subscription__customer"):
        try:
            if _between(event, event.minute_at, event.minute_at + MINUTE):
                found.add(event.identifier)
        except StripeRefused:
            continue  # Stripe does not know their customer, which the report may be about
    return found


def _between(one: Standing | MeteredEvent, start: datetime, end: datetime) -> int:
    summaries = gateway.listed(
        f"/v1/billing/meters/{one.price.stripe_meter_id}/event_summaries",
        customer=one.period.subscription.customer.stripe_customer_id,
        start_time=second_of(start),
        end_time=second_of(end),
    )
    return sum(int(summary["aggregated_value"]) for summary in summaries)
