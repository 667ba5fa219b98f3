"""What is known of lines and payouts: which match counts, what waits, and what is Stripe's."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from django.conf import settings
from django.db.models import Exists, F, Min, OuterRef, Q, QuerySet, Subquery, Sum

from billing.payments.bank.matching import Key, Line, Movement, bank_days_between
from billing.payments.bank.models import (
    BankAccount,
    BankLine,
    BankLineDecision,
    BankMatch,
    BankMatchLine,
    BankMatchPayout,
    BankStatement,
    Leg,
)
from billing.payments.models import Payout

_GONE = (Payout.Status.FAILED, Payout.Status.CANCELED)


@dataclass(frozen=True, slots=True)
class Expected:
    """A leg of a payout, as Stripe says it: what should be at the bank, from when on."""

    payout: Payout
    leg: Leg
    amount_minor: int
    on: date

    @property
    def key(self) -> Key:
        return (self.payout.pk, self.leg.value)


def live_matches() -> QuerySet[BankMatch]:
    return BankMatch.objects.filter(undoing=None)


def live_parts() -> QuerySet[BankMatchPayout]:
    return BankMatchPayout.objects.filter(match__undoing=None)


def match_of(line: BankLine) -> BankMatch | None:
    return live_matches().filter(lines__line=line).first()


def matches_of(payout: Payout) -> QuerySet[BankMatch]:
    return live_matches().filter(payouts__payout=payout).distinct().order_by("id")


def taken(*, line_ids: Collection[int], payout_ids: Collection[int]) -> tuple[set[int], set[Key]]:
    """Of these, the lines and the payouts' legs that are in a match that counts."""
    lines = BankMatchLine.objects.filter(line_id__in=line_ids, match__undoing=None)
    payouts = BankMatchPayout.objects.filter(payout_id__in=payout_ids, match__undoing=None)
    return set(lines.values_list("line_id", flat=True)), set(payouts.values_list("payout_id", "leg"))


def legs_of(payout: Payout) -> list[Expected]:
    """
    What the bank should have of it. A payout that failed before it counted as arrived never was there; one that failed
    after that is a line in and a line out.
    """
    if payout.status in _GONE and payout.arrived_at is None:
        return []
    legs = [Expected(payout, Leg.ARRIVED, payout.amount_minor, payout.expected_at.astimezone(UTC).date())]
    if payout.returned_at is not None and payout.arrived_at is not None:
        legs.append(Expected(payout, Leg.RETURNED, -payout.amount_minor, payout.returned_at.astimezone(UTC).date()))
    return legs


def possible_legs_of(payout: Payout) -> list[Expected]:
    """
    As `legs_of`, and of a payout that failed before it counted as arrived both ways: we may not have heard that it was
    paid, and then the bank has a line in and a line out. Nothing asks for these; a line may be them.
    """
    legs = legs_of(payout)
    if legs or payout.status != Payout.Status.FAILED or payout.returned_at is None:
        return legs
    return [
        Expected(payout, Leg.ARRIVED, payout.amount_minor, payout.expected_at.astimezone(UTC).date()),
        Expected(payout, Leg.RETURNED, -payout.amount_minor, payout.returned_at.astimezone(UTC).date()),
    ]


def is_without_way_back(payout: Payout) -> bool:
    """Whether it never arrived by Stripe's word and no line is its way back: one that is matched in cannot be right."""
    if payout.arrived_at is not None or payout.status not in _GONE:
        return False
    return not live_parts().filter(payout=payout, leg=Leg.RETURNED).exists()


def seen_going_back(payouts: Collection[Payout]) -> set[int]:
    """
    Of payouts that never arrived by Stripe's word, those of which a line of the bank may be the way back. Without one
    a line of their amount is another payout's: they are not weighed with it.
    """
    never = [one for one in payouts if not legs_of(one) and possible_legs_of(one)]
    amounts = {-one.amount_minor for one in never}
    lines = in_states(BankLine.objects.filter(amount_minor__in=amounts) if never else BankLine.objects.none())
    days: dict[tuple[str, int], list[date]] = {}
    # Not one of which a person said that it is not Stripe's.
    for line in lines.filter(Q(said=None) | Q(said=True)):
        days.setdefault((line.currency, line.amount_minor), []).append(line.booked_on)
    return {
        one.pk
        for one in never
        for leg in possible_legs_of(one)
        if leg.leg == Leg.RETURNED
        and any(
            bank_days_between(day, leg.on) <= settings.BILLING_BANK_DAYS
            for day in days.get((one.currency, leg.amount_minor), ())
        )
    }


