"""The document of a proof, read from the tables: what the lines of an invoice rest on (docs/invoice-proofs.md)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

from django.db.models import Max, QuerySet, Sum

from billing.catalog.fingerprint import card_chain, terms_fingerprint
from billing.catalog.models import Rate
from billing.invoicing.late_models import AbsorbedUsage, LateCorrection, LateCreditLine
from billing.invoicing.models import Invoice, InvoiceClose, InvoiceCloseStep, InvoiceLine
from billing.invoicing.orders.models import InvoiceOrder
from billing.invoicing.proofs.reading import accrual_rows, instant_text, line_row, number_text
from billing.invoicing.proofs.verifier.proof import FORMAT, canonical
from billing.rating.models import AllowanceDrawdown, GrantDrawdown, UsageAccrual, UsageAccrualLine
from billing.rating.rating import EXACT, ZERO
from billing.subscriptions.at_stripe import billed_fees
from billing.subscriptions.models import BillingPeriod
from ledger import queries as ledger_queries
from metering import queries as metering_queries
from promotions import queries as promotions_queries

Row = dict[str, Any]
OURS = (InvoiceLine.Kind.USAGE, InvoiceLine.Kind.COVERAGE)
_AMOUNTS = ("quantity", "rated", "included", "credited", "unbilled")


@dataclass(frozen=True, slots=True)
class PeriodAt:
    """
    A period as of one run of rating: the latest that the invoice's lines know.

    `position`: events of every database transaction below it were counted, and no others. `accrual` is None where there
    was nothing to rate.
    """

    period: BillingPeriod
    accrual: UsageAccrual | None
    position: int
    is_over: bool
    at: datetime

    @property
    def revision(self) -> int:
        return 0 if self.accrual is None else self.accrual.revision


def periods_of(invoice: Invoice, *, now: datetime) -> list[PeriodAt]:
    """The periods that the invoice has lines of, and the one it ends, oldest first."""
    lines = invoice.lines.filter(kind__in=OURS)
    runs = dict(lines.order_by("period_id").values_list("period_id").annotate(Max("accrual_id")))
    close = InvoiceClose.objects.filter(invoice=invoice).first()
    ended = set() if close is None or close.period_id is None else {close.period_id}
    found = BillingPeriod.objects.filter(pk__in=ended.union(runs)).order_by("starts_at", "pk")
    known_by = invoice.finalized_at or now
    position = metering_queries.counted_before()
    return [
        _at(period, runs.get(period.pk), known_by=known_by, position=position, is_ended=bool(ended))
        for period in found.select_related("plan_version__plan", "subscription__customer")
    ]


def _at(
    period: BillingPeriod, accrual_id: int | None, *, known_by: datetime, position: int, is_ended: bool
) -> PeriodAt:
    """`is_ended`: a close ends periods by this invoice, so what its last run has to know does not rest on that run."""
    of_period = UsageAccrual.objects.filter(period=period)
    runs = of_period.filter(recorded_at__lte=known_by) if accrual_id is None else of_period.filter(pk=accrual_id)
    accrual = runs.order_by("-revision").first()
    at = known_by if accrual is None else accrual.recorded_at
    if accrual is not None and accrual.counted_before_xid is not None:
        position = accrual.counted_before_xid
    return PeriodAt(period, accrual, position, is_over=(known_by if is_ended else at) >= period.ends_at, at=at)


def document_of(invoice: Invoice, periods: Sequence[PeriodAt]) -> Row:
    """The document but for the windows, which `windows` adds to each period, and what is on no line."""
    lines = [line_row(line) for line in invoice.lines.filter(kind__in=OURS).order_by("position")]
    chains = {at.period.pk: rates_of(at.period) for at in periods}
    rates = {rate.pk: rate for of_period in chains.values() for chain in of_period for card in chain for rate in card}
    following = _following(invoice)
    fees: list[Row] = [
        {"price_id": fee.version.stripe_price_id or "", "amount_minor": fee.amount_minor}
        for fee in ([] if following is None else billed_fees(following))
    ]
    charged = sum(line["amount_minor"] for line in lines)
    return {
        "format": FORMAT,
        "invoice": {
            "stripe_id": invoice.stripe_invoice_id,
            "customer_key": invoice.customer.customer_key,
            "currency": invoice.currency,
            "reason": invoice.billing_reason,
        },
        "meters": _meters(periods, {rate.meter_code for rate in rates.values()}),
        "rates": [rate_row(rates[pk]) for pk in sorted(rates)],
        "periods": [_period(at, chains[at.period.pk], invoice) for at in periods],
        "lines": lines,
        "fees": fees,
        "fees_from": None if following is None else instant_text(following.starts_at),
        "charged_minor": charged,
        "expected_minor": charged + sum(fee["amount_minor"] for fee in fees),
    }


def _following(invoice: Invoice) -> BillingPeriod | None:
    """The period that follows the one that the invoice ends: it carries its fees, in advance. An order has none."""
    close = InvoiceClose.objects.filter(invoice=invoice).select_related("period").first()
    if close is None or close.period is None or hasattr(invoice, "order"):
        return None
    following = BillingPeriod.objects.filter(
        subscription_id=close.period.subscription_id, starts_at=close.period.ends_at
    )
    return following.select_related("plan_version__plan", "subscription__plan_version").first()


def scope_of(invoice: Invoice, period_id: int) -> Row:
    """What of a period the invoice asks for, and why not for all of it; the rest is for another document."""
    order: InvoiceOrder | None = getattr(invoice, "order", None)
    if order is not None and order.kind == InvoiceOrder.Kind.THRESHOLD:
        return {"of": "increases", "why": "usage reached an amount; decreases are for the invoice that ends the period"}
    if order is not None and order.replaces is not None:
        asked = order.replaces.lines.filter(kind=InvoiceLine.Kind.USAGE, period_id=period_id)
        rates = sorted(asked.filter(rate__isnull=False).values_list("rate", flat=True).distinct())
        why = f"in place of {order.replaces.stripe_invoice_id}: its prices alone are asked for again"
        return {"of": "prices", "rates": rates, "why": why}
    if invoice.late_corrections.filter(kind=LateCorrection.Kind.DEBIT_NOTE).exists():
        return {"of": "increases", "why": "late usage on an invoice of its own; decreases are for credit notes"}
    return {"of": "all", "why": ""}


def _meters(periods: Sequence[PeriodAt], priced: set[str]) -> list[Row]:
    """Every version of every meter that is priced, or that counted something."""
    used = set(priced)
    for at in periods:
        key, period = at.period.subscription.customer.customer_key, at.period
        used |= {one.meter_code for one in metering_queries.windows_for(key, period.starts_at, period.ends_at)}
    return [
        meter_row(definition) for definition in metering_queries.meter_definitions() if definition.code in used - {""}
    ]


def meter_row(definition: metering_queries.MeterDefinition) -> Row:
    return {
        "code": definition.code,
        "version": definition.version,
        "event_type": definition.event_type,
        "value_path": definition.value_path,
        "aggregation": definition.aggregation,
        "filters": definition.filters,
        "dimensions": list(definition.dimensions),
        "counts_from": definition.counts_from_xid,
        "counts_before": definition.counts_before_xid,
    }


def rates_of(period: BillingPeriod) -> list[list[list[Rate]]]:
    """The rates that can apply within the period: chains of cards, the plan's and each add-on's, as they are asked."""
    add_ons = period.add_ons.order_by("pk").values_list("plan_version__rate_card_id", flat=True)
    return [
        [_in_force(Rate.objects.filter(rate_card_id=card), period) for card in card_chain(first)]
        for first in (period.plan_version.rate_card_id, *add_ons)
    ]


def _in_force(rates: Iterable[Rate], period: BillingPeriod) -> list[Rate]:
    """Of each dated price, what is in force at the start, and what begins within the period."""
    dated: dict[tuple[Any, ...], list[Rate]] = {}
    for rate in sorted(rates, key=lambda rate: (rate.effective_from, rate.pk)):
        model = "" if rate.meter_code else rate.charge_model
        key = (rate.meter_code, model, tuple(sorted(rate.dimensions.items())))
        if rate.effective_from <= period.starts_at:
            dated[key] = [rate]
        elif rate.effective_from < period.ends_at:
            dated.setdefault(key, []).append(rate)
    return sorted((rate for found in dated.values() for rate in found), key=lambda rate: rate.pk)


def rate_row(rate: Rate) -> Row:
    return {
        "id": rate.pk,
        "meter_code": rate.meter_code,
        "dimensions": rate.dimensions,
        "charge_model": rate.charge_model,
        "terms": rate.terms,
        "unit_price": None if rate.unit_price is None else number_text(rate.unit_price),
        "unit_size": rate.unit_size,
        "effective_from": instant_text(rate.effective_from),
    }


def _period(at: PeriodAt, chains: Sequence[Sequence[Sequence[Rate]]], invoice: Invoice) -> Row:
    period = at.period
    return {
        **terms_row(period),
        "is_over": at.is_over,
        "position": at.position,
        "revision": at.revision,
        "chains": [[[rate.pk for rate in card] for card in chain] for chain in chains],
        "grants": grant_rows(at),
        **amounts_rows(period.pk, through=at.revision),
        "accruals": accruals_summary(period.pk, through=at.revision),
        **_settled(at, invoice),
        "scope": scope_of(invoice, period.pk),
        "not_billed": [],
    }


def terms_row(period: BillingPeriod) -> Row:
    """What was frozen with the period."""
    return {
        "id": period.pk,
        "kind": period.kind,
        "starts_at": instant_text(period.starts_at),
        "ends_at": instant_text(period.ends_at),
        "seats": period.seats,
        "plan_version": str(period.plan_version),
        "terms_fingerprint": terms_fingerprint(period.plan_version),
        "allowances": [
            {
                "id": one.pk,
                "position": one.position,
                "code": one.code,
                "measure": one.measure,
                "amount": None if one.amount is None else number_text(one.amount),
                "each_dimension": one.each_dimension,
                "covers": one.covers,
            }
            for one in period.allowances.order_by("position")
        ],
    }


def grant_rows(at: PeriodAt) -> list[Row]:
    """
    The grants that could pay for usage of the period, in burn-down order of nobody: the verifier orders them.

    What each may give is its amount less what was withdrawn and what other periods had taken when the period was rated:
    runs of one customer follow each other, so these are the ones with a lower number.
    """
    period, customer = at.period, at.period.subscription.customer
    balances = promotions_queries.grants_of(customer.customer_key, currency=customer.currency)
    known = [
        one
        for one in balances
        if one.recorded_at <= at.at
        and one.effective_at < period.ends_at
        and (one.expires_at is None or one.expires_at > period.starts_at)
    ]
    named = promotions_queries.grants_by_id([one.grant_id for one in known])
    others = _taken_by_others([one.grant_id for one in known], at)
    found = []
    for one in known:
        taken = others.get(one.grant_id, [])
        left = one.amount
        for _, _, amount in taken:
            left = EXACT.subtract(left, amount)
        ended_at = one.ended_at if one.ended_at is not None and one.ended_at <= at.at else None
        found.append(
            {
                "id": one.grant_id,
                "kind": one.kind,
                "priority": one.priority,
                "effective_at": instant_text(one.effective_at),
                "expires_at": None if one.expires_at is None else instant_text(one.expires_at),
                "recorded_at": instant_text(one.recorded_at),
                "ended_at": None if ended_at is None else instant_text(ended_at),
                "amount": number_text(named[one.grant_id].amount),
                "withdrawn": number_text(EXACT.subtract(named[one.grant_id].amount, one.amount)),
                "others": [
                    {"period": of, "revision": revision, "amount": number_text(amount)}
                    for of, revision, amount in taken
                ],
                "available": number_text(left),
            }
        )
    return found


def _taken_by_others(grant_ids: Sequence[int], at: PeriodAt) -> dict[int, list[tuple[int, int, Decimal]]]:
    drawn = GrantDrawdown.objects.filter(grant_id__in=grant_ids).exclude(accrual__period_id=at.period.pk)
    if at.accrual is not None:
        drawn = drawn.filter(accrual_id__lt=at.accrual.pk)
    found: dict[int, list[tuple[int, int, Decimal]]] = {}
    rows = drawn.order_by("grant_id", "accrual__period_id").values_list("grant_id", "accrual__period_id")
    for grant_id, period_id, revision, amount in rows.annotate(Max("accrual__revision"), Sum("amount")):
        found.setdefault(grant_id, []).append((period_id, revision, amount))
    return found


def amounts_rows(period_id: int, *, through: int) -> Row:
    """What the period came to by that revision: by rate, and what each allowance and grant paid of it."""
    span = {"accrual__period_id": period_id, "accrual__revision__lte": through}
    lines = _summed(UsageAccrualLine.objects.filter(**span), ("rate_id",), _AMOUNTS)
    allowances = _summed(AllowanceDrawdown.objects.filter(**span), ("rate_id", "allowance_id"), ("amount", "quantity"))
    grants = _summed(GrantDrawdown.objects.filter(**span), ("rate_id", "grant_id"), ("amount",))
    paid = [
        [row[0], "allowance", row[1], number_text(row[2]), number_text(row[3])]
        for row in allowances
        if row[2] or row[3]
    ]
    paid += [[row[0], "grant", row[1], number_text(row[2]), "0"] for row in grants if row[2]]
    return {"rates": [[row[0], *map(number_text, row[1:])] for row in lines if any(row[1:])], "paid": paid}


def _summed(rows: QuerySet[Any], by: Sequence[str], sums: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(rows.order_by(*by).values_list(*by).annotate(*(Sum(name) for name in sums)))


def accruals_summary(period_id: int, *, through: int) -> Row:
    """How many runs of rating there were, a hash over them and their entries, and what these sum up to by account."""
    digest, count = sha256(), 0
    sums: dict[str, Decimal] = {}
    for row in accrual_rows(period_id, through=through):
        digest.update(canonical(row) + b"\n")
        count += 1
        for account, amount in (row["entry"] or {"postings": ()})["postings"]:
            sums[account] = EXACT.add(sums.get(account, ZERO), Decimal(amount))
    moved = {account: number_text(amount) for account, amount in sorted(sums.items()) if amount}
    return {"count": count, "sha256": digest.hexdigest(), "sums": moved}


def _settled(at: PeriodAt, invoice: Invoice) -> Row:
    """What of the period was on other documents before these lines, and what was on void ones."""
    lines = InvoiceLine.objects.filter(period=at.period, kind=InvoiceLine.Kind.USAGE).exclude(invoice=invoice)
    first = invoice.lines.filter(kind__in=OURS).order_by("pk").values_list("pk", flat=True).first()
    lines = lines.filter(pk__lt=first) if first is not None else lines.filter(invoice__created_at__lte=at.at)
    billed = list(lines.select_related("invoice").order_by("pk"))
    # One that became void only after these lines were written was asked for then: they are what is left without it.
    void = {one.pk for one in _void_before(invoice, {line.invoice_id: line.invoice for line in billed}.values())}
    through = 0 if at.accrual is None else at.accrual.pk
    absorbed = AbsorbedUsage.objects.filter(period=at.period, accrual_id__lte=through)
    credited = LateCreditLine.objects.filter(correction__period=at.period, correction__accrual_id__lte=through)
    credited = credited.filter(correction__credit_note__unwound_at=None)
    credited = credited.exclude(correction__state=LateCorrection.State.REFUSED).select_related("invoice_line")
    return {
        "settled": [
            *(_settled_line(line) for line in billed if line.invoice_id not in void),
            *(_row_of("absorbed", one.pk, one.rate_id, one.quantity, one.amount) for one in absorbed.order_by("pk")),
            *(
                _row_of("credit", one.pk, one.invoice_line.rate_id, one.quantity, one.exact_amount)
                for one in credited.order_by("pk")
            ),
        ],
        "void": [_settled_line(line) for line in billed if line.invoice_id in void],
    }


def _void_before(invoice: Invoice, others: Iterable[Invoice]) -> list[Invoice]:
    """Of other invoices, those that were void in our books when the lines of this one were written."""
    void = [one for one in others if one.status == Invoice.Status.VOID]
    if not void:
        return []
    accrued = InvoiceCloseStep.objects.filter(close__invoice=invoice, step=InvoiceClose.Step.ACCRUED)
    written_at = accrued.values_list("recorded_at", flat=True).first() or invoice.finalized_at
    return [one for one in void if written_at is None or _known_void_at(one) <= written_at]


def _known_void_at(invoice: Invoice) -> datetime:
    """When our books took an invoice for void: by the reversal of its entry; of a deleted draft there is none."""
    entry = ledger_queries.entry_by_key(f"invoice_finalized:{invoice.stripe_invoice_id}")
    if entry is not None and entry.reversed_by is not None:
        return ledger_queries.entry(entry.reversed_by).recorded_at
    assert invoice.voided_at is not None  # it is void
    return invoice.voided_at


def _settled_line(line: InvoiceLine) -> Row:
    row = _row_of("line", line.pk, line.rate_id, line.quantity, line.exact_amount)
    return {**row, "invoice": line.invoice.stripe_invoice_id}


def _row_of(kind: str, pk: int, rate_id: int | None, quantity: Decimal, amount: Decimal) -> Row:
    return {
        "kind": kind,
        "id": pk,
        "rate": rate_id,
        "quantity": number_text(quantity),
        "amount": number_text(amount),
    }
