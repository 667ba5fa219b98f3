"""From accrued usage to the lines of an invoice, inside the caller's transaction."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from django.db.models import Sum

from billing.invoicing import late_states, queries
from billing.invoicing.lines import (
    DESCRIPTION_CHARS_MAX,
    Included,
    LineDraft,
    RateUsage,
    coverage_lines,
    late_line,
    usage_line,
)
from billing.invoicing.metered.models import MeteredPrice
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.orders.models import InvoiceOrder
from billing.invoicing.rounding import from_minor
from billing.invoicing.wording import how_priced
from billing.rating import queries as rating_queries
from billing.rating.allocation import AllowanceUse
from billing.rating.models import UsageAccrual
from billing.rating.operations import accrue_period
from billing.rating.queries import RateTotals, Uninvoiced
from billing.rating.rating import EXACT, ZERO
from billing.subscriptions.models import BillingPeriod, PeriodAllowance
from billing.subscriptions.operations import close_period

Kind = InvoiceLine.Kind


def write_lines(
    *,
    invoice: Invoice,
    period: BillingPeriod,
    metered: Mapping[int, MeteredPrice] | None = None,
    now: datetime,
) -> list[InvoiceLine]:
    """
    Accrue the period to the end, write its lines and close it; usage of earlier periods on no invoice yet comes after.

    `metered` are, by rate, the prices of the period whose usage Stripe's meters bring onto the draft: their lines say
    so, and are not pushed. What comes to less than nothing Stripe would bill as nothing: it goes as a line.

    Raises RatingError when usage has no price: nothing is written then.
    """
    accrual = _settle(period, now=now)
    rows = _rows(invoice, period, accrual, _usage_lines(period, invoice.currency), after=0)
    for row in rows:
        if row.rate_id is not None and row.amount_minor >= 0:
            row.metered_price = (metered or {}).get(row.rate_id)
    for earlier in list(queries.earlier_periods_to_settle(period)):
        is_part = queries.is_part_of_a_cycle(earlier)
        settled = _settle(earlier, now=now)
        if is_part:
            rows += _rows(invoice, earlier, settled, _lines_of_part(earlier, invoice.currency), after=len(rows))
        elif late_states.may_go_onto_next_invoice(earlier):
            found = late_rows(invoice=invoice, period=earlier, after=len(rows))
            late_states.settle_on_invoice(period=earlier, invoice=invoice, lines=len(found), now=now)
            rows += found
    rows += _rows(invoice, period, accrual, _covered_lines(period, invoice.currency), after=len(rows))
    return InvoiceLine.objects.bulk_create(rows)


def _usage_lines(period: BillingPeriod, currency: str) -> list[LineDraft]:
    """What is left to invoice of a period, price by price; where a part was asked for before, the line says so."""
    totals = {row.rate.pk: row for row in rating_queries.rate_totals(period.pk)}
    how = how_priced(period, list(totals.values()))
    left = rating_queries.uninvoiced(period.subscription_id, period.pk)
    billed = _billed_before(period)
    return [
        usage_line(replace(_usage(rest, totals, how), billed=billed.get(rest.rate.pk, ZERO)), currency=currency)
        for rest in left
    ]


def _billed_before(period: BillingPeriod) -> dict[int, Decimal]:
    """By rate id, what invoices that are not void ask for of the period, in currency units, exact."""
    lines = InvoiceLine.objects.filter(period=period, kind=Kind.USAGE).exclude(invoice__status=Invoice.Status.VOID)
    rows = lines.order_by().values_list("rate_id").annotate(Sum("exact_amount"))
    return {rate_id: amount for rate_id, amount in rows if rate_id is not None}


def write_threshold_lines(*, invoice: Invoice, period: BillingPeriod, now: datetime) -> list[InvoiceLine]:
    """
    Write the lines of what an open period has on no invoice now; the period stays open. Nothing where nothing is left.

    The customer is held from here on, so a close of the same period comes before or after, and bills the rest.
    Raises RatingError when usage has no price: nothing is written then.
    """
    accrue_period(period_id=period.pk, now=now)
    # What is worth less than can be charged is a line of nothing, with its rounding: left out, it would stay unproved.
    lines = [draft for draft in _usage_lines(period, invoice.currency) if draft.exact_amount > 0]
    if not any(draft.amount_minor for draft in lines):
        return []
    return InvoiceLine.objects.bulk_create(
        _rows(invoice, period, rating_queries.latest_accrual(period.pk), lines, after=0)
    )


def reissued_rows(*, invoice: Invoice, replaces: Invoice, after: int) -> list[InvoiceLine]:
    """
    The lines, not written yet, of the usage a void invoice asked for, as it stands now: of its periods and prices, what
    is on no other invoice and was not given up. The customer is held.
    """
    asked: dict[int, set[int]] = {}
    for period_id, rate_id in replaces.lines.filter(kind=Kind.USAGE).values_list("period_id", "rate_id"):
        asked.setdefault(period_id, set()).add(rate_id)
    rows: list[InvoiceLine] = []
    for period in BillingPeriod.objects.filter(pk__in=asked).order_by("starts_at"):
        totals = {row.rate.pk: row for row in rating_queries.rate_totals(period.pk)}
        how = how_priced(period, list(totals.values()))
        billed = _billed_before(period)
        when = f"{period.starts_at:%d %b} – {period.ends_at:%d %b %Y}"
        drafts = [
            usage_line(
                replace(_usage(rest, totals, how), billed=billed.get(rest.rate.pk, ZERO)), currency=invoice.currency
            )
            for rest in rating_queries.uninvoiced(period.subscription_id, period.pk)
            if rest.rate.pk in asked[period.pk]
        ]
        drafts = [replace(one, description=f"{when}: {one.description}"[:DESCRIPTION_CHARS_MAX]) for one in drafts]
        rows += _rows(invoice, period, rating_queries.latest_accrual(period.pk), drafts, after=after + len(rows))
    return rows


def ordered_rows(*, invoice: Invoice, order: InvoiceOrder, after: int) -> list[InvoiceLine]:
    """The lines, not written yet, that an order says itself: charged as they were agreed, nothing is rounded."""
    return [
        InvoiceLine(
            invoice=invoice,
            kind=Kind.ONE_OFF,
            position=after + line.position,
            description=line.description,
            quantity=1,
            exact_amount=from_minor(line.amount_minor, invoice.currency),
            amount_minor=line.amount_minor,
            rounding=ZERO,
            is_exempt=not line.is_taxed,
        )
        for line in order.lines.order_by("position")
    ]


def _covered_lines(period: BillingPeriod, currency: str) -> list[LineDraft]:
    return coverage_lines(
        allowances=[_included(allowance, use) for allowance, use in rating_queries.allowance_uses(period.pk)],
        grants=[(grant.name, amount) for grant, amount in rating_queries.drawdowns(period.pk)],
        currency=currency,
    )


def _lines_of_part(part: BillingPeriod, currency: str) -> list[LineDraft]:
    """The lines of what a cycle was before its terms changed: its own, with its days before them."""
    when = f"{part.starts_at:%d %b} – {part.ends_at:%d %b %Y}"
    return [
        replace(draft, description=f"{when}: {draft.description}"[:DESCRIPTION_CHARS_MAX])
        for draft in (*_usage_lines(part, currency), *_covered_lines(part, currency))
    ]


def late_rows(
    *, invoice: Invoice, period: BillingPeriod, after: int, increases_only: bool = False
) -> list[InvoiceLine]:
    """The lines, not written yet, of what is left of an earlier period; `after` lines come before them."""
    left = rating_queries.uninvoiced(period.subscription_id, period.pk)
    late = [
        late_line(_usage(rest, {}, {}), starts_at=period.starts_at, ends_at=period.ends_at, currency=invoice.currency)
        for rest in left
        if rest.amount > 0 or not increases_only
    ]
    return _rows(invoice, period, rating_queries.latest_accrual(period.pk), late, after=after)


def _settle(period: BillingPeriod, *, now: datetime) -> UsageAccrual | None:
    accrue_period(period_id=period.pk, now=now)
    close_period(period_id=period.pk, now=now)
    return rating_queries.latest_accrual(period.pk)


def _usage(rest: Uninvoiced, totals: Mapping[int, RateTotals], how: Mapping[int, str]) -> RateUsage:
    rate, total = rest.rate, totals.get(rest.rate.pk)
    return RateUsage(
        rate_id=rate.pk,
        subject=rate.subject,
        meter_code=rate.meter_code,
        how=how.get(rate.pk, ""),
        quantity=rest.quantity,
        unbilled=rest.amount,
        covered=EXACT.add(total.included, total.credited) if total is not None else None,
    )


def _included(allowance: PeriodAllowance, use: AllowanceUse) -> Included:
    return Included(
        name=allowance.name,
        measure=allowance.measure,
        amount=allowance.amount,
        paid=use.amount,
        units=use.quantity,
        each_dimension=allowance.each_dimension,
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
