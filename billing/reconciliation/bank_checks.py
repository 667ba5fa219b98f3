"""What the bank says against what Stripe says arrived there: payouts without a line, lines without a payout."""

from datetime import UTC
from decimal import Decimal

from django.conf import settings

from billing.payments.bank import queries
from billing.payments.bank.matches import amount_of
from billing.payments.bank.matching import add_bank_days
from billing.payments.bank.models import BankMatch, Leg
from billing.reconciliation.comparison import Agreed, Findings, Pair, Scope
from billing.reconciliation.minor_units import in_units


def bank_lines(scope: Scope) -> Findings:
    """
    Every payout that Stripe calls arrived has a bank line, BILLING_BANK_CONFIRM_DAYS bank days later at the latest;
    matched lines and payouts are of one amount; every line that says Stripe is a payout.

    Looked at since the first day of the currency's statements. A currency without statements is not asked for.
    """
    today = scope.range_end.astimezone(UTC).date()
    legs = queries.unconfirmed()
    until = {currency: queries.covered_until(currency) for currency in {leg.payout.currency for leg in legs}}
    for leg in legs:
        if today <= add_bank_days(leg.on, settings.BILLING_BANK_CONFIRM_DAYS):
            yield Agreed(1)
            continue
        yield Pair(
            f"payout {leg.payout} {leg.leg.label.lower()} {leg.on}", "Stripe",
            in_units(leg.amount_minor, leg.payout.currency), "bank line", None,
            f"Stripe says that it {'arrived' if leg.leg == Leg.ARRIVED else 'went back'} and no bank line is it. "
            f"Statements in {leg.payout.currency} reach until {until[leg.payout.currency]}.",
            stripe_id=leg.payout.stripe_payout_id,
        )  # fmt: skip
    for match in queries.live_matches().prefetch_related("lines__line", "payouts__payout"):
        yield from _matched(match)
    for line in queries.waiting_lines().select_related("account").order_by("id"):
        yield Pair(
            f"{line} of {line.account}, {line.booked_on}", "bank", in_units(line.amount_minor, line.currency),
            "payout", None,
            f"It says Stripe ({line.reference[:200]}) and is no payout: match it, or say that it is not Stripe's.",
        )  # fmt: skip
    yield Agreed(1)


def _matched(match: BankMatch) -> Findings:
    legs = [(part.payout, part.leg) for part in match.payouts.all()]
    lines = sum(part.line.amount_minor for part in match.lines.all())
    names = ", ".join(payout.stripe_payout_id for payout, _ in legs)
    sent = sum(amount_of(payout, leg) for payout, leg in legs)
    yield Pair(
        f"payouts in {match}: {names}", "Stripe", in_units(sent, match.currency), "bank lines",
        in_units(lines, match.currency), f"{match.matched_by} matched them although the amounts differ: {match.why}",
        stripe_id=legs[0][0].stripe_payout_id,
    )  # fmt: skip
    for payout, leg in legs:
        if leg == Leg.ARRIVED and queries.is_without_way_back(payout):
            yield Pair(
                f"payout {payout} never arrived", "Stripe", Decimal(0), "bank line", in_units(lines, match.currency),
                f"Stripe says {payout.status}, and the bank has it: a line back, or Stripe's word, is missing.",
                stripe_id=payout.stripe_payout_id,
            )  # fmt: skip
