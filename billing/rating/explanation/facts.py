"""What explanations read from tables: a period and its terms, price versions, who paid, what was posted and billed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet, Sum

from billing.catalog.models import Rate
from billing.invoicing.late_models import AbsorbedUsage
from billing.invoicing.late_page import what_arrived
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.rounding import chargeable_increment_minor
from billing.rating import queries
from billing.rating.charges import ChargeModel
from billing.rating.explanation.model import Charged, Payer, PeriodFacts, Posting, PriceVersion, Settled
from billing.rating.models import AllowanceDrawdown, GrantDrawdown, LateUsage, UsageAccrual, UsageAccrualLine
from billing.rating.rating import EXACT, ZERO
from billing.rating.totals import NOTHING, Amounts
from billing.subscriptions.models import BillingPeriod, PeriodAllowance
from promotions import queries as promotions_queries

TO_INVOICE = "To invoice"
_AMOUNTS = ("quantity", "rated", "included", "credited", "unbilled")


@dataclass(frozen=True, slots=True)
class Posted:
    """What the accruals of a span of revisions add up to: by rate, and by rate and allowance or grant."""

    by_rate: Mapping[int, Amounts]
    allowances: Mapping[tuple[int, int], Amounts]
    grants: Mapping[tuple[int, int], Decimal]


def find_period(period_id: int) -> BillingPeriod | None:
    found = BillingPeriod.objects.select_related("subscription__customer", "plan_version__plan")
    return found.prefetch_related("add_ons__plan_version__plan", "allowances").filter(pk=period_id).first()


def period_facts(period: BillingPeriod) -> PeriodFacts:
    customer = period.subscription.customer
    return PeriodFacts(
        id=period.pk,
        customer_id=customer.pk,
        customer_key=customer.customer_key,
        customer_name=customer.name,
        starts_at=period.starts_at,
        ends_at=period.ends_at,
        kind=period.kind,
        state=period.state,
        plan_version_id=period.plan_version_id,
        terms=str(period.plan_version),
        seats=period.seats,
        add_ons=tuple(str(one.plan_version) for one in period.add_ons.all()),
        currency=period.plan_version.currency,
    )


def posted_between(period_id: int, *, after: int, through: int, rate_id: int | None = None) -> Posted:
    """What the revisions above `after`, up to `through`, changed; of one rate if it is named. Three queries."""
    span = {"accrual__period_id": period_id, "accrual__revision__gt": after, "accrual__revision__lte": through}
    if rate_id is not None:
        span["rate_id"] = rate_id
    lines = _summed(UsageAccrualLine.objects.filter(**span), "rate_id", sums=_AMOUNTS)
    drawn = AllowanceDrawdown.objects.filter(**span)
    allowances = _summed(drawn, "rate_id", "allowance_id", sums=("amount", "quantity"))
    grants = _summed(GrantDrawdown.objects.filter(**span), "rate_id", "grant_id", sums=("amount",))
    return Posted(
        by_rate={row["rate_id"]: Amounts(**{name: row[f"{name}_sum"] for name in _AMOUNTS}) for row in lines},
        allowances={
            (row["rate_id"], row["allowance_id"]): Amounts(quantity=row["quantity_sum"], included=row["amount_sum"])
            for row in allowances
        },
        grants={(row["rate_id"], row["grant_id"]): row["amount_sum"] for row in grants},
    )


def _summed(rows: QuerySet[Any], *by: str, sums: Iterable[str]) -> Iterator[dict[str, Any]]:
    # Not under the field's own name: a later aggregate would take it for the field.
    yield from rows.values(*by).order_by(*by).annotate(**{f"{name}_sum": Sum(name) for name in sums})


def price_versions(rate_ids: Iterable[int]) -> dict[int, PriceVersion]:
    """By rate; two queries. A price ends where the next one of its card, for the same usage, begins."""
    rates = {rate.pk: rate for rate in Rate.objects.filter(pk__in=list(rate_ids)).select_related("rate_card")}
    cards = {rate.rate_card_id for rate in rates.values()}
    dated: dict[tuple[Any, ...], list[Any]] = {}
    siblings = Rate.objects.filter(rate_card_id__in=cards).order_by("effective_from")
    for one in siblings.only("rate_card_id", "meter_code", "dimensions", "charge_model", "effective_from"):
        dated.setdefault(_priced_usage(one), []).append(one.effective_from)
    return {pk: _price_version(rate, dated[_priced_usage(rate)]) for pk, rate in rates.items()}


def _priced_usage(rate: Rate) -> tuple[Any, ...]:
    """What usage a rate prices. Another charge model for the same usage follows it as well, but for charges of none."""
    model = "" if rate.meter_code else rate.charge_model
    return rate.rate_card_id, rate.meter_code, model, tuple(sorted(rate.dimensions.items()))


def _price_version(rate: Rate, starts: list[Any]) -> PriceVersion:
    return PriceVersion(
        rate_id=rate.pk,
        title=str(rate).replace("_", " "),
        meter_code=rate.meter_code,
        dimensions=dict(rate.dimensions),
        charge_model=rate.charge_model,
        charge_label=str(ChargeModel(rate.charge_model).label),
        card=rate.rate_card.name,
        effective_from=rate.effective_from,
        effective_until=next((start for start in starts if start > rate.effective_from), None),
    )


# Allowances in units pay before those in money, then grants (1), then what is above a cap.
_PLACES = {PeriodAllowance.Measure.UNITS.value: -1, PeriodAllowance.Measure.CAP.value: 2}


def payers_of(period: BillingPeriod, posted: Posted) -> dict[int, tuple[Payer, ...]]:
    """Who paid for each rate, in the order in which they pay; nobody is named who paid nothing."""
    allowances = {one.pk: one for one in period.allowances.all()}
    grants = promotions_queries.grants_by_id({grant_id for _, grant_id in posted.grants})
    found: dict[int, list[tuple[tuple[int, int], Payer]]] = {}
    for (rate_id, allowance_id), use in posted.allowances.items():
        allowance = allowances[allowance_id]
        place = (_PLACES.get(allowance.measure, 0), allowance.position)
        found.setdefault(rate_id, []).append((place, allowance_payer(allowance, use.included, use.quantity)))
    for (rate_id, grant_id), amount in posted.grants.items():
        found.setdefault(rate_id, []).append(((1, grant_id), grant_payer(grants[grant_id], amount)))
    for rate_id, amounts in posted.by_rate.items():
        found.setdefault(rate_id, []).append(((3, 0), Payer("unbilled", None, TO_INVOICE, amounts.unbilled)))
    return {
        rate_id: tuple(payer for _, payer in sorted(rows, key=lambda row: row[0]) if payer.amount or payer.quantity)
        for rate_id, rows in found.items()
    }


def allowance_payer(allowance: PeriodAllowance, amount: Decimal, quantity: Decimal) -> Payer:
    return Payer("allowance", allowance.pk, allowance.name, amount, quantity, allowance.measure, allowance.amount)


def grant_payer(terms: promotions_queries.GrantTerms, amount: Decimal) -> Payer:
    return Payer("grant", terms.grant_id, terms.name, amount, limit=terms.amount)


def postings(period_id: int, *, after: int, through: int, rate_id: int | None = None) -> tuple[Posting, ...]:
    """The runs of rating of the span, oldest first, each with what it changed of the rate, or of all. Two queries."""
    runs = UsageAccrual.objects.filter(period_id=period_id, revision__gt=after, revision__lte=through)
    runs = runs.order_by("revision").select_related("late")
    if rate_id is None:
        return tuple(_posting(run, run, ZERO) for run in runs)
    lines = UsageAccrualLine.objects.filter(accrual__in=runs, rate_id=rate_id)
    found = {line.accrual_id: line for line in lines}
    return tuple(_posting(run, found[run.pk], found[run.pk].quantity) for run in runs if run.pk in found)


def _posting(run: UsageAccrual, figures: UsageAccrual | UsageAccrualLine, quantity: Decimal) -> Posting:
    late: LateUsage | None = getattr(run, "late", None)
    change = Amounts(
        quantity=quantity,
        rated=figures.rated,
        included=figures.included,
        credited=figures.credited,
        unbilled=figures.unbilled,
    )
    because = "" if late is None else f"After the close: {what_arrived(late)}"
    return Posting(run.pk, run.revision, run.recorded_at, change, run.journal_entry_id, because)


def last_revision(period_id: int) -> int:
    latest = queries.latest_accrual(period_id)
    return 0 if latest is None else latest.revision


def billed_before(line: InvoiceLine) -> int:
    """The last revision that an earlier invoice, not void, had billed of the line's period; 0 where there is none."""
    earlier = InvoiceLine.objects.filter(period_id=line.period_id, kind=InvoiceLine.Kind.USAGE)
    earlier = earlier.filter(invoice__created_at__lt=line.invoice.created_at).exclude(
        invoice__status=Invoice.Status.VOID
    )
    found = earlier.order_by("-accrual__revision").values_list("accrual__revision", flat=True).first()
    return found or 0


