"""
Which bank lines are which payouts: by the rule, or by a person. Undone only by adding.

Locks: the accounts of the currency in id order, so two runs, or a run and a person, wait for each other; the database
refuses what passes by (migrations/sql/0024_bank.sql).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from billing.accounting.people import may
from billing.money_text import minor_text
from billing.payments.bank import queries
from billing.payments.bank.matching import Key, Pairing, pair
from billing.payments.bank.models import (
    BankLine,
    BankLineDecision,
    BankMatch,
    BankMatchLine,
    BankMatchPayout,
    BankMatchUndoing,
    Leg,
)
from billing.payments.bank.statements import lock_accounts
from billing.payments.models import Payout
from billing.payments.two_people import InvalidRequest, NotPermitted

MATCH = "billing.match_bankline"
BY_RULE = "task:match_bank_lines"
# Older payouts are not looked at again: their matches stay as they are, and what waits is for a person.
LOOK_BACK_DAYS = 400
# So far before that lines and payouts are known, for what they say of those after them.
_CONTEXT = timedelta(days=60)
_NOT_CERTAIN = "With what became known since, it is not certain any more: more than one line or payout could be it."


@dataclass(frozen=True, slots=True)
class Ran:
    made: int
    undone: int


def match_by_rule(*, currency: str, now: datetime) -> Ran:
    """
    Bring the matches of the rule to what `matching.pair` says of everything known now. Those of people stay.

    A match by the rule that is no longer certain is undone: so it does not matter what became known first.
    """
    with transaction.atomic():
        if not lock_accounts(currency):
            return Ran(0, 0)
        since = now - timedelta(days=LOOK_BACK_DAYS)
        wanted = pairing(currency=currency, since=since - _CONTEXT)
        young = queries.expected_since(since, payout_ids={payout_id for (payout_id, _), _ in wanted.pairs.values()})
        undone = 0
        settled: set[int] = set()
        live = queries.live_matches().filter(kind=BankMatch.Kind.EXACT, currency=currency)
        for match in live.prefetch_related("lines__line", "payouts__payout"):
            [line], [payout] = match.lines.all(), match.payouts.all()
            key = (payout.payout_id, payout.leg)
            if wanted.pairs.get(line.line_id, (None,))[0] == key or payout.payout.expected_at < since:
                settled.add(line.line_id)
            else:
                _undo(match, why=_NOT_CERTAIN, actor=BY_RULE, now=now)
                undone += 1
        fresh = {line: found for line, found in wanted.pairs.items() if line not in settled and found[0][0] in young}
        for line_id, (key, why) in sorted(fresh.items()):
            _write([line_id], [key], kind=BankMatch.Kind.EXACT, why=why, actor=BY_RULE, now=now)
    return Ran(len(fresh), undone)


def pairing(*, currency: str, since: datetime) -> Pairing:
    """What the rule says of all lines and payouts that no person decided about, less what a person undid."""
    movements = queries.open_movements(currency=currency, since=since)
    lines = queries.open_lines(currency=currency, amounts={one.amount_minor for one in movements})
    return pair(
        lines,
        movements,
        days=settings.BILLING_BANK_DAYS,
        words=settings.BILLING_BANK_STRIPE_WORDS,
        barred=queries.undone_by_people(line_ids=[line.id for line in lines]),
    )


def match_by_hand(
    *, line_ids: Sequence[int], keys: Sequence[Key], expected_difference_minor: int, why: str, actor: str, now: datetime
) -> BankMatch:
    """
    One line and one payout, several payouts in one line, or one payout in several lines, because a person says so.

    The difference (lines less payouts, minor units) has to be the one the person saw; any but 0 stays a discrepancy.
    Raises InvalidRequest and NotPermitted.
    """
    _require(actor, why)
    if not line_ids or not keys or (len(set(line_ids)) > 1 and len(set(keys)) > 1):
        raise InvalidRequest("Choose one line and any payouts, or one payout and any lines.", field="payouts")
    with transaction.atomic():
        lines = list(BankLine.objects.filter(pk__in=line_ids))
        payouts = Payout.objects.in_bulk({payout_id for payout_id, _ in keys})
        if len(lines) != len(set(line_ids)) or len(payouts) != len({payout_id for payout_id, _ in keys}):
            raise InvalidRequest("A line or payout of these is not known.", field="payouts")
        currencies = {line.currency for line in lines} | {payout.currency for payout in payouts.values()}
        if len(currencies) != 1:
            raise InvalidRequest("They are not of one currency.", field="payouts")
        [currency] = currencies
        lock_accounts(currency)
        expected = {leg.key for payout in payouts.values() for leg in queries.possible_legs_of(payout)}
        if unknown := sorted(set(keys) - expected):
            payout_id, leg = unknown[0]
            never = "went back" if leg == Leg.RETURNED else "arrived"
            raise InvalidRequest(f"{payouts[payout_id]} never {never} by Stripe's word.", field="payouts")
        taken_lines, taken_keys = queries.taken(line_ids=line_ids, payout_ids=list(payouts))
        if taken_lines & set(line_ids) or taken_keys & set(keys):
            raise InvalidRequest("A line or payout of these is matched already: undo that first.", field="payouts")
        match = _write(list(line_ids), list(keys), kind=BankMatch.Kind.BY_HAND, why=why, actor=actor, now=now)
        if match.difference_minor != expected_difference_minor:
            said = minor_text(match.difference_minor, currency)
            raise InvalidRequest(f"The lines and payouts differ by {said} now: look again.", field="payouts")
    return match


def undo_match(*, match_id: int, why: str, actor: str, now: datetime) -> BankMatchUndoing:
    """The match does not count any more; said again it stays undone as it was. Raises InvalidRequest, NotPermitted."""
    _require(actor, why)
    with transaction.atomic():
        match = BankMatch.objects.filter(pk=match_id).first()
        if match is None:
            raise InvalidRequest("There is no such match.")
        lock_accounts(match.currency)
        return BankMatchUndoing.objects.filter(match=match).first() or _undo(match, why=why, actor=actor, now=now)


def decide_line(*, line_id: int, is_stripes: bool, why: str, actor: str, now: datetime) -> BankLineDecision:
    """
    Say of a line that it is, or is not, Stripe's, whatever its reference says. The latest word counts.

    Raises InvalidRequest for a line that is matched, and NotPermitted.
    """
    _require(actor, why)
    with transaction.atomic():
        line = BankLine.objects.filter(pk=line_id).first()
        if line is None:
            raise InvalidRequest("There is no such line.")
        lock_accounts(line.currency)
        if queries.match_of(line) is not None:
            raise InvalidRequest("The line is matched with a payout: undo that first.")
        last = line.decisions.last()
        if last is not None and last.is_stripes == is_stripes:
            return last
        return BankLineDecision.objects.create(
            line=line, is_stripes=is_stripes, why=why, decided_at=now, decided_by=actor
        )


def _require(actor: str, why: str) -> None:
    if not may(actor, MATCH):
        raise NotPermitted(f"{actor} may not match bank lines")
    if not why.strip():
        raise InvalidRequest("Say why, for whoever asks later.", field="reason")


def _undo(match: BankMatch, *, why: str, actor: str, now: datetime) -> BankMatchUndoing:
    return BankMatchUndoing.objects.create(match=match, why=why, undone_at=now, undone_by=actor)


def _write(
    line_ids: Sequence[int], keys: Sequence[Key], *, kind: str, why: str, actor: str, now: datetime
) -> BankMatch:
    lines = BankLine.objects.in_bulk(line_ids)
    payouts = Payout.objects.in_bulk({payout_id for payout_id, _ in keys})
    received = sum(line.amount_minor for line in lines.values())
    sent = sum(amount_of(payouts[payout_id], leg) for payout_id, leg in keys)
    match = BankMatch.objects.create(
        kind=kind,
        currency=next(iter(lines.values())).currency,
        difference_minor=received - sent,
        why=why[:500],
        matched_at=now,
        matched_by=actor,
    )
    BankMatchLine.objects.bulk_create(
        [
            BankMatchLine(
                match=match, line_id=line_id, number=1 + BankMatchLine.objects.filter(line_id=line_id).count()
            )
            for line_id in sorted(set(line_ids))
        ]
    )
    BankMatchPayout.objects.bulk_create(
        [
            BankMatchPayout(
                match=match,
                payout_id=payout_id,
                leg=leg,
                number=1 + BankMatchPayout.objects.filter(payout_id=payout_id, leg=leg).count(),
            )
            for payout_id, leg in sorted(set(keys))
        ]
    )
    return match


def amount_of(payout: Payout, leg: str) -> int:
    """What the bank should book, in minor units: a payout that went back leaves the account as it came."""
    return -payout.amount_minor if leg == Leg.RETURNED else payout.amount_minor
