"""What the pages of the bank show: an account beside the books, a payout at the bank, what a line could be."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Exists, Max, OuterRef, Q, Sum

from billing.accounting.chart import system
from billing.admin_links import NOTHING, list_url
from billing.charts import Chart, grouped_days, money_axis
from billing.figures import Figure, tone_of
from billing.invoicing.rounding import from_minor
from billing.money_text import counted, exact_text, minor_text
from billing.payments.bank import queries
from billing.payments.bank.composition import composition_of
from billing.payments.bank.matches import amount_of, pairing
from billing.payments.bank.matching import add_bank_days, bank_days_between, names_trace
from billing.payments.bank.models import BankAccount, BankLine, BankMatch, Leg
from billing.payments.models import Payout
from billing.takeover.cut import cut
from ledger import queries as ledger_queries
from ledger.operations import UnknownAccount

DAYS_SHOWN = 35
CANDIDATES_MAX = 30
NEAR_DAYS = 15


@dataclass(frozen=True, slots=True)
class Comparison:
    """Stripe's part of what the bank has, beside what the ledger says of it. Minor units and exact amounts."""

    since: date
    lines_minor: int
    ledger: Decimal
    unconfirmed: list[queries.Expected]
    difference: Decimal


def comparison_of(currency: str, *, since: date) -> Comparison:
    """All accounts of a currency together: the ledger has one account `bank` for each."""
    began = datetime(since.year, since.month, since.day, tzinfo=UTC)
    # One expected before the first day may be booked after it: its line counts, so it does.
    is_meant = Q(expected_at__gte=began) | Exists(queries.live_parts().filter(payout=OuterRef("pk")))
    ids = set(Payout.objects.filter(is_meant, currency=currency).values_list("stripe_payout_id", flat=True))
    by_payout = ledger_queries.account_by_cause(system("bank", currency), cause="payout")
    arrived = sum((amount for payout, amount in by_payout.items() if payout in ids), Decimal(0))
    # What was at the bank by the cut of a takeover is in no book of ours.
    cut_at = cut()
    before = Q(arrived_at__lte=cut_at) if cut_at is not None else Q(pk__in=())
    history = Payout.objects.filter(before, currency=currency, returned_at=None)
    history = history.exclude(stripe_payout_id__in=by_payout)
    of_history = queries.live_parts().filter(payout__in=history, match__lines__line=OuterRef("pk"))
    lines = queries.in_states(BankLine.objects.filter(currency=currency)).filter(is_matched=True)
    received = int(lines.exclude(Exists(of_history)).aggregate(total=Sum("amount_minor"))["total"] or 0)
    found = queries.unconfirmed(currencies=[currency])
    return Comparison(since, received, arrived, found, arrived - from_minor(received, currency))


def account_sections(account: BankAccount, *, today: date) -> dict[str, Any]:
    currency = account.currency
    since = queries.first_days().get(currency, today)
    compared = comparison_of(currency, since=since)
    stated = queries.last_balance(account)
    until = queries.covered_until(currency) or today
    return {
        "account": account,
        "closing": account.closings.last(),
        "stated": stated,
        "compared": compared,
        "ledger_bank": _ledger_bank(currency),
        "figures": _figures(account, compared),
        "missing": [_missing(leg, today) for leg in compared.unconfirmed[-CANDIDATES_MAX:]],
        "missing_more": max(len(compared.unconfirmed) - CANDIDATES_MAX, 0),
        "chart": _chart(currency, until=until),
        "difference_text": exact_text(compared.difference, currency),
        "lines_text": minor_text(compared.lines_minor, currency),
        "ledger_text": exact_text(compared.ledger, currency),
        "missing_text": minor_text(sum(leg.amount_minor for leg in compared.unconfirmed), currency),
    }  # fmt: skip


def _figures(account: BankAccount, compared: Comparison) -> list[Figure]:
    waiting = queries.in_states(account.lines.all()).filter(is_waiting=True).count()
    until = account.statements.aggregate(until=Max("last_day"))["until"]
    missing, of_account = len(compared.unconfirmed), {"account__id__exact": account.pk}
    matched = minor_text(queries.matched_minor(account), account.currency)
    lines = list_url("billing.bankline", state="waiting", **of_account)
    statements = list_url("billing.bankstatement", **of_account)
    note = f"of those that Stripe says arrived since {compared.since:%d %b %Y}"
    return [
        Figure(
            "Payouts without a line",
            f"{missing:,}",
            note,
            list_url("billing.payout", at_bank="missing"),
            tone_of(missing),
        ),
        Figure("Lines that wait", f"{waiting:,}", "they say Stripe, and are no payout yet", lines, tone_of(waiting)),
        Figure("Lines that are payouts", matched, "", list_url("billing.bankline", state="matched", **of_account)),
        Figure(
            "Imported until",
            f"{until:%d %b %Y}" if until else NOTHING,
            counted(account.lines.count(), "line"),
            statements,
        ),
    ]


def _ledger_bank(currency: str) -> str:
    try:
        return exact_text(ledger_queries.balance_of(system("bank", currency)), currency)
    except UnknownAccount:
        return exact_text(Decimal(0), currency)


def _missing(leg: queries.Expected, today: date) -> dict[str, Any]:
    due = add_bank_days(leg.on, settings.BILLING_BANK_CONFIRM_DAYS)
    return {"leg": leg, "late": today > due, "due": due, "text": minor_text(leg.amount_minor, leg.payout.currency)}


