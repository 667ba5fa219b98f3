"""Reads of the takeover for its pages."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Count, Exists, OuterRef, Q, Sum

from billing.accounting.chart import system
from billing.takeover.models import OpeningEntry, TakenOver, Takeover, TakeoverRun
from ledger import queries as ledger
from ledger.operations import UnknownAccount

Kind, Outcome = TakenOver.Kind, TakenOver.Outcome


@dataclass(frozen=True, slots=True)
class OfKind:
    """What became of the objects of one kind. `found` is by the last run, None before one came to its end."""

    kind: TakenOver.Kind
    found: int | None
    brought_in: int
    history: int
    left_out: int


@dataclass(frozen=True, slots=True)
class Opened:
    """The opening entries on one kind of account in one currency; debits above zero, minor units."""

    account_kind: str
    currency: str
    entries: int
    debit_minor: int


def by_kind(takeover: Takeover) -> Sequence[OfKind]:
    """Per kind: how many Stripe had, and what became of them. Two queries."""
    last = TakeoverRun.objects.filter(takeover=takeover).first()
    # What was left out once and brought in by a later run is not left out.
    others = TakenOver.objects.filter(kind=OuterRef("kind"), stripe_id=OuterRef("stripe_id"))
    is_here = Exists(others.exclude(outcome=Outcome.LEFT_OUT))
    standing = TakenOver.objects.filter(~Q(outcome=Outcome.LEFT_OUT) | ~is_here, takeover=takeover)
    rows = standing.order_by().values_list("kind", "outcome")
    numbers = {(kind, outcome): number for kind, outcome, number in rows.annotate(Count("id"))}
    return [
        OfKind(
            kind=kind,
            found=None if last is None else int(last.found.get(kind, 0)),
            brought_in=numbers.get((kind, Outcome.BROUGHT_IN), 0),
            history=numbers.get((kind, Outcome.HISTORY), 0),
            left_out=numbers.get((kind, Outcome.LEFT_OUT), 0),
        )
        for kind in Kind
    ]


def opened(takeover: Takeover) -> Sequence[Opened]:
    """The opening entries, summed by account and currency."""
    rows = OpeningEntry.objects.filter(takeover=takeover).order_by("account_kind", "currency")
    sums = rows.values_list("account_kind", "currency").annotate(Count("id"), Sum("debit_minor"))
    return [Opened(*row) for row in sums]


def opening_balances(takeover: Takeover) -> dict[str, Decimal]:
    """
    What the account `opening` holds now, in currency units by currency; credits above zero. A currency in which nothing
    was owed or held at the cut has no such account, and is left out.
    """
    currencies = TakenOver.objects.filter(takeover=takeover).exclude(currency="").order_by("currency")
    named = currencies.values_list("currency", flat=True).distinct()
    held = {}
    for currency in named:
        with suppress(UnknownAccount):
            held[currency] = ledger.balance_of(system("opening", currency))
    return held