def charged(line: InvoiceLine) -> Charged:
    invoice = line.invoice
    return Charged(
        line_id=line.pk,
        invoice_id=invoice.pk,
        invoice=str(invoice),
        invoice_status=invoice.status,
        kind=line.kind,
        description=line.description,
        created_at=invoice.created_at,
        finalized_at=invoice.finalized_at,
        exact=line.exact_amount,
        rounding=line.rounding,
        minor=line.amount_minor,
        increment_minor=chargeable_increment_minor(invoice.currency),
    )


def settled(period: BillingPeriod, unbilled: Decimal) -> Settled:
    """What became of the period's unbilled usage, which came to `unbilled` in all."""
    lines = InvoiceLine.objects.filter(period=period, kind=InvoiceLine.Kind.USAGE)
    lines = lines.exclude(invoice__status=Invoice.Status.VOID)
    billed = lines.aggregate(total=Sum("exact_amount"))["total"] or ZERO
    absorbed = AbsorbedUsage.objects.filter(period=period).aggregate(total=Sum("amount"))["total"] or ZERO
    left = ZERO
    for rest in queries.uninvoiced(period.subscription_id, period.pk):
        left = EXACT.add(left, rest.amount)
    given_back = EXACT.subtract(EXACT.subtract(EXACT.subtract(unbilled, billed), absorbed), left)
    return Settled(billed, given_back, absorbed, left)


def total_of(by_rate: Mapping[int, Amounts]) -> Amounts:
    total = NOTHING
    for amounts in by_rate.values():
        total = total.plus(amounts)
    return total