def open_movements(*, currency: str, since: datetime) -> list[Movement]:
    """The legs of payouts expected since then, but for those a person matched."""
    payouts = list(Payout.objects.filter(currency=currency, expected_at__gte=since).exclude(amount_minor=0))
    by_people = set(
        BankMatchPayout.objects.filter(match__undoing=None, match__kind=BankMatch.Kind.BY_HAND, payout__in=payouts)
        .values_list("payout_id", "leg")
    )  # fmt: skip
    back = seen_going_back(payouts)
    return [
        Movement(leg.key, leg.amount_minor, currency, leg.on, payout.trace_id, payout.statement_descriptor)
        for payout in payouts
        for leg in (possible_legs_of(payout) if payout.pk in back else legs_of(payout))
        if leg.key not in by_people
    ]


def expected_since(since: datetime, *, payout_ids: Collection[int]) -> set[int]:
    """Of these payouts, those that Stripe expects at the bank since then."""
    return set(Payout.objects.filter(pk__in=payout_ids, expected_at__gte=since).values_list("pk", flat=True))


def open_lines(*, currency: str, amounts: Collection[int]) -> list[Line]:
    """The lines of these amounts, but for those a person decided about."""
    by_people = BankMatchLine.objects.filter(
        line=OuterRef("pk"), match__undoing=None, match__kind=BankMatch.Kind.BY_HAND
    )
    found = (
        BankLine.objects.filter(currency=currency, amount_minor__in=amounts)
        .annotate(said=_last_decision())
        .filter(~Exists(by_people), Q(said=None) | Q(said=True))
    )
    return [Line(one.pk, one.amount_minor, one.currency, one.booked_on, one.value_on, one.reference) for one in found]


def undone_by_people(*, line_ids: Collection[int]) -> set[tuple[int, Key]]:
    """The pairs of these lines and payouts' legs that a person undid."""
    undone = BankMatchLine.objects.filter(line_id__in=line_ids, match__undoing__undone_by__startswith="user:")
    rows = undone.values_list("line_id", "match__payouts__payout_id", "match__payouts__leg")
    return {(line_id, (payout_id, leg)) for line_id, payout_id, leg in rows}


def in_states(lines: QuerySet[BankLine]) -> QuerySet[Any]:
    """
    With `is_matched` and `is_waiting`: it is Stripe's by its reference or by a person's word, and belongs to nothing.
    """
    live = BankMatchLine.objects.filter(line=OuterRef("pk"), match__undoing=None)
    # Both named, so that it is never unknown: without a word of a person SQL would answer neither yes nor no.
    says_stripe = Q(said__isnull=False, said=True) | Q(said__isnull=True, reference__iregex=_words_regex())
    return lines.annotate(said=_last_decision(), is_matched=Exists(live)).annotate(
        is_waiting=Q(is_matched=False) & says_stripe
    )


def waiting_lines() -> QuerySet[Any]:
    return in_states(BankLine.objects.all()).filter(is_waiting=True)


def unconfirmed(*, currencies: Sequence[str] | None = None) -> list[Expected]:
    """
    Legs that Stripe says happened and no bank line confirms, since the first day of the currency's statements.

    Paid, and went back after that. In order of day.
    """
    starts = {
        currency: first for currency, first in first_days().items() if currencies is None or currency in currencies
    }
    found: list[Expected] = []
    for currency, first in starts.items():
        began = datetime.combine(first, time.min, tzinfo=UTC)
        payouts = Payout.objects.filter(currency=currency, expected_at__gte=began, arrived_at__isnull=False)
        confirmed = set(
            BankMatchPayout.objects.filter(match__undoing=None, payout__currency=currency).values_list(
                "payout_id", "leg"
            )
        )
        found += [leg for payout in payouts for leg in legs_of(payout) if leg.key not in confirmed and leg.amount_minor]
    return sorted(found, key=lambda leg: (leg.on, leg.key))


def first_days() -> dict[str, date]:
    """By currency, the first day that any statement of it covers: what was before is not asked of the bank."""
    rows = BankStatement.objects.order_by().values("account__currency").annotate(first=Min("first_day"))
    return {row["account__currency"]: row["first"] for row in rows}


def matched_minor(account: BankAccount) -> int:
    """Σ of the account's lines that are payouts."""
    lines = in_states(account.lines.all()).filter(is_matched=True)
    return int(lines.aggregate(total=Sum("amount_minor"))["total"] or 0)


def last_balance(account: BankAccount) -> BankStatement | None:
    """The latest statement that gave a closing balance."""
    given = account.statements.filter(closing_minor__isnull=False)
    return given.order_by("-last_day", "-id").first()


def covered_until(currency: str) -> date | None:
    return (
        BankStatement.objects.filter(account__currency=currency)
        .order_by(F("last_day").desc())
        .values_list("last_day", flat=True)
        .first()
    )


def _last_decision() -> Subquery:
    last = BankLineDecision.objects.filter(line=OuterRef("pk")).order_by("-id")
    return Subquery(last.values("is_stripes")[:1])


def _words_regex() -> str:
    words = [re.escape(word) for word in settings.BILLING_BANK_STRIPE_WORDS]
    return rf"(^|[^[:alnum:]])({'|'.join(words)})" if words else r"^\b$"
