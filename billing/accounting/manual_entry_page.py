"""What the pages of manual entries show: what is posted or would be, who did what and why, and what can be done."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from billing.accounting.adjustments import BY_CODE, NEVER_BY_HAND, REASON_CODES, ReasonCode
from billing.accounting.manual_entries import (
    adjustment_posted_as,
    decision_of,
    reversals_asked_of,
)
from billing.accounting.manual_entry_rules import why_not_reversible
from billing.accounting.models import ManualEntry
from billing.accounting.operations import APPROVE, REQUEST_REVERSAL
from billing.accounting.reversals import remedy_for
from billing.admin_links import page_url
from billing.money_text import exact_text
from ledger import queries as ledger
from ledger.entry_actions import EntryAction

May = Callable[[str], bool]
WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class PreviewLine:
    """One line of the entry: the amounts are None while they are not known."""

    account: str
    is_debit: bool
    amount: Decimal | None


@dataclass(frozen=True, slots=True)
class Step:
    """One thing somebody did about a request. `tone` is the colour of its dot."""

    at: datetime
    what: str
    who: str
    words: str
    tone: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A reason code that the reader may use."""

    code: ReasonCode
    url: str


def person(actor: str) -> str:
    """The name in an actor, such as fiona of user:fiona."""
    return actor.removeprefix("user:")


def state_of(asked: ManualEntry) -> str:
    """waiting, or the outcome of its decision."""
    decision = decision_of(asked)
    return WAITING if decision is None else decision.outcome


def title_of(asked: ManualEntry) -> str:
    if asked.kind == ManualEntry.Kind.REVERSAL:
        return f"Reversal of entry #{asked.reverses_entry_id}"
    code = BY_CODE.get(asked.reason_code)
    return asked.reason_code if code is None else code.name


def may_ask_for_something(may: May) -> bool:
    return any(may(code.permission) for code in REASON_CODES)


def choices(may: May, *, customer_key: str) -> list[tuple[str, list[Choice]]]:
    """The reasons the reader may use, by group; the customer's key, if given, travels on."""
    query = f"?{urlencode({'customer': customer_key})}" if customer_key else ""
    offered = [
        Choice(code, reverse("admin:billing_manualentry_adjust", args=[code.code]) + (query * code.is_of_customer))
        for code in REASON_CODES
        if may(code.permission) and (code.is_of_customer or not customer_key)
    ]
    return [(group, list(found)) for group, found in groupby(offered, key=lambda choice: choice.code.group)]


def never_by_hand() -> Mapping[str, str]:
    return NEVER_BY_HAND


def lines_of_code(code: ReasonCode) -> list[PreviewLine]:
    """The accounts a reason moves, before anything else is known."""
    return [PreviewLine(code.debit, True, None), PreviewLine(code.credit, False, None)]


def lines_of(asked: ManualEntry) -> list[PreviewLine]:
    """The lines the request posts, or has posted."""
    if asked.kind == ManualEntry.Kind.REVERSAL:
        entry = ledger.find_entry(asked.reverses_entry_id or 0)
        return [] if entry is None else mirrored(entry)
    return [
        PreviewLine(asked.debit_account, True, asked.amount),
        PreviewLine(asked.credit_account, False, asked.amount),
    ]


def mirrored(entry: ledger.Entry) -> list[PreviewLine]:
    """The lines of the reversal of an entry."""
    return [PreviewLine(line.account, line.amount < 0, abs(line.amount)) for line in entry.lines]


def sections(asked: ManualEntry, *, may: May, actor: str) -> Mapping[str, Any]:
    """Everything the page of one request shows. Links the reader may not follow are left out."""
    decision = decision_of(asked)
    is_waiting = decision is None
    entry_id = None if decision is None else decision.journal_entry_id
    code = BY_CODE.get(asked.reason_code)
    return {
        "asked": asked,
        "title_text": title_of(asked),
        "state": state_of(asked),
        "state_label": "Waits for a second person" if decision is None else decision.get_outcome_display(),
        "code": code,
        "reference_label": "Reference" if code is None else code.reference.label,
        "lines": lines_of(asked),
        "steps": list(_steps(asked)),
        "person": person(asked.requested_by),
        "entry_id": entry_id,
        "sees_entries": may("ledger.view_journalentry"),
        "reverses": adjustment_posted_as(asked.reverses_entry_id) if asked.reverses_entry_id else None,
        "reversals": list(reversals_asked_of(entry_id)) if entry_id is not None else [],
        "may_decide": is_waiting and may(APPROVE) and actor != asked.requested_by,
        "may_withdraw": is_waiting and actor == asked.requested_by,
        "reverse_url": _reverse_url(entry_id, may=may),
        "why_waiting": why_waiting(asked) if asked.needs_second_person else "",
    }


def why_waiting(asked: ManualEntry) -> str:
    """Why a second person is needed, with the figures."""
    if asked.limit_amount is None:
        return f"In {asked.currency} every manual entry needs a second person: there is no limit for one alone."
    limit, total = (exact_text(amount, asked.currency) for amount in (asked.limit_amount, asked.alone_total))
    about = "" if asked.customer is None else f" for {asked.customer.name}"
    if asked.alone_total == asked.amount:
        return f"It is above {limit}, which one person may move alone in a day{about}."
    return (
        f"With what {person(asked.requested_by)} moved alone{about} on that day (UTC) it comes to {total}; "
        f"one person may move {limit}."
    )


def reverse_action(entry: ledger.Entry, may: May) -> EntryAction | None:
    """What a journal entry's page offers: its reversal, or a word on what undoes such a fact."""
    if not may(REQUEST_REVERSAL) or entry.reverses is not None or entry.reversed_by is not None:
        return None
    remedy = remedy_for(entry.kind)
    if remedy is not None:
        return EntryAction(note=f"To undo this: {remedy}")
    why_not = why_not_reversible(entry)
    if why_not is not None:
        return EntryAction(note=why_not)
    url = reverse("admin:billing_manualentry_reverse", args=[entry.id])
    return EntryAction("Reverse this entry", url, note="Posts its mirror image; both stay in the journal.")


def _steps(asked: ManualEntry) -> Iterator[Step]:
    yield Step(asked.requested_at, "Asked for", person(asked.requested_by), asked.reason, "plain")
    decision = decision_of(asked)
    if decision is None:
        return
    tones = {"rejected": "bad", "withdrawn": "waiting"}
    tone = tones.get(decision.outcome, "good")
    yield Step(decision.decided_at, decision.get_outcome_display(), person(decision.decided_by), decision.words, tone)


def _reverse_url(entry_id: int | None, *, may: May) -> str:
    """Where to ask for the reversal of what was posted; "" where nothing can be reversed, or not by this reader."""
    entry = None if entry_id is None or not may(REQUEST_REVERSAL) else ledger.find_entry(entry_id)
    if entry is None or why_not_reversible(entry) is not None:
        return ""
    return reverse("admin:billing_manualentry_reverse", args=[entry.id])


def url_of(asked: ManualEntry) -> str:
    return page_url("billing.manualentry", asked.pk)
