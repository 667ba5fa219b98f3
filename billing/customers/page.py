"""
All that a customer's page shows, read in a fixed number of queries whatever the customer's size.

`may` says whether the reader may open a kind of row, such as may("billing.view_payment"); what they may not open is
not read for them either.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Prefetch, QuerySet, Sum

from billing.admin_links import windows_url
from billing.charts import TOKENS, Chart, stacked_days
from billing.customers.models import Customer
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.page import PAST_DUE
from billing.payments.models import Payment
from billing.payments.recovery import queries as recovery
from billing.rating.models import UsageAccrual
from billing.subscriptions.models import BillingPeriod, Subscription
from ledger import queries as ledger_queries
from metering import queries as metering_queries
from promotions import queries as promotion_queries
from promotions.burn_down import GrantBalance, burn_order, usable

PERIODS_SHOWN = 12
INVOICES_SHOWN = 12
PAYMENTS_SHOWN = 20
May = Callable[[str], bool]
_NOTHING = (Decimal(0),) * 4


@dataclass(frozen=True, slots=True)
class PeriodFigures:
    """A period and what its usage has come to, in currency units: rated = included + credited + unbilled."""

    period: BillingPeriod
    rated: Decimal
    included: Decimal
    credited: Decimal
    unbilled: Decimal

    @property
    def allowance_used_percent(self) -> int:
        """How much of the allowance is used, in whole percent, rounded down."""
        return int(self.included * 100 / self.allowance) if self.allowance else 0

    @property
    def allowance(self) -> Decimal | None:
        """What the period includes, in currency units; None where that is no amount: units, a cap, or no limit."""
        allowances = self.period.allowances.all()
        amounts = [one.amount for one in allowances if one.measure == "money" and one.amount is not None]
        return sum(amounts, Decimal(0)) if len(amounts) == len(allowances) else None


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant, what is left of it, and when its turn comes: 1 burns first; None cannot be burned now."""

    terms: promotion_queries.GrantTerms
    balance: GrantBalance
    turn: int | None

    @property
    def state(self) -> str:
        if self.balance.ended_at is not None:
            return "ended"
        if self.balance.available == 0:
            return "used up"
        return "active" if self.turn is not None else "not usable now"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is owed: open invoices, and how much of it a payment was already declined for."""

    open_minor: int
    past_due_minor: int
    subscription_status: str

    @property
    def is_past_due(self) -> bool:
        return self.past_due_minor > 0 or self.subscription_status in ("past_due", "unpaid")


def subscriptions_of(customer: Customer) -> list[Subscription]:
    found = Subscription.objects.filter(customer=customer).select_related("plan_version__plan")
    return list(found.order_by("-started_at", "-id"))


def periods_of(customer: Customer) -> list[PeriodFigures]:
    """The latest periods, newest first, each with what it has come to."""
    found = BillingPeriod.objects.filter(subscription__customer=customer).select_related("plan_version__plan")
    found = found.prefetch_related("allowances")
    periods = list(found.order_by("-starts_at", "-id")[:PERIODS_SHOWN])
    sums = UsageAccrual.objects.filter(period__in=periods).values_list("period_id").order_by("period_id")
    amounts = {
        period_id: figures
        for period_id, *figures in sums.annotate(
            rated=Sum("rated"), included=Sum("included"), credited=Sum("credited"), unbilled=Sum("unbilled")
        )
    }
    return [PeriodFigures(period, *amounts.get(period.pk, _NOTHING)) for period in periods]


def chosen_period(periods: Sequence[PeriodFigures], *, period_id: str) -> PeriodFigures | None:
    """The period asked for; else the latest with usage; else the latest. `periods` are newest first."""
    asked_for = (figures for figures in periods if str(figures.period.pk) == period_id)
    with_usage = (figures for figures in periods if figures.rated)
    return next(asked_for, None) or next(with_usage, None) or next(iter(periods), None)


def usage_chart(*, customer_key: str, period: BillingPeriod) -> Chart:
    """Tokens of every class by day, one part of the bar for each model; each day leads to its windows."""
    series: dict[str, dict[date, Decimal]] = {}
    for total in metering_queries.daily_totals(period.starts_at, period.ends_at, customer_key):
        by_day = series.setdefault(total.dimensions.get("model") or "no model", {})
        by_day[total.day] = by_day.get(total.day, Decimal(0)) + total.quantity

    def day_url(day: date) -> str:
        start = datetime.combine(day, time.min, tzinfo=UTC)
        return windows_url(customer_key=customer_key, start=start, end=start + timedelta(days=1))

    return stacked_days(
        title="Tokens by day and model",
        days=days_between(period.starts_at, period.ends_at),
        series=series,
        axis_format=TOKENS,
        day_url=day_url,
    )


def days_between(start: datetime, end: datetime) -> list[date]:
    """Every day that [start, end) touches."""
    last = (end - timedelta(microseconds=1)).date()
    return [start.date() + timedelta(days=n) for n in range((last - start.date()).days + 1)]


def grants_of(customer: Customer, *, now: datetime) -> list[GrantRow]:
    """The customer's grants, in the order in which they burn; after them those that cannot."""
    balances = promotion_queries.grants_of(customer.customer_key)
    terms = promotion_queries.grants_by_id(balance.grant_id for balance in balances)
    burnable = [balance for balance in balances if balance.available > 0 and usable(balance, now)]
    turns = {balance.grant_id: turn for turn, balance in enumerate(burn_order(burnable), start=1)}
    rows = [GrantRow(terms[b.grant_id], b, turns.get(b.grant_id)) for b in burn_order(balances)]
    return sorted(rows, key=lambda row: (row.turn is None, row.turn or 0))


