"""All reads of what usage cost. Every figure is the sum over a period's accruals; amounts in currency units, exact."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet, Sum

from billing.catalog.models import Rate
from billing.invoicing.late_models import AbsorbedUsage, LateCorrection, LateCreditLine
from billing.invoicing.models import Invoice, InvoiceLine
from billing.rating.allocation import AllowanceUse
from billing.rating.models import AllowanceDrawdown, GrantDrawdown, UsageAccrual, UsageAccrualLine
from billing.rating.rating import EXACT, ZERO
from billing.rating.totals import Amounts, PeriodState
from billing.subscriptions.models import PeriodAllowance
from promotions import queries as promotions_queries
from promotions.queries import GrantTerms

_AMOUNTS = ("quantity", "rated", "included", "credited", "unbilled")


@dataclass(frozen=True, slots=True)
class RateTotals:
    """What the usage of one rate in one period came to."""

    rate: Rate
    quantity: Decimal
    rated: Decimal
    included: Decimal
    credited: Decimal
    unbilled: Decimal


@dataclass(frozen=True, slots=True)
class PeriodTotals:
    """What all usage of one period came to."""

    rated: Decimal
    included: Decimal
    credited: Decimal
    unbilled: Decimal


@dataclass(frozen=True, slots=True)
class Uninvoiced:
    """What of one rate is on no invoice yet: units, and the net unbilled amount in currency units, of either sign."""

    rate: Rate
    quantity: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Conservation:
    """
    Where a period's rated usage went, in currency units, exact: rated = included + credited + billed + absorbed + open.

    `billed` is on invoices that are not void, less what credit notes for late usage gave back; `open` is on none yet,
    and is below zero where the next document gives something back.
    """

    rated: Decimal
    included: Decimal
    credited: Decimal
    billed: Decimal
    absorbed: Decimal

    @property
    def open(self) -> Decimal:
        paid = EXACT.add(EXACT.add(self.included, self.credited), EXACT.add(self.billed, self.absorbed))
        return EXACT.subtract(self.rated, paid)


def rate_totals(period_id: int) -> list[RateTotals]:
    """Return the totals of every rate used in the period, by model and meter; two queries."""
    state = _amounts_by_rate(period_id)
    return [RateTotals(rate, *(getattr(state[rate.pk], name) for name in _AMOUNTS)) for rate in _rates(state)]


def period_totals(period_id: int) -> PeriodTotals:
    """Return the totals of a period; zero without usage."""
    sums = UsageAccrual.objects.filter(period_id=period_id).aggregate(**_sums(_AMOUNTS[1:]))
    return PeriodTotals(**{name: sums[f"{name}_sum"] or ZERO for name in _AMOUNTS[1:]})


def conservation(period_id: int) -> Conservation:
    """Return where all rated usage of the period went; four queries."""
    totals = period_totals(period_id)
    lines = InvoiceLine.objects.filter(period_id=period_id, kind=InvoiceLine.Kind.USAGE)
    invoiced = lines.exclude(invoice__status=Invoice.Status.VOID).aggregate(sum=Sum("exact_amount"))["sum"] or ZERO
    given_back = _credited_back(period_id).aggregate(sum=Sum("exact_amount"))["sum"] or ZERO
    absorbed = AbsorbedUsage.objects.filter(period_id=period_id).aggregate(sum=Sum("amount"))["sum"] or ZERO
    return Conservation(
        rated=totals.rated,
        included=totals.included,
        credited=totals.credited,
        billed=EXACT.add(invoiced, given_back),
        absorbed=absorbed,
    )


def drawdowns(period_id: int) -> list[tuple[GrantTerms, Decimal]]:
    """Return what each grant gave to the period, by grant id, without those that gave nothing in the end."""
    rows = _summed(GrantDrawdown.objects.filter(accrual__period_id=period_id), by=["grant_id"], sums=["amount"])
    given = {row["grant_id"]: row["amount_sum"] for row in rows if row["amount_sum"]}
    grants = promotions_queries.grants_by_id(given)
    return [(grants[grant_id], amount) for grant_id, amount in given.items()]


def allowance_uses(period_id: int) -> list[tuple[PeriodAllowance, AllowanceUse]]:
    """Return the period's allowances in their order with what each paid, nothing too; two queries."""
    rows = _summed(
        AllowanceDrawdown.objects.filter(accrual__period_id=period_id), by=["allowance_id"], sums=["amount", "quantity"]
    )
    used = {row["allowance_id"]: AllowanceUse(row["amount_sum"], row["quantity_sum"]) for row in rows}
    allowances = PeriodAllowance.objects.filter(period_id=period_id).order_by("position")
    return [(allowance, used.get(allowance.pk, AllowanceUse())) for allowance in allowances]


