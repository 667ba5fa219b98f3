"""
What the close of a period asks of usage that Stripe's meters bring (docs/decisions/0031): which prices a draft carries,
that Stripe counts what was sent, and that the lines are of those amounts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from billing.invoicing.holding import CloseHeld, held
from billing.invoicing.metered.models import MeteredEvent, MeteredPrice, MeteredSummary
from billing.invoicing.metered.sending import MeterStuck, bring_to_lines, periods_of, record_not_counted
from billing.invoicing.metered.summaries import not_counted_of, read_summaries
from billing.invoicing.metered.targets import Standing, by_lines, standings
from billing.invoicing.models import InvoiceClose, InvoiceLine
from billing.invoicing.stripe_lines import is_subscription_fee
from billing.stripe.readers import price_of_line
from billing.subscriptions.models import BillingPeriod

StripeDict = dict[str, Any]
# So many events are named where a close is held.
NAMED_MAX = 3
NOT_AS_WRITTEN = "Stripe's meters are not at what the lines say"
# The rule of the database (migrations/sql/0023_metered_usage.sql).
BESIDE_METERS = "billing_invoiceclose_metered"
WAIT_MAX = timedelta(seconds=settings.BILLING_CLOSE_WAIT_MAX_SECONDS)


@dataclass(frozen=True, slots=True)
class Behind:
    """Stripe's summary does not say what was sent, yet or at all: price by price, in a sentence."""

    words: str


def metered_prices_of(stripe_lines: Iterable[StripeDict]) -> dict[str, MeteredPrice]:
    """Which lines of Stripe's are of our metered prices, by the price's id at Stripe; one query."""
    ids = {price_of_line(line) for line in stripe_lines}
    return {price.stripe_price_id: price for price in MeteredPrice.objects.filter(stripe_price_id__in=ids - {""})}


def fees_among(stripe_lines: Iterable[StripeDict]) -> list[StripeDict]:
    """The plain recurring fees: what Stripe bills in advance, and nothing that its meters bring for what is over."""
    lines = list(stripe_lines)
    metered = metered_prices_of(lines)
    return [line for line in lines if is_subscription_fee(line) and price_of_line(line) not in metered]


def carried_by(period: BillingPeriod, stripe_lines: Iterable[StripeDict]) -> dict[int, MeteredPrice]:
    """
    By rate, the metered prices of the period's version that the draft has a line of: Stripe bills their usage.

    A price whose item is not on the subscription, or a period whose usage goes as lines (`by_lines`), has none.
    """
    found = metered_prices_of(line for line in stripe_lines if is_subscription_fee(line))
    if not found or by_lines([period]):
        return {}
    return {price.rate_id: price for price in found.values() if price.plan_version_id == period.plan_version_id}


def send_last(close: InvoiceClose, *, now: datetime) -> int:
    """Bring Stripe's meters to what the lines say. Raises CloseHeld where they cannot be, and StripeUnavailable."""
    try:
        return bring_to_lines(close=close, now=now)
    except MeterStuck as stuck:
        raise CloseHeld(f"usage cannot be sent to Stripe's meters: {stuck}") from stuck


def require_counted_at_stripe(close: InvoiceClose, *, now: datetime) -> Behind | None:
    """
    Read Stripe's summaries of exactly the periods that the close answers for; None where they say what was sent.

    Where a report said that events do not count, all those are named by the summaries of their minutes, and sent again
    once. Without a report Stripe may only be late: nothing is sent, as both would count then. After the longest wait
    the close is held: raises CloseHeld, each price a sentence with the events that Stripe does not show.
    """
    found = standings_of(close)
    behind = [row for row in read_summaries(found, now=now) if not row.agrees]
    if not behind:
        # A report may have come since the last was sent: the next try sends again.
        moved = [one for one in found if one.delta or one.under_way is not None]
        return Behind(f"{NOT_AS_WRITTEN}: {'; '.join(map(_not_as_written, moved))}") if moved else None
    words = "; ".join(_words(row) for row in behind)
    if _name_not_counted(close, behind, now=now):
        send_last(close, now=now)
        return Behind(words)
    begun = close.steps.filter(step=InvoiceClose.Step.ITEMS_PUSHED).values_list("recorded_at", flat=True).first() or now
    released = close.releases.order_by("-pk").values_list("released_at", flat=True).first()
    since = max(begun, released or begun)
    if now - since > WAIT_MAX:
        missing = sorted(_not_shown(close, behind))
        named = f", and does not show {', '.join(missing[:NAMED_MAX])}" if missing else ""
        raise CloseHeld(f"{words}{named}. Waited since {since:%F %T}")
    return Behind(words)


def _name_not_counted(close: InvoiceClose, behind: list[MeteredSummary], *, now: datetime) -> int:
    """Only of what a report was about: it names five examples at most."""
    reported = MeteredEvent.objects.filter(state=MeteredEvent.State.NOT_COUNTED)
    keys = set(reported.filter(period_id__in=periods_of(close)).values_list("price_id", flat=True))
    found = _not_shown(close, [row for row in behind if row.price_id in keys])
    with transaction.atomic():
        return record_not_counted(identifiers=found, now=now)


def _not_shown(close: InvoiceClose, behind: list[MeteredSummary]) -> dict[str, str]:
    keys = {row.price_id for row in behind}
    found: dict[str, str] = {}
    for one in standings_of(close) if keys else []:
        if one.price.pk in keys:
            found |= not_counted_of(one)
    return found


def standings_of(close: InvoiceClose) -> list[Standing]:
    """What each price comes to of the periods that the close answers for."""
    rows = BillingPeriod.objects.select_related("subscription__customer", "plan_version")
    return standings(list(rows.filter(pk__in=periods_of(close)).order_by("pk")))


def expected_lines(rows: Mapping[str, InvoiceLine], stripe_lines: Iterable[StripeDict]) -> dict[str, int]:
    """What each metered price on the draft has to charge, in minor units: what our line says, or nothing."""
    ours = {
        row.metered_price.stripe_price_id: row.amount_minor for row in rows.values() if row.metered_price is not None
    }
    return dict.fromkeys(metered_prices_of(stripe_lines), 0) | ours


def hold_refused(*, close_id: int, refused: IntegrityError, now: datetime) -> bool:
    """
    Hold a close that the database does not let be compared, in the words of its refusal; False for other refusals.

    What was sent was changed between the comparison and its step (a report, a run, a hand): by itself it is not tried
    again, because nobody knows which of the two is right.
    """
    diag = getattr(refused.__cause__, "diag", None)
    if diag is None or diag.constraint_name != BESIDE_METERS:
        return False
    words = f"{diag.message_primary}. {diag.message_hint or ''}".strip()
    InvoiceClose.objects.filter(pk=close_id, held_reason="").update(error=words, **held(words, now=now))
    return True


def _not_as_written(one: Standing) -> str:
    said = f"the lines of {one.period} charge {one.target} increments of {one.price}, and {one.sent} were sent"
    return f"{said}; {one.under_way} is under way" if one.under_way is not None else said


def _words(row: MeteredSummary) -> str:
    said = f"counts {row.stripe_units} increments of {row.period}, and {row.our_units} were sent"
    return f"Stripe's meter {row.price} {said}"
