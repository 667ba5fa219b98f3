"""What the pages of a team, a group, a member and of usage by either show. Reads only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

from django.core.paginator import Paginator

from billing.admin_links import page_url
from billing.charts import Chart, stacked_kinds
from billing.customers.models import Customer
from billing.customers.page import days_between
from billing.invoicing.rounding import from_minor
from billing.money_text import exact_text, quantity_text
from billing.rating.rating import EXACT, ZERO, RatingError
from billing.rating.totals import NOTHING, Amounts
from billing.subscriptions.models import BillingPeriod
from billing.teams import queries, usage
from billing.teams.models import BillingGroup, Member, SeatAssignment, SeatOrder, TeamChange
from config.csv_text import safe_text
from metering.queries import EventsArchived

MEMBERS_SHOWN, CHANGES_SHOWN, SPANS_SHOWN, LINES_SHOWN, PERIODS_SHOWN = 50, 15, 200, 100, 13
COLUMNS = ("rated", "included", "credited", "unbilled")
_MONEY_AXIS = {"minimumFractionDigits": 0, "maximumFractionDigits": 2}


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time of somebody, in words."""

    starts_at: datetime
    ends_at: datetime | None
    what: str
    url: str
    because: str
    tone: str = "plain"


@dataclass(frozen=True, slots=True)
class LineRow:
    """One holder's line of usage, ready to be shown; amounts exact."""

    name: str
    code: str
    budget_code: str
    url: str
    is_other: bool
    quantities: tuple[str, ...]
    amounts: tuple[str, ...]


def team_sections(customer: Customer, *, now: datetime, asked: Mapping[str, str]) -> dict[str, Any]:
    """The team's page: figures, groups, a page of members, the latest changes; a fixed number of queries."""
    text, state = asked.get("q", "")[:100], asked.get("state", "member")
    state = state if state in ("member", "former", "all") else "member"
    group = asked.get("group")
    found = queries.members_of(customer, at=now, state=state, group=group, text=text.replace("\x00", ""))
    page = Paginator(found, MEMBERS_SHOWN).get_page(asked.get("page"))
    figures = queries.team_figures(customer, at=now)
    orders = SeatOrder.objects.filter(customer=customer).exclude(state=SeatOrder.State.DONE)
    return {
        "customer": customer,
        "figures": figures,
        "over": figures.seats_paid is not None and figures.seats_held > figures.seats_paid,
        "groups": list(queries.groups_of(customer, at=now)),
        "page": page,
        "text": text,
        "state": state,
        "group": group,
        "changes": list(TeamChange.objects.filter(customer=customer)[:CHANGES_SHOWN]),
        "order": orders.first(),
        "periods": periods_of(customer),
    }


def periods_of(customer: Customer) -> list[BillingPeriod]:
    """The latest periods, newest first."""
    found = BillingPeriod.objects.filter(subscription__customer=customer)
    return list(found.select_related("plan_version", "subscription__customer").order_by("-starts_at")[:PERIODS_SHOWN])


def group_spans(group: BillingGroup) -> list[Span]:
    """Who was in it and when, the latest first."""
    return [
        Span(
            row.starts_at,
            row.ends_at,
            str(row.member),
            page_url("billing.member", row.member_id),
            str(row.ended_by or row.begun_by),
            "good" if row.ends_at is None else "plain",
        )
        for row in queries.who_was_in(group, most=SPANS_SHOWN)
    ]


def member_spans(member: Member) -> list[Span]:
    """All that a member had and was, the latest first."""
    spans = [_span(one, "Member", "good") for one in member.memberships.select_related("begun_by", "ended_by")]
    spans += [
        _span(one, f"In {one.group}", "waiting", page_url("billing.billinggroup", one.group_id))
        for one in member.group_memberships.select_related("group", "begun_by", "ended_by")
    ]
    held = SeatAssignment.objects.filter(member=member).select_related("add_on", "begun_by", "ended_by")
    spans += [
        _span(
            one,
            f"Seat of {one.add_on.name}" if one.add_on is not None else "Seat of the plan",
            "plain",
            page_url("billing.subscription", one.subscription_id),
        )
        for one in held
    ]
    return sorted(spans, key=lambda one: one.starts_at, reverse=True)[:SPANS_SHOWN]


def _span(row: Any, what: str, tone: str, url: str = "") -> Span:
    cancelled = row.ends_at is not None and row.ends_at <= row.starts_at
    because = f"{row.begun_by}" if row.ended_by is None else f"{row.begun_by}; ended: {row.ended_by}"
    return Span(row.starts_at, row.ends_at, f"{what}, never begun" if cancelled else what, url, because, tone)


