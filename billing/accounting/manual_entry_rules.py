"""
What has to be true before a manual entry is asked for, and again before it is posted. Nothing is written here.

Every refusal says which field to mend, if one can be, and how.
"""

from datetime import datetime
from decimal import Decimal
from typing import Never

from billing.accounting import chart
from billing.accounting.adjustments import BY_CODE, NEVER_BY_HAND, ReasonCode, Side
from billing.accounting.manual_entries import waiting_reversal_of
from billing.accounting.models import ManualEntry
from billing.accounting.people import may
from billing.accounting.reversals import remedy_for
from billing.customers.models import Customer
from billing.customers.queries import customer_by_key
from billing.invoicing.rounding import minor_digits
from billing.money_text import exact_text
from ledger import queries as ledger
from ledger.periods import closed_before

_AMOUNT_LIMIT = Decimal(10) ** 26
_REASON_LENGTH, _REFERENCE_LENGTH = 500, 200
# What we owe a customer: below zero it would say that they owe us, which only an invoice can.
_NEVER_BELOW_ZERO = frozenset({"refund_due", "prepaid_pending"})
_NORMAL_SIDES = {
    **{account.name: account.normal_side for account in chart.SYSTEM_ACCOUNTS},
    **{name: side for name, (side, _) in chart.CUSTOMER_ACCOUNTS.items()},
}


