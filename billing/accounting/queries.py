"""
What finance's reports are made of, read from the ledger: one constant number of queries each, for any two instants.

`effective_at`: what had taken effect up to then; `known_at`: of what had been recorded up to then; both included.
Amounts are in currency units, exact. When invoices and grants end is asked of their rows, as they stand now.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from django.db import connection

from billing.accounting.reports.ageing import Ageing, DueInvoice, open_item
from billing.accounting.reports.credit import (
    UNKNOWN_KIND,
    CreditMovement,
    CreditSum,
    Ends,
    GrantLeft,
    GrantStep,
    GrantTerm,
    OtherMovement,
    OutstandingCredit,
    column_of,
    ends_in,
    grant_movements,
)
from billing.accounting.reports.revenue import KINDS, Income, income_of, months_until
from ledger import queries as ledger_queries
from ledger.instants import midnight, month_of
from promotions import queries as promotion_queries

ZERO = Decimal(0)
INSTANT = timedelta(microseconds=1)
OTHER_CREDIT = ("balance", "prepaid_pending", "refund_due")
# A customer's balance below zero is owed to the house: shown apart, so that it hides no liability.
BALANCE_OWED = "balance_owed"


def receivables_ageing(*, effective_at: datetime, known_at: datetime, customer_key: str | None = None) -> Ageing:
    """
    What every customer owes, invoice by invoice, and how long past due; two queries.

    By currency it adds up to the `receivable` accounts, because what names no invoice is listed as well.
    """
    with ledger_queries.one_look():
        open_sums = ledger_queries.sums_by_cause(
            account_kind="receivable",
            cause="invoice",
            customer_key=customer_key,
            effective_at=effective_at,
            known_at=known_at,
        )
        invoices = _due_invoices(found.cause for found in open_sums)
    items = (
        open_item(
            customer_key=found.customer_key,
            currency=found.currency,
            stripe_invoice_id=found.cause,
            amount=found.amount,
            invoice=invoices.get(found.cause),
            effective_at=effective_at,
        )
        for found in open_sums
    )
    return Ageing(effective_at, known_at, tuple(items))


def outstanding_credit(*, effective_at: datetime, known_at: datetime) -> OutstandingCredit:
    """What is owed in credit, by kind and end; three queries. It adds up to the accounts of those kinds."""
    with ledger_queries.one_look():
        balances = ledger_queries.balances_of_kind("grant", effective_at=effective_at, known_at=known_at)
        terms = _grant_terms(account.code for account in balances)
        sums = ledger_queries.sums_by_kind(OTHER_CREDIT, effective_at=effective_at, known_at=known_at)
    grants = []
    for account in balances:
        term = terms[account.code]
        grants.append(
            GrantLeft(
                grant_id=promotion_queries.grant_of_account(account.code),
                customer_key=account.customer_key,
                kind=term.kind,
                name=term.name,
                currency=account.currency,
                amount=account.balance,
                expires_at=term.expires_at,
                ends=ends_in(term.expires_at, at=effective_at),
            )
        )
    return OutstandingCredit(effective_at, known_at, tuple(grants), tuple(_other_credit(sums)))


def credit_movement(*, month: date, known_at: datetime) -> CreditMovement:
    """How credit moved within the month of a day, in UTC; seven queries."""
    starts_at, ends_at = (midnight(day) for day in month_of(month))
    before, last = starts_at - INSTANT, ends_at - INSTANT
    with ledger_queries.one_look():
        opening = ledger_queries.balances_of_kind("grant", effective_at=before, known_at=known_at)
        closing = ledger_queries.balances_of_kind("grant", effective_at=last, known_at=known_at)
        moved = ledger_queries.movements_of_kind(
            "grant", effective_from=starts_at, effective_at=last, known_at=known_at
        )
        codes = {held.code for held in (*opening, *closing)} | {movement.code for movement in moved}
        terms = _grant_terms(codes)
        others = tuple(_other_movements(starts_at, before=before, last=last, known_at=known_at))
    steps = [
        *(GrantStep(terms[held.code].kind, held.currency, "opening", held.balance) for held in opening),
        *(GrantStep(terms[held.code].kind, held.currency, "closing", held.balance) for held in closing),
        *(_grant_step(movement, terms[movement.code]) for movement in moved),
    ]
    return CreditMovement(
        starts_at,
        ends_at,
        known_at,
        grants=tuple(grant_movements(steps)),
        others=others,
    )


def income_by_month(*, effective_at: datetime, known_at: datetime, months: int) -> Income:
    """What was earned, given away and spent in the latest months, in UTC, by currency; one query."""
    shown = months_until(effective_at.astimezone(UTC).date(), count=months)
    sums = ledger_queries.sums_by_month(
        KINDS, effective_from=midnight(shown[0]), effective_at=effective_at, known_at=known_at
    )
    by_currency: dict[str, dict[tuple[str, date], Decimal]] = {}
    for found in sums:
        by_currency.setdefault(found.currency, {})[found.kind, found.month] = found.amount
    pages = tuple(income_of(name, months=shown, amounts=amounts) for name, amounts in sorted(by_currency.items()))
    return Income(effective_at, known_at, shown, pages)


def balances_at_month_ends(
    account_kinds: Iterable[str], *, effective_at: datetime, known_at: datetime
) -> Mapping[tuple[str, str], Mapping[date, Decimal]]:
    """By kind and currency, what its accounts held at the end of each month in which they moved; one query."""
    found: dict[tuple[str, str], dict[date, Decimal]] = {}
    held: dict[tuple[str, str], Decimal] = {}
    for moved in ledger_queries.sums_by_month(list(account_kinds), effective_at=effective_at, known_at=known_at):
        which = (moved.kind, moved.currency)
        held[which] = held.get(which, ZERO) + moved.amount
        found.setdefault(which, {})[moved.month] = held[which]
    return found


_DUE = """
    SELECT stripe_invoice_id, id, number, coalesce(due_at, finalized_at)
    FROM billing_invoice WHERE stripe_invoice_id = ANY(%s)
