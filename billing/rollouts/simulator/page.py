"""The simulator's page: a customer's real usage under two plan versions side by side, and why they differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from billing.admin_links import page_url, windows_url
from billing.catalog.stored import price_of
from billing.catalog.words import price_text
from billing.charts import money_axis
from billing.line_charts import FigureChart, bar_chart, line_chart
from billing.money_text import exact_text, quantity_text
from billing.rating.rating import ZERO
from billing.rollouts.shadow.operations import SIMULATE
from billing.rollouts.simulator.figures import Cause, Priced, PriceRow, Usage, cumulative
from billing.rollouts.simulator.form import Asked, SimulatorForm, version_text
from billing.rollouts.simulator.simulation import Outcome, PoolUse, Simulation, simulate
from config import clock

TEMPLATE = "admin/billing/simulator/show.html"
PRICES_DRAWN, PRICES_LISTED, UNPRICED_LISTED, CAUSES_NAMED, CAUSES_LISTED = 8, 40, 40, 3, 12
_FIGURES = (
    ("Fee", "fee"),
    ("Usage, rated", "rated"),
    ("Included by allowances", "included"),
    ("Paid by credit", "credited"),
    ("To be invoiced", "unbilled"),
    ("Asked for in all", "pays"),
)
# For people to read: no amount is made from a percentage.
_PERCENT = Context(prec=60, rounding=ROUND_HALF_UP)
_TENTH = Decimal("0.1")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: what it is, both sides, and the change; "" where a side is not known."""

    name: str
    left: str
    right: str
    change: str = ""
    tone: str = ""
    url: str = ""
    left_note: str = ""
    right_note: str = ""
    quantity: str = ""


@dataclass(frozen=True, slots=True)
class SideView:
    """What is told of one side above the figures."""

    heading: str
    title: str
    url: str
    failure: str
    pays: str
    without_price: Sequence[tuple[str, str]]


def simulator_view(request: HttpRequest) -> HttpResponse:
    """An empty address asks for a customer; one that cannot be read says what is wrong, and shows no figures."""
    if not request.user.has_perm(SIMULATE):
        raise PermissionDenied
    form = SimulatorForm(request.GET)
    is_asked = "customer" in request.GET
    asked = form.asked() if is_asked else None
    shown: dict[str, Any] = {}
    if asked is not None and asked.right is not None:
        now = clock.now()
        found = simulate(asked.span, asked.left, asked.right, now=now, counts_grants=asked.counts_grants)
        may_see_windows = request.user.has_perm("metering.view_aggregationwindow")
        shown = context_of(found, now=now, may_see_windows=may_see_windows)
    return TemplateResponse(
        request,
        TEMPLATE,
        {
            **admin.site.each_context(request),
            "title": "Simulator",
            "form": form,
            "is_asked": is_asked,
            "asked": asked,
            "span_text": _span_text(asked) if asked is not None else "",
            **shown,
        },
        status=422 if is_asked and form.errors else 200,
    )


def simulator_url(customer_key: str, **asked: object) -> str:
    """Address of the simulator for a customer; `asked` are the form's other fields."""
    return f"{reverse('simulator:show')}?{urlencode({'customer': customer_key, **asked})}"


def context_of(found: Simulation, *, now: datetime, may_see_windows: bool) -> dict[str, Any]:
    """Everything that the template shows of a simulation, in texts and charts."""
    currency = found.span.customer.currency
    left_name, right_name = _names(found)
    left, right = _side_view("Now", found.left, currency), _side_view("Instead", found.right, currency)
    return {
        "simulation": found,
        "left": left,
        "right": right,
        "failed": [side for side in (left, right) if side.failure],
        "change": _change_of(found, currency),
        "in_all": "" if found.change is None else signed_text(found.change, currency),
        "figures": _figures(found, currency),
        "sentence": _sentence(found.causes, currency),
        "causes": _cause_rows(found.causes, currency),
        "prices": [
            _price_row(found, row, currency, may_see_windows=may_see_windows) for row in found.prices[:PRICES_LISTED]
        ],
        "prices_left_out": max(0, len(found.prices) - PRICES_LISTED),
        "pools": [
            (name, [_pool_row(pool, currency) for pool in side.pools])
            for name, side in ((left_name, found.left), (right_name, found.right))
            if side.figures is not None
        ],
        "charts": [
            chart for chart in (_by_day(found, currency, now=now), _by_price(found, currency)) if chart is not None
        ],
        "is_so_far": found.span.ends_at > now,
    }


