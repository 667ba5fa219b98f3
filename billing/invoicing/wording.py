"""How the prices of a period came about, in words for its invoice: the steps that explain each charge."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from billing.rating.charges import Basis, Charge, charge_of_rate
from billing.rating.explanation.steps import PricedPart, steps_of
from billing.rating.queries import RateTotals
from billing.rating.rating import RatingError
from billing.rating.target import allocate
from billing.rating.terms import terms_of, usage_of
from billing.subscriptions.models import BillingPeriod


def how_priced(period: BillingPeriod, totals: Sequence[RateTotals]) -> dict[int, str]:
    """
    Return, by rate id, the steps from the period's usage to its price, joined by semicolons.

    The usage is read again only where totals cannot tell: prices by cell, by window or by event.
    """
    currency = period.plan_version.currency
    charges = {row.rate.pk: charge_of_rate(row.rate) for row in totals}
    is_told = all(
        charge.basis is Basis.PERIOD or (charge.basis is Basis.QUANTITY and charge.cell({}) is charge)
        for charge in charges.values()
    )
    parts = None if is_told else _parts(period, charges)
    found = {}
    for row in totals:
        of_rate = None if parts is None else parts.get(row.rate.pk, [])
        charge = charges[row.rate.pk]
        steps, _ = steps_of(charge, quantity=row.quantity, rated=row.rated, currency=currency, parts=of_rate)
        found[row.rate.pk] = "; ".join(step.text for step in steps)
    return found


def _parts(period: BillingPeriod, charges: Mapping[int, Charge]) -> Mapping[int, list[PricedPart]] | None:
    """The period's usage as it was priced, without what is owed beside it; None where it cannot be told any more."""
    try:
        allocated = allocate(usage_of(period), terms_of(period), [], is_over=False)
    except RatingError:
        return None
    parts: dict[int, list[PricedPart]] = defaultdict(list)
    for one in allocated:
        charge = charges.get(one.rate_id)
        cell = None if charge is None else charge.cell(one.dimensions)
        # An hour whose events take each other away has no units, but each of them has its price.
        if one.quantity or (cell is not None and cell.basis is Basis.EVENT):
            parts[one.rate_id].append(PricedPart(one.at, one.dimensions, one.quantity, one.amount))
    return parts