"""


def _due_invoices(stripe_ids: Iterable[str]) -> dict[str, DueInvoice]:
    """One query. However many they are, they are sent as one array, which costs a tenth of so many parameters."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE, [[stripe_id for stripe_id in stripe_ids if stripe_id]])
        return {stripe_id: DueInvoice(*terms) for stripe_id, *terms in cursor.fetchall()}


def _grant_terms(codes: Iterable[str]) -> dict[str, GrantTerm]:
    """The terms of the grants whose accounts these are, by account; one query."""
    ids = {code: promotion_queries.grant_of_account(code) for code in codes}
    known = promotion_queries.grant_terms(ids.values())
    without = (UNKNOWN_KIND, "", None)
    return {code: GrantTerm(*known.get(grant_id, without)) for code, grant_id in ids.items()}


def _grant_step(movement: ledger_queries.Movement, term: GrantTerm) -> GrantStep:
    column = column_of(
        entry_kind=movement.entry_kind,
        is_reversal=movement.is_reversal,
        is_later_line=movement.is_later_line,
        happened_at=movement.happened_at,
        expires_at=term.expires_at,
    )
    return GrantStep(term.kind, movement.currency, column, movement.amount)


def _other_credit(sums: Iterable[ledger_queries.KindSum]) -> Iterator[CreditSum]:
    for found in sums:
        if found.kind == "balance":
            yield _without_end("balance", found.currency, found.above_zero)
            if found.below_zero:
                yield _without_end(BALANCE_OWED, found.currency, found.below_zero)
        else:
            yield _without_end(found.kind, found.currency, found.amount)


def _without_end(kind: str, currency: str, amount: Decimal) -> CreditSum:
    return CreditSum(kind, currency, {**dict.fromkeys(Ends, ZERO), Ends.NEVER: amount})


def _other_movements(
    starts_at: datetime, *, before: datetime, last: datetime, known_at: datetime
) -> Iterator[OtherMovement]:
    opening = ledger_queries.sums_by_kind(OTHER_CREDIT, effective_at=before, known_at=known_at)
    closing = ledger_queries.sums_by_kind(OTHER_CREDIT, effective_at=last, known_at=known_at)
    moved = ledger_queries.sums_by_month(OTHER_CREDIT, effective_from=starts_at, effective_at=last, known_at=known_at)
    opened = {(found.kind, found.currency): found.amount for found in opening}
    closed = {(found.kind, found.currency): found.amount for found in closing}
    steps = {(found.kind, found.currency): found for found in moved}
    for kind, currency in sorted({*opened, *closed, *steps}, key=lambda which: (which[1], which[0])):
        step = steps.get((kind, currency))
        yield OtherMovement(
            kind,
            currency,
            opening=opened.get((kind, currency), ZERO),
            added=step.added if step else ZERO,
            taken=-step.taken if step else ZERO,
            closing=closed.get((kind, currency), ZERO),
        )