def _span_text(asked: Asked) -> str:
    span = asked.span
    return str(span.period) if span.period is not None else f"{span.starts_at:%B %Y}"


def _names(found: Simulation) -> tuple[str, str]:
    """Of the two sides, different from each other."""
    left, right = (version_text(side.version) for side in (found.left, found.right))
    if left != right:
        return left, right
    if found.left.seats != found.right.seats:
        return f"{left}, {_seats(found.left.seats)}", f"{right}, {_seats(found.right.seats)}"
    return f"{left}, now", f"{right}, instead"


def _seats(number: int) -> str:
    return f"{number:,} seat{'' if number == 1 else 's'}"


def _side_view(heading: str, side: Outcome, currency: str) -> SideView:
    own = ", as the period has it" if side.is_own else ""
    return SideView(
        heading=heading,
        title=f"{version_text(side.version)}, {_seats(side.seats)}{own}",
        url=page_url("billing.planversion", side.version.pk),
        failure=side.failure,
        pays="" if side.figures is None else exact_text(side.figures.pays, currency),
        without_price=[(usage.name, quantity_text(number)) for usage, number in side.without_price[:UNPRICED_LISTED]],
    )


def _change_of(found: Simulation, currency: str) -> dict[str, str] | None:
    """The difference in words, in percent, and in the colour of what it means to the customer."""
    change = found.change
    if change is None or found.left.figures is None:
        return None
    words = "the same" if not change else f"{exact_text(abs(change), currency)} {'more' if change > 0 else 'less'}"
    return {"words": words, "percent": percent_text(change, found.left.figures.pays), "tone": tone_of(change)}


def tone_of(change: Decimal) -> str:
    """Green for who would pay less, red for who would pay more."""
    if not change:
        return ""
    return "bad" if change > 0 else "good"


def percent_text(change: Decimal, of: Decimal) -> str:
    """Such as +12.5 %; "" of nothing. Rounded to a tenth, half away from zero."""
    if not of:
        return ""
    share = _PERCENT.divide(_PERCENT.multiply(change, Decimal(100)), of)
    rounded = share.quantize(_TENTH, context=_PERCENT)
    if not rounded and change:
        return f"less than {'+' if change > 0 else '−'}0.1 %"
    return f"{'+' if rounded > 0 else '−' if rounded < 0 else ''}{abs(rounded):,} %"


def signed_text(amount: Decimal, currency: str) -> str:
    """An exact amount with its sign, such as +$1.25."""
    return f"+{exact_text(amount, currency)}" if amount > 0 else exact_text(amount, currency)


def _figures(found: Simulation, currency: str) -> list[Row]:
    rows = []
    for name, figure in _FIGURES:
        left, right = (
            None if side.figures is None else getattr(side.figures, figure) for side in (found.left, found.right)
        )
        change = None if left is None or right is None else right - left
        takes_away = figure in ("included", "credited")
        rows.append(
            Row(
                name=name,
                left="" if left is None else exact_text(left, currency),
                right="" if right is None else exact_text(right, currency),
                change="" if not change else signed_text(change, currency),
                tone="" if change is None else tone_of(-change if takes_away else change),
            )
        )
    return rows


def _sentence(causes: Sequence[Cause], currency: str) -> str:
    """The largest causes in words, "" where nothing differs."""
    largest = sorted((cause for cause in causes if cause.effect), key=lambda cause: -abs(cause.effect))
    parts = [
        f"{cause.name} {'adds' if cause.effect > 0 else 'saves'} {exact_text(abs(cause.effect), currency)}"
        for cause in largest[:CAUSES_NAMED]
    ]
    return "; ".join(parts)


