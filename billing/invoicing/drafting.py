"""From accrued usage to the lines of an invoice, inside the caller's transaction."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from billing.invoicing import late_states, queries
from billing.invoicing.lines import LineDraft, RateUsage, coverage_lines, late_line, usage_line
from billing.invoicing.models import Invoice, InvoiceLine
from billing.rating import queries as rating_queries
from billing.rating.models import UsageAccrual
from billing.rating.operations import accrue_period
from billing.rating.queries import RateTotals, Uninvoiced
from billing.rating.rating import EXACT, ZERO
from billing.subscriptions.models import BillingPeriod
from billing.subscriptions.operations import close_period

Kind = InvoiceLine.Kind


def write_lines(*, invoice: Invoice, period: BillingPeriod, now: datetime) -> list[InvoiceLine]:
    """
    Accrue the period to the end, write its lines and close it; usage of earlier periods on no invoice yet comes after.

    Raises RatingError when usage has no price: nothing is written then.
    """
    currency = invoice.currency
    rows: list[InvoiceLine] = []
    accrual = _settle(period, now=now)
    totals = {row.rate.pk: row for row in rating_queries.rate_totals(period.pk)}
    left = rating_queries.uninvoiced(period.subscription_id, period.pk)
    drafts = [usage_line(_usage(rest, totals), currency=currency) for rest in left]
    rows += _rows(invoice, period, accrual, drafts, after=0)
    for earlier in list(queries.earlier_periods_to_settle(period)):
        _settle(earlier, now=now)
        if late_states.may_go_onto_next_invoice(earlier):
            found = late_rows(invoice=invoice, period=earlier, after=len(rows))
            late_states.settle_on_invoice(period=earlier, invoice=invoice, lines=len(found), now=now)
            rows += found
    covered = coverage_lines(
        included=rating_queries.period_totals(period.pk).included,
        allowance=sum((one.amount or ZERO for one in period.allowances.all()), ZERO),
        grants=[(grant.name, amount) for grant, amount in rating_queries.drawdowns(period.pk)],
        currency=currency,
    )
    rows += _rows(invoice, period, accrual, covered, after=len(rows))
    return InvoiceLine.objects.bulk_create(rows)


def late_rows(
    *, invoice: Invoice, period: BillingPeriod, after: int, increases_only: bool = False
) -> list[InvoiceLine]:
    """The lines, not written yet, of what is left of an earlier period; `after` lines come before them."""
    left = rating_queries.uninvoiced(period.subscription_id, period.pk)
    late = [
        late_line(_usage(rest, {}), starts_at=period.starts_at, ends_at=period.ends_at, currency=invoice.currency)
        for rest in left
        if rest.amount > 0 or not increases_only
    ]
    return _rows(invoice, period, rating_queries.latest_accrual(period.pk), late, after=after)


def _settle(period: BillingPeriod, *, now: datetime) -> UsageAccrual | None:
    accrue_period(period_id=period.pk, now=now)
    close_period(period_id=period.pk, now=now)
    return rating_queries.latest_accrual(period.pk)


def _usage(rest: Uninvoiced, totals: Mapping[int, RateTotals]) -> RateUsage:
    rate, total = rest.rate, totals.get(rest.rate.pk)
    return RateUsage(
        rate_id=rate.pk,
        subject=rate.subject,
        meter_code=rate.meter_code,
        unit_price=rate.unit_price or ZERO,
        unit_size=rate.unit_size or 1,
        quantity=rest.quantity,
        unbilled=rest.amount,
        covered=EXACT.add(total.included, total.credited) if total is not None else None,
    )


def _rows(
    invoice: Invoice, period: BillingPeriod, accrual: UsageAccrual | None, drafts: Iterable[LineDraft], *, after: int
) -> list[InvoiceLine]:
    return [
        InvoiceLine(
            invoice=invoice,
            kind=Kind.COVERAGE if draft.rate_id is None else Kind.USAGE,
            position=after + number,
            period=period,
            rate_id=draft.rate_id,
            accrual=accrual,
            description=draft.description,
            quantity=draft.quantity,
            exact_amount=draft.exact_amount,
            amount_minor=draft.amount_minor,
            rounding=draft.rounding,
        )
        for number, draft in enumerate(drafts, start=1)
    ]