def invoices_of(customer: Customer) -> QuerySet[Invoice]:
    """The latest invoices, each with `charged_lines`; lines that cost nothing are on the invoice's own page."""
    charged = InvoiceLine.objects.exclude(amount_minor=0).select_related("rate").order_by("position")
    found = Invoice.objects.filter(customer=customer).select_related("recovery_case").order_by("-created_at", "-id")
    return found.prefetch_related(Prefetch("lines", queryset=charged, to_attr="charged_lines"))[:INVOICES_SHOWN]


def payments_of(customer: Customer) -> QuerySet[Payment]:
    return Payment.objects.filter(customer=customer).select_related("invoice")[:PAYMENTS_SHOWN]


def accounts_of(customer: Customer) -> list[ledger_queries.AccountBalance]:
    return ledger_queries.balances_of_customer(customer.customer_key)


def standing_of(customer: Customer, *, subscription: Subscription | None) -> Standing:
    owed = Invoice.objects.filter(customer=customer, status=Invoice.Status.OPEN)
    past_due = owed.filter(PAST_DUE)
    return Standing(
        open_minor=owed.aggregate(total=Sum("amount_remaining_minor"))["total"] or 0,
        past_due_minor=past_due.aggregate(total=Sum("amount_remaining_minor"))["total"] or 0,
        subscription_status=subscription.status if subscription else "",
    )


def sections(*, customer: Customer, period_id: str, now: datetime, may: May) -> Mapping[str, Any]:
    """Everything the template needs, by name. A section the reader may not see is None."""
    subscriptions = subscriptions_of(customer)
    subscription = subscriptions[0] if subscriptions else None
    periods = periods_of(customer)
    figures = chosen_period(periods, period_id=period_id)
    chart = None
    if figures is not None and may("metering.view_aggregationwindow"):
        chart = usage_chart(customer_key=customer.customer_key, period=figures.period)
    return {
        "subscriptions": subscriptions,
        "subscription": subscription,
        "periods": periods,
        "figures": figures,
        "usage_chart": chart,
        "standing": standing_of(customer, subscription=subscription),
        "recovery_standing": recovery.standing(customer.pk, now=now),
        "grants": grants_of(customer, now=now) if may("promotions.view_creditgrant") else None,
        "invoices": list(invoices_of(customer)) if may("billing.view_invoice") else None,
        "payments": list(payments_of(customer)) if may("billing.view_payment") else None,
        "accounts": accounts_of(customer) if may("ledger.view_account") else None,
    }