def _cause_rows(causes: Sequence[Cause], currency: str) -> list[Row]:
    """What differs, the largest first; small ones beyond a dozen are added up."""
    differing = sorted((cause for cause in causes if cause.effect), key=lambda cause: -abs(cause.effect))
    rest = differing[CAUSES_LISTED:]
    shown = differing[:CAUSES_LISTED]
    if rest:
        sums = (sum((getattr(cause, side) for cause in rest), ZERO) for side in ("left", "right", "effect"))
        shown = [*shown, Cause(f"{len(rest)} more", *sums)]
    return [
        Row(
            name=cause.name,
            left=exact_text(cause.left, currency),
            right=exact_text(cause.right, currency),
            change=signed_text(cause.effect, currency),
            tone=tone_of(cause.effect),
        )
        for cause in shown
    ]


def _price_row(found: Simulation, row: PriceRow, currency: str, *, may_see_windows: bool) -> Row:
    left, right = found.left.figures is not None, found.right.figures is not None
    return Row(
        name=row.usage.name,
        left=exact_text(row.left.rated, currency) if left else "",
        right=exact_text(row.right.rated, currency) if right else "",
        change=signed_text(row.change, currency) if row.change and left and right else "",
        tone=tone_of(row.change) if left and right else "",
        url=_windows_of(found, row.usage) if may_see_windows else "",
        left_note=_prices_text(found, row.left, is_known=left),
        right_note=_prices_text(found, row.right, is_known=right),
        quantity=quantity_text(row.quantity) if row.usage.meter_code else "",
    )


def _prices_text(found: Simulation, priced: Priced, *, is_known: bool) -> str:
    """The prices of some usage in words; "" for a side that cannot be rated."""
    currency = found.span.customer.currency
    rates = [found.rates[rate_id] for rate_id in priced.rate_ids]
    texts = ", then ".join(price_text(price_of(rate), currency) for rate in rates)
    return texts or ("no such price" if is_known else "")


def _windows_of(found: Simulation, usage: Usage) -> str:
    """The windows of some usage; "" of a charge that has none."""
    if not usage.meter_code:
        return ""
    return windows_url(
        customer_key=found.span.customer.customer_key,
        start=found.span.starts_at,
        end=found.span.ends_at,
        meter_code=usage.meter_code,
        dimension_model=dict(usage.dimensions).get("model") or "",
    )


def _pool_row(pool: PoolUse, currency: str) -> dict[str, Any]:
    """An allowance, how much of it is used and how much was of no use."""

    def text(amount: Decimal) -> str:
        return f"{quantity_text(amount)} units" if pool.measure == "units" else exact_text(amount, currency)

    is_shared = not pool.each_dimension
    left = None if pool.amount is None or not is_shared else pool.amount - pool.used
    return {
        "name": pool.name,
        "amount": "no limit" if pool.amount is None else text(pool.amount),
        "each": pool.each_dimension,
        "used": text(pool.used),
        "paid": exact_text(pool.paid, currency) if pool.measure != "money" else "",
        "left": "" if left is None or pool.measure == "cap" else text(left),
        "percent": int(pool.used * 100 / pool.amount) if pool.amount and is_shared else None,
        "is_cap": pool.measure == "cap",
    }


def _by_day(found: Simulation, currency: str, *, now: datetime) -> FigureChart | None:
    """What is asked for by the end of each day, up to now, on each side that can be said."""
    days = found.span.days
    begun = [day for day in days if day <= now.date()] or days[:1]
    to_come: list[Decimal | None] = [None] * (len(days) - len(begun))
    names = _names(found)
    series = {
        name: [*cumulative(side.figures.fee, side.allocated, begun), *to_come]
        for name, side in zip(names, (found.left, found.right), strict=True)
        if side.figures is not None
    }
    if not series:
        return None
    return line_chart(
        title="Asked for by the end of each day",
        labels=[f"{day:%d %b}" for day in days],
        series=series,
        axis_format=money_axis(currency),
        unit="Day",
    )


def _by_price(found: Simulation, currency: str) -> FigureChart | None:
    """The dearest usage on both sides, before allowances and credit."""
    drawn = found.prices[:PRICES_DRAWN]
    if not drawn:
        return None
    names = _names(found)
    sides = [
        (name, [getattr(row, place).rated for row in drawn])
        for name, place, side in zip(names, ("left", "right"), (found.left, found.right), strict=True)
        if side.figures is not None
    ]
    return bar_chart(
        title="The dearest usage, before allowances and credit",
        labels=[row.usage.name for row in drawn],
        series=dict(sides),
        axis_format=money_axis(currency),
        unit="Price",
    )