class ManualEntryError(Exception):
    """Refused; nothing was written, and a request that waits goes on waiting. `field` names what to mend, or is ""."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class InvalidManualEntry(ManualEntryError):
    """What was asked for is wrong, or the books do not allow it now."""


class NotPermitted(ManualEntryError):
    """The person may not do this, or not with this request."""


class ManualEntryConflict(ManualEntryError):
    """The idempotency key was used before, for something else."""


class ManualEntryNotFound(ManualEntryError):
    """No request has this id."""


class AlreadyDecided(ManualEntryError):
    """Somebody decided about the request before."""


def refuse(field: str, message: str) -> Never:
    raise InvalidManualEntry(message, field=field)


# --- what was asked ---------------------------------------------------------------------------------------------------


def require_reason_code(reason_code: str) -> ReasonCode:
    found = BY_CODE.get(reason_code)
    if found is None:
        hint = NEVER_BY_HAND.get(reason_code, "Choose one of the reasons that are offered.")
        refuse("reason_code", f"Nothing is adjusted by hand for {reason_code!r}. {hint}")
    return found


def require_customer(reason: ReasonCode, *, customer_key: str, currency: str) -> Customer | None:
    """The customer whose account the adjustment moves; None for one between accounts of the house."""
    if not reason.is_of_customer:
        if customer_key:
            refuse("customer_key", "This reason moves no customer's account: leave the customer out.")
        if not Customer.objects.filter(currency=currency).exists():
            refuse("currency", f"There are no accounts in {currency!r}. Choose the currency of one of our customers.")
        return None
    customer = customer_by_key(customer_key)
    if customer is None:
        refuse("customer_key", f"There is no customer with the key {customer_key!r}.")
    if customer.currency != currency:
        refuse("currency", f"All of this customer's money is in {customer.currency}.")
    return customer


def require_amount(amount: Decimal, *, currency: str) -> None:
    """All of it is real money, so it has no more decimal places than the currency."""
    if not isinstance(amount, Decimal) or not amount.is_finite() or not 0 < amount < _AMOUNT_LIMIT:
        refuse("amount", "The amount must be above zero: the reason says which way it goes.")
    places = minor_digits(currency)
    exponent = amount.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > places:
        refuse("amount", f"At most {places} decimal places: this is money in {currency}.")


def require_words(*, reason: str, reference: str) -> None:
    if not reason.strip():
        refuse("reason", "Say why, for whoever asks later.")
    if len(reason) > _REASON_LENGTH:
        refuse("reason", f"At most {_REASON_LENGTH} characters; the rest belongs behind the reference.")
    if len(reference) > _REFERENCE_LENGTH:
        refuse("reference", f"At most {_REFERENCE_LENGTH} characters.")


def require_reference(reason: ReasonCode, reference: str) -> None:
    if not reason.reference.fits(reference.strip()):
        refuse("reference", f"{reason.reference.label} needed. {reason.reference.found}")


# --- the books as they are --------------------------------------------------------------------------------------------


def require_open_instant(effective_at: datetime, *, now: datetime) -> None:
    """A person dates it, so it does not move to the open period by itself: they are told, and choose again."""
    if effective_at.tzinfo is None:
        refuse("effective_at", "An instant needs its time zone.")
    if effective_at > now:
        refuse("effective_at", "It cannot take effect before that instant has come: choose now, or earlier.")
    start = closed_before()
    if start is not None and effective_at < start:
        refuse("effective_at", f"The books are closed before {start:%d %b %Y %H:%M} UTC. Choose that instant or later.")


def account_code(name: str, *, customer: Customer | None, currency: str) -> str:
    """The code of an account of the chart: the customer's if it is one of those, else the house's."""
    if name in chart.CUSTOMER_ACCOUNTS and customer is not None:
        return f"{name}:{customer.customer_key}:{currency}"
    return chart.system(name, currency)


def require_clears_no_more_than_held(asked: ManualEntry) -> None:
    """
    An account that is emptied holds at least the amount.

    Exact for a customer's account, whose customer is locked; a system account may be moved by others meanwhile.
    """
    if asked.kind == ManualEntry.Kind.REVERSAL:
        for line in ledger.entry(asked.reverses_entry_id or 0).lines:
            name = line.account.partition(":")[0]
            if name in _NEVER_BELOW_ZERO and line.amount < 0:
                _require_held(name, line.account, side=Side.DEBIT, amount=-line.amount, currency=line.currency)
        return
    reason = require_reason_code(asked.reason_code)
    if reason.clears == Side.DEBIT:
        _require_held(reason.debit, asked.debit_account, side=Side.DEBIT, amount=asked.amount, currency=asked.currency)
    elif reason.clears == Side.CREDIT:
        _require_held(
            reason.credit, asked.credit_account, side=Side.CREDIT, amount=asked.amount, currency=asked.currency
        )


def _require_held(name: str, code: str, *, side: Side, amount: Decimal, currency: str) -> None:
    balance = ledger.balance_of(code)
    # A debit empties what stands on the credit side, and the other way round.
    held = balance if (_NORMAL_SIDES[name] == chart.CREDIT) == (side == Side.DEBIT) else -balance
    if held < amount:
        there = exact_text(held, currency) if held > 0 else "nothing to be cleared this way"
        refuse("amount", f"Account {code} holds {there}: no more than that can leave it.")


# --- reversals --------------------------------------------------------------------------------------------------------


def require_reversible(entry_id: int, *, effective_at: datetime) -> ledger.Entry:
    """The entry to reverse. Raises InvalidManualEntry, with the remedy, where a reversal by hand is not the way."""
    entry = ledger.find_entry(entry_id)
    if entry is None:
        refuse("entry_id", f"There is no journal entry {entry_id}.")
    why_not = why_not_reversible(entry)
    if why_not is not None:
        refuse("entry_id", why_not)
    if effective_at < entry.effective_at:
        refuse("effective_at", f"Not before the entry itself: {entry.effective_at:%d %b %Y %H:%M} UTC.")
    return entry


def why_not_reversible(entry: ledger.Entry) -> str | None:
    """Why this entry cannot be reversed by hand, and what to do instead; None if it can."""
    if entry.reverses is not None:
        return (
            f"This is itself the reversal of entry {entry.reverses}, and stays: if the fact was right after all, "
            "have it entered again."
        )
    if entry.reversed_by is not None:
        return f"It was reversed already, by entry {entry.reversed_by}."
    remedy = remedy_for(entry.kind)
    if remedy is not None:
        return f"An entry of kind {entry.kind.replace('_', ' ')} is not reversed by hand. {remedy}"
    if len({line.currency for line in entry.lines}) > 1:
        return "It moves more than one currency. Ask engineering."
    asked = waiting_reversal_of(entry.id)
    if asked is not None:
        return f"Its reversal was asked for already, by {asked.requested_by}, and waits for a second person."
    return None


def customer_of(entry: ledger.Entry) -> Customer | None:
    """The customer whose account the entry moves, if one is."""
    for line in entry.lines:
        name, _, rest = line.account.partition(":")
        if name in chart.CUSTOMER_ACCOUNTS:
            return customer_by_key(rest.rpartition(":")[0])
    return None


# --- people -----------------------------------------------------------------------------------------------------------


def require_may(actor: str, permission: str, *, what: str) -> None:
    if not may(actor, permission):
        raise NotPermitted(f"{actor.removeprefix('user:')} may not {what}. Ask somebody of finance.")