def _chart(currency: str, *, until: date) -> Chart:
    """Per day: what Stripe says arrives, and what the bank booked of it."""
    days = [until - timedelta(days=back) for back in range(DAYS_SHOWN - 1, -1, -1)]
    said: dict[date, Decimal] = {}
    first = datetime(days[0].year, days[0].month, days[0].day, tzinfo=UTC)
    for payout in Payout.objects.filter(currency=currency, expected_at__gte=first):
        for leg in queries.legs_of(payout):
            said[leg.on] = said.get(leg.on, Decimal(0)) + from_minor(leg.amount_minor, currency)
    lines = queries.in_states(BankLine.objects.filter(currency=currency, booked_on__gte=days[0]))
    sums = lines.filter(is_matched=True).order_by().values("booked_on").annotate(total=Sum("amount_minor"))
    booked = {row["booked_on"]: from_minor(row["total"], currency) for row in sums}
    return grouped_days(
        title=f"What Stripe says arrives and what the bank booked of it by day, {currency}",
        days=days,
        series={"Stripe says": said, "bank booked": booked},
        axis_format=money_axis(currency),
        day_url=lambda day: list_url("billing.bankline", booked_on__exact=day.isoformat()),
    )


def payout_sections(payout: Payout) -> dict[str, Any]:
    """Of a payout's page: its lines at the bank, what is still missing, what it is made of."""
    legs = queries.legs_of(payout)
    matches = list(queries.matches_of(payout).prefetch_related("lines__line__account", "payouts__payout"))
    _, taken = queries.taken(line_ids=[], payout_ids=[payout.pk])
    composed = composition_of(payout)
    return {
        "payout": payout,
        "bank_matches": matches,
        "bank_missing": [leg for leg in legs if leg.key not in taken and leg.amount_minor],
        "composed": composed if composed.count else None,
        "adds_up": composed.net_minor == payout.amount_minor,
        "taken_over_at": cut(),
        "bank_begins": queries.first_days().get(payout.currency),
    }


def match_text(match: BankMatch) -> str:
    lines = ", ".join(f"{part.line} of {part.line.booked_on:%d %b %Y}" for part in match.lines.all())
    payouts = ", ".join(
        f"{part.payout}{'' if part.leg == Leg.ARRIVED else ' going back'}" for part in match.payouts.all()
    )
    return f"{lines} = {payouts}"


def candidates_of(line: BankLine) -> list[tuple[str, str]]:
    """Payouts a line could be, likeliest first: (key, text). Equal amounts, then those near by day."""
    _, taken = queries.taken(line_ids=[], payout_ids=list(_near_payouts(line).values_list("pk", flat=True)))
    found = []
    for payout in _near_payouts(line):
        for leg in queries.possible_legs_of(payout):
            if leg.key in taken or not leg.amount_minor:
                continue
            is_named = names_trace(line.reference, payout.trace_id)
            rank = (
                not is_named,
                leg.amount_minor != line.amount_minor,
                bank_days_between(leg.on, line.booked_on),
                payout.pk,
            )
            text = f"{minor_text(leg.amount_minor, payout.currency)}, expected {leg.on:%d %b %Y}"
            text += ", its trace id is in the line" if is_named else ""
            text += ", same amount" if leg.amount_minor == line.amount_minor else ""
            text += f", {payout}" + (" going back" if leg.leg == Leg.RETURNED else "")
            found.append((rank, f"{payout.pk}:{leg.leg}", text))
    return [(key, text) for _, key, text in sorted(found)[:CANDIDATES_MAX]]


def _near_payouts(line: BankLine) -> Any:
    day = datetime(line.booked_on.year, line.booked_on.month, line.booked_on.day, tzinfo=UTC)
    near = timedelta(days=NEAR_DAYS)
    return Payout.objects.filter(currency=line.currency, expected_at__gte=day - near, expected_at__lte=day + near)


def lines_for(payout: Payout, leg: str) -> list[tuple[str, str]]:
    """Lines a payout's leg could be, likeliest first: (id, text). Those that are no match's and of its direction."""
    wanted = next((one for one in queries.possible_legs_of(payout) if one.leg == leg), None)
    on = wanted.on if wanted is not None else payout.expected_at.date()
    amount = amount_of(payout, leg)
    near = timedelta(days=NEAR_DAYS)
    lines = queries.in_states(
        BankLine.objects.filter(currency=payout.currency, booked_on__gte=on - near, booked_on__lte=on + near)
    ).filter(is_matched=False)
    lines = lines.filter(amount_minor__gt=0) if amount > 0 else lines.filter(amount_minor__lt=0)
    found = []
    for line in lines.filter(Q(said=None) | Q(said=True)).select_related("account")[:500]:
        is_named = names_trace(line.reference, payout.trace_id)
        rank = (
            not is_named,
            line.amount_minor != amount,
            not line.is_waiting,
            bank_days_between(on, line.booked_on),
            line.pk,
        )
        amount_text = minor_text(line.amount_minor, line.currency)
        text = f"{amount_text}, {line.booked_on:%d %b %Y}, {line.account}: {line.reference[:100]}"
        found.append((rank, str(line.pk), text))
    return [(key, text) for _, key, text in sorted(found)[:CANDIDATES_MAX]]


def could_be(line: BankLine) -> tuple[str, ...]:
    """Why a line waits, where the rule found more than one possibility: the payouts it found."""
    since = datetime(line.booked_on.year, line.booked_on.month, line.booked_on.day, tzinfo=UTC) - timedelta(days=60)
    found = pairing(currency=line.currency, since=since).candidates.get(line.pk, ())
    names = Payout.objects.in_bulk([payout_id for payout_id, _ in found])
    return tuple(f"{names[payout_id]}" for payout_id, _ in found)


def line_facts(line: BankLine) -> list[tuple[str, object]]:
    return [
        ("Account", line.account),
        ("Booked", f"{line.booked_on:%d %b %Y}"),
        ("Amount", minor_text(line.amount_minor, line.currency)),
        ("Reference", line.reference or NOTHING),
    ]