def daily(period: BillingPeriod, holder_id: int, *, by_member: bool, now: datetime) -> dict[str, Any]:
    """One holder's usage of a period: a chart by day, and the sum; or why it cannot be told."""
    currency = period.plan_version.currency
    days = days_between(period.starts_at, period.ends_at)
    instants = [datetime.combine(day, time.min, tzinfo=UTC) for day in days[1:]]
    try:
        cells = usage.usage_of_pieces(period, instants, by_member=by_member, now=now)
    except (RatingError, EventsArchived) as error:
        return {"refused": str(error), "period": period}
    total, series = NOTHING, {name: dict[Any, Decimal]() for name in ("Included", "Credited", "To invoice")}
    for (piece, holder), by_rate in cells.items():
        if holder == holder_id:
            for amounts in by_rate.values():
                total = total.plus(amounts)
                for name, amount in zip(series, (amounts.included, amounts.credited, amounts.unbilled), strict=True):
                    series[name][days[piece]] = EXACT.add(series[name].get(days[piece], ZERO), amount)
    chart: Chart = stacked_kinds(
        title=f"Usage by day, in {currency}", days=days, series=series, axis_format=_MONEY_AXIS
    )
    return {"chart": chart, "total": total, "currency": currency, "period": period}


def by_holder(period: BillingPeriod, *, by_member: bool, now: datetime, page: str | None) -> dict[str, Any]:
    """The page "by group" or "by member" of a period; or why it cannot be told."""
    read = usage.usage_by_member if by_member else usage.usage_by_group
    try:
        found = read(period, now=now)
    except (RatingError, EventsArchived) as error:
        return {"refused": str(error), "period": period}
    currency, meters = period.plan_version.currency, meters_of(found)
    shown = Paginator(found.lines, LINES_SHOWN).get_page(page)
    return {
        "period": period,
        "found": found,
        "page": shown,
        "meters": meters,
        "rows": [_row(line, meters, currency, by_member=by_member) for line in shown],
        "total": [exact_text(getattr(found.total, name), currency) for name in COLUMNS],
        "currency": currency,
    }


def meters_of(found: usage.UsageByHolder) -> list[str]:
    return sorted({code for line in found.lines for code in line.quantities if code})


def _row(line: usage.HolderUsage, meters: Sequence[str], currency: str, *, by_member: bool) -> LineRow:
    model = "billing.member" if by_member else "billing.billinggroup"
    return LineRow(
        name=line.holder.name,
        code=line.holder.code,
        budget_code=line.holder.budget_code,
        url="" if line.holder.id is None else page_url(model, line.holder.id),
        is_other=line.holder.id is None,
        quantities=tuple(quantity_text(line.quantities.get(code, ZERO)) for code in meters),
        amounts=tuple(exact_text(getattr(line.amounts, name), currency) for name in COLUMNS),
    )


def csv_rows(found: usage.UsageByHolder, period: BillingPeriod) -> Sequence[Sequence[str]]:
    """One row for each holder and price; the last is the total. Quantities and amounts are exact."""
    head = ["kind", "code", "name", "budget_code", "meter", "price", "quantity", *COLUMNS, "currency"]
    currency = period.plan_version.currency
    rows: list[Sequence[str]] = [head]
    for line in found.lines:
        holder = line.holder
        told = [holder.kind, *(safe_text(text) for text in (holder.code, holder.name, holder.budget_code))]
        for rate_id in sorted(line.by_rate):
            rate, amounts = found.rates[rate_id], line.by_rate[rate_id]
            price = safe_text(" ".join(f"{name}={value}" for name, value in sorted(rate.dimensions.items())))
            rows.append([*told, rate.meter_code, price, format(amounts.quantity, "f"), *_figures(amounts), currency])
    rows.append(["total", "", "", "", "", "", "", *_figures(found.total), currency])
    return rows


def _figures(amounts: Amounts) -> list[str]:
    return [format(getattr(amounts, name), "f") for name in COLUMNS]


def invoice_rows(found: usage.InvoicedByHolder, currency: str) -> list[Mapping[str, str]]:
    """An invoice's usage by group, exact, with what part of the usage that is."""
    return [
        {
            "name": holder.name,
            "budget_code": holder.budget_code,
            "url": "" if holder.id is None else page_url("billing.billinggroup", holder.id),
            "amount": exact_text(amount, currency),
            "percent": f"{amount * 100 / found.usage:.1f} %" if found.usage else "–",
        }
        for holder, amount in found.lines
    ]


def invoice_csv(found: usage.InvoicedByHolder, currency: str) -> Sequence[Sequence[str]]:
    """One row for each group; then rounding, and what is no usage. They add up to the invoice's lines as charged."""
    rows: list[Sequence[str]] = [["kind", "code", "name", "budget_code", "amount", "currency"]]
    for holder, amount in found.lines:
        told = (safe_text(text) for text in (holder.code, holder.name, holder.budget_code))
        rows.append([holder.kind, *told, format(amount, "f"), currency])
    rows.append(["rounding", "", "", "", format(found.rounding, "f"), currency])
    for line in found.other:
        charged = format(from_minor(line.amount_minor, currency), "f")
        rows.append([line.kind, "", safe_text(line.description), "", charged, currency])
    return rows