def uninvoiced(subscription_id: int, period_id: int) -> list[Uninvoiced]:
    """
    Return per rate what the period's accruals left unbilled, minus the usage lines of all invoices that are not void
    and minus what was absorbed; what credit notes for late usage give back counts from when it is intended.

    Rates of which nothing is left, neither units nor money, are left out. By model and meter.
    """
    lines = InvoiceLine.objects.filter(
        period_id=period_id, period__subscription_id=subscription_id, kind=InvoiceLine.Kind.USAGE
    ).exclude(invoice__status=Invoice.Status.VOID)
    rows = _summed(lines, by=["rate_id"], sums=["quantity", "exact_amount"])
    settled = {row["rate_id"]: Amounts(quantity=row["quantity_sum"], unbilled=row["exact_amount_sum"]) for row in rows}
    absorbed = AbsorbedUsage.objects.filter(period_id=period_id, period__subscription_id=subscription_id)
    for row in _summed(absorbed, by=["rate_id"], sums=["quantity", "amount"]):
        given_up = Amounts(quantity=row["quantity_sum"], unbilled=row["amount_sum"])
        settled[row["rate_id"]] = settled.get(row["rate_id"], Amounts()).plus(given_up)
    for row in _summed(_credited_back(period_id), by=["invoice_line__rate_id"], sums=["quantity", "exact_amount"]):
        rate_id, given_back = row["invoice_line__rate_id"], row["exact_amount_sum"]
        amounts = Amounts(quantity=row["quantity_sum"], unbilled=given_back)
        settled[rate_id] = settled.get(rate_id, Amounts()).plus(amounts)
    state = _amounts_by_rate(period_id, accrual__period__subscription_id=subscription_id)
    left = []
    for rate in _rates({*state, *settled}):
        amounts = state.get(rate.pk, Amounts()).minus(settled.get(rate.pk, Amounts()))
        rest = Uninvoiced(rate, amounts.quantity, amounts.unbilled)
        if rest.quantity or rest.amount:
            left.append(rest)
    return left


def _credited_back(period_id: int) -> QuerySet[LateCreditLine]:
    """The lines of credit notes for late usage that stand: not refused, and not taken back."""
    lines = LateCreditLine.objects.filter(correction__period_id=period_id, correction__credit_note__unwound_at=None)
    return lines.exclude(correction__state=LateCorrection.State.REFUSED)


def latest_accrual(period_id: int) -> UsageAccrual | None:
    """Return the accrual with the highest revision, or None."""
    return UsageAccrual.objects.filter(period_id=period_id).order_by("-revision").first()


def posted_state(period_id: int) -> PeriodState:
    """Return what the accruals of the period add up to; three queries."""
    drawn = GrantDrawdown.objects.filter(accrual__period_id=period_id)
    rows = _summed(drawn, by=["rate_id", "grant_id"], sums=["amount"])
    given = {(row["rate_id"], row["grant_id"]): row["amount_sum"] for row in rows}
    covered = AllowanceDrawdown.objects.filter(accrual__period_id=period_id)
    rows = _summed(covered, by=["rate_id", "allowance_id"], sums=["amount", "quantity"])
    included = {
        (row["rate_id"], row["allowance_id"]): AllowanceUse(row["amount_sum"], row["quantity_sum"]) for row in rows
    }
    return PeriodState(
        _amounts_by_rate(period_id),
        {key: amount for key, amount in given.items() if amount},
        {key: use for key, use in included.items() if not use.is_zero()},
    )


def taken_by_other_periods(grant_ids: Iterable[int], *, period_id: int) -> dict[int, Decimal]:
    """Return what each of the grants gave to all periods but this one; grants that gave nothing are left out."""
    drawn = GrantDrawdown.objects.filter(grant_id__in=list(grant_ids)).exclude(accrual__period_id=period_id)
    rows = _summed(drawn, by=["grant_id"], sums=["amount"])
    return {row["grant_id"]: row["amount_sum"] for row in rows}


def _amounts_by_rate(period_id: int, **narrower: int) -> dict[int, Amounts]:
    lines = UsageAccrualLine.objects.filter(accrual__period_id=period_id, **narrower)
    rows = _summed(lines, by=["rate_id"], sums=_AMOUNTS)
    return {row["rate_id"]: Amounts(**{name: row[f"{name}_sum"] for name in _AMOUNTS}) for row in rows}


def _rates(rate_ids: Iterable[int]) -> QuerySet[Rate]:
    return Rate.objects.filter(pk__in=list(rate_ids)).order_by("dimensions", "meter_code", "effective_from", "pk")


def _summed(rows: QuerySet[Any], *, by: Sequence[str], sums: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Return one row for each value of `by`, with <name>_sum for each of `sums`."""
    yield from rows.values(*by).order_by(*by).annotate(**_sums(sums))


def _sums(names: Iterable[str]) -> dict[str, Sum]:
    # Not under the field's own name: a later aggregate would take it for the field.
    return {f"{name}_sum": Sum(name) for name in names}
