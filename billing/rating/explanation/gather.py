"""
Explanations of a period, an accrual, one of its lines, or a line of an invoice.

Each is a span of a period's runs of rating: a period is all of them, an accrual one, an invoice's line those since the
period was last billed. The figures are what was posted, which never changes; the windows behind them are read as they
are now, and computed again, to say whether that still comes to the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.catalog.models import Rate
from billing.invoicing.models import InvoiceLine
from billing.rating.charges import charge_of_rate
from billing.rating.explanation import facts
from billing.rating.explanation.model import (
    Charged,
    Check,
    Explanation,
    Payer,
    PriceExplained,
    PriceVersion,
    Slice,
    Subject,
)
from billing.rating.explanation.recomputed import Recomputed, by_day, hours_of_day, recompute, usage_found
from billing.rating.explanation.steps import PricedPart, steps_of
from billing.rating.models import UsageAccrual, UsageAccrualLine
from billing.rating.rating import RatingError
from billing.rating.totals import NOTHING, Amounts
from billing.subscriptions.models import BillingPeriod


class NothingToExplain(Exception):
    """There is no such row, or nothing was metered for it; the text says which."""


class CannotCompute(NothingToExplain):
    """The period cannot be computed again now; the text says why."""


@dataclass(frozen=True, slots=True)
class _Span:
    """The revisions above `after` up to `through` of a period, of one rate or (None) of all."""

    subject: Subject
    period: BillingPeriod
    after: int
    through: int
    rate_id: int | None = None
    charged: Charged | None = None


@dataclass(frozen=True, slots=True)
class _Now:
    """The period computed again, or why that cannot be done."""

    found: Recomputed | None
    problem: str = ""


def explain_period(period_id: int, *, now: datetime) -> Explanation:
    """Explain all that a period has come to. Raises NothingToExplain."""
    period = _period(period_id)
    title = f"Usage of {period}"
    return _explain(_Span(Subject("period", period.pk, title), period, 0, facts.last_revision(period.pk)), now=now)


def explain_accrual(accrual_id: int, *, now: datetime) -> Explanation:
    """Explain what one run of rating changed. Raises NothingToExplain."""
    run = UsageAccrual.objects.filter(pk=accrual_id).first()
    if run is None:
        raise NothingToExplain(f"There is no accrual {accrual_id}.")
    period = _period(run.period_id)
    subject = Subject("accrual", run.pk, f"Accrual {run.revision} of {period}")
    return _explain(_Span(subject, period, run.revision - 1, run.revision), now=now)


def explain_accrual_line(line_id: int, *, now: datetime) -> Explanation:
    """Explain what one run of rating changed of one price. Raises NothingToExplain."""
    line = UsageAccrualLine.objects.select_related("accrual", "rate").filter(pk=line_id).first()
    if line is None:
        raise NothingToExplain(f"There is no accrual line {line_id}.")
    period, revision = _period(line.accrual.period_id), line.accrual.revision
    subject = Subject("accrual_line", line.pk, f"{line.rate} in accrual {revision} of {period}")
    return _explain(_Span(subject, period, revision - 1, revision, line.rate_id), now=now)


def explain_invoice_line(line_id: int, *, now: datetime) -> Explanation:
    """Explain a line of usage, or one that says what was covered. Raises NothingToExplain, also for a line of a fee."""
    found = InvoiceLine.objects.select_related("invoice", "accrual").filter(pk=line_id).first()
    if found is None:
        raise NothingToExplain(f"There is no invoice line {line_id}.")
    if found.period_id is None or found.kind not in (InvoiceLine.Kind.USAGE, InvoiceLine.Kind.COVERAGE):
        kind = found.get_kind_display().lower()
        raise NothingToExplain(f"Invoice line {line_id} is no usage ({kind}): {found.description}")
    period = _period(found.period_id)
    through = found.accrual.revision if found.accrual is not None else facts.last_revision(period.pk)
    span = _Span(
        subject=Subject("invoice_line", found.pk, found.description),
        period=period,
        after=min(facts.billed_before(found), through),
        through=through,
        rate_id=found.rate_id,
        charged=facts.charged(found),
    )
    return _explain(span, now=now)


def explain_day(period_id: int, rate_id: int, day: datetime, *, now: datetime) -> tuple[Slice, ...]:
    """Return the windows of one day (UTC) and price with what each came to. Raises NothingToExplain, CannotCompute."""
    recomputed = _again(_period(period_id), now=now)
    if recomputed.found is None:
        raise CannotCompute(recomputed.problem)
    return hours_of_day(day, recomputed.found.windows_of(rate_id), recomputed.found.of_rate(rate_id))


def _period(period_id: int) -> BillingPeriod:
    period = facts.find_period(period_id)
    if period is None:
        raise NothingToExplain(f"There is no billing period {period_id}.")
    return period


def _again(period: BillingPeriod, *, now: datetime) -> _Now:
    try:
        return _Now(recompute(period, now=now))
    except RatingError as error:
        return _Now(None, str(error))


def _explain(span: _Span, *, now: datetime) -> Explanation:
    period = span.period
    again = _again(period, now=now)
    before = facts.posted_between(period.pk, after=0, through=span.after, rate_id=span.rate_id)
    change = facts.posted_between(period.pk, after=span.after, through=span.through, rate_id=span.rate_id)
    # An accrual's page names the prices it moved; a period's and an invoice line's are all there are.
    rate_ids = sorted(change.by_rate)
    versions, payers = facts.price_versions(rate_ids), facts.payers_of(period, change)
    rates = {rate.pk: rate for rate in Rate.objects.filter(pk__in=rate_ids)}
    prices = [
        _price(
            rates[rate_id],
            versions[rate_id],
            before=before.by_rate.get(rate_id, NOTHING),
            change=change.by_rate[rate_id],
            payers=payers.get(rate_id, ()),
            again=again.found,
            currency=period.plan_version.currency,
        )
        for rate_id in rate_ids
    ]
    total = facts.total_of(change.by_rate)
    return Explanation(
        subject=span.subject,
        period=facts.period_facts(period),
        prices=tuple(sorted(prices, key=lambda one: (one.price.title, one.price.effective_from, one.price.rate_id))),
        postings=facts.postings(period.pk, after=span.after, through=span.through, rate_id=span.rate_id),
        check=_check(span, again),
        charged=span.charged,
        settled=facts.settled(period, total.unbilled) if span.subject.kind == "period" else None,
        total=total,
    )


def _price(
    rate: Rate,
    version: PriceVersion,
    *,
    before: Amounts,
    change: Amounts,
    payers: tuple[Payer, ...],
    again: Recomputed | None,
    currency: str,
) -> PriceExplained:
    after = before.plus(change)
    allocated = () if again is None else again.of_rate(rate.pk)
    # Parts of now say how an amount came about only if the usage is still that of then.
    is_same = again is not None and again.by_rate.get(rate.pk, NOTHING).quantity == after.quantity
    parts = [PricedPart(one.at, one.dimensions, one.quantity, one.amount) for one in allocated] if is_same else None
    steps, is_followed = steps_of(
        charge_of_rate(rate), quantity=after.quantity, rated=after.rated, currency=currency, parts=parts
    )
    windows = () if again is None else again.windows_of(rate.pk)
    return PriceExplained(
        price=version,
        before=before,
        after=after,
        steps=steps,
        is_followed=is_followed,
        payers=payers,
        usage=None if again is None else usage_found(windows),
        days=() if again is None else by_day(windows, allocated),
    )


def _check(span: _Span, again: _Now) -> Check:
    """Whether what was posted up to now is what the windows come to now; of one price, if one is explained."""
    if again.found is None:
        return Check("unknown", f"The period cannot be computed again: {again.problem}")
    posted = facts.posted_between(
        span.period.pk, after=0, through=facts.last_revision(span.period.pk), rate_id=span.rate_id
    )
    found = {
        rate_id: amounts
        for rate_id, amounts in again.found.by_rate.items()
        if span.rate_id in (None, rate_id) and not amounts.is_zero()
    }
    differing = sorted(
        rate_id
        for rate_id in {*found, *posted.by_rate}
        if found.get(rate_id, NOTHING) != posted.by_rate.get(rate_id, NOTHING)
    )
    if not differing:
        return Check("agrees", f"Computed again from {_counted(again.found, span)}: the same, to the last place.")
    return Check(
        "differs",
        f"Computed again from {_counted(again.found, span)}, {len(differing)} of the prices come to something else than"
        " was posted: the next accrual posts the difference.",
    )


def _counted(again: Recomputed, span: _Span) -> str:
    windows: Sequence[object] = again.usage.windows if span.rate_id is None else again.windows_of(span.rate_id)
    return f"{len(windows):,} window{'' if len(windows) == 1 else 's'}"
