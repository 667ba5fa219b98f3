"""
Importing a bank's statement: all of a file or nothing, each line once.

Locks: the accounts of the currency in id order, as matching does after it (matches.py): two imports wait for each
other, and the second finds the lines of the first.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

from django.db import transaction

from billing.accounting.people import may
from billing.money_text import minor_text
from billing.payments.bank.camt import CamtRules, read_camt
from billing.payments.bank.models import BankAccount, BankLine, BankStatement
from billing.payments.bank.reading import BadFile, ReadLine, ReadStatement, Rules, read_statement
from billing.payments.two_people import InvalidRequest, NotPermitted

IMPORT = "billing.import_bankstatement"
ToldApartBy = BankAccount.ToldApartBy
AnyRules = Rules | CamtRules


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account whose first statement this is: it is opened by saying so, never by a name that was mistyped."""

    currency: str


@dataclass(frozen=True, slots=True)
class Looked:
    """
    What an import would do. `known`: identity and number of what an import before had already. Not the line of the
    file: an XML file may be one line.
    """

    account: BankAccount
    read: ReadStatement
    known: frozenset[tuple[str, int]]
    earlier: BankStatement | None

    @property
    def new(self) -> tuple[ReadLine, ...]:
        return tuple(line for line in self.read.lines if (line.identity, line.number) not in self.known)


def look_at_statement(
    *, account_name: str, content: bytes, rules: AnyRules, new_account: NewAccount | None, actor: str, now: datetime
) -> Looked:
    """What `import_statement` would do; writes nothing. Raises InvalidRequest, NotPermitted, BadRules and BadFile."""
    _require_permission(actor)
    account = _account(account_name, rules, new_account, actor=actor, now=now)
    return _look(account, content, rules)


def import_statement(
    *,
    account_name: str,
    file_name: str,
    content: bytes,
    rules: AnyRules,
    new_account: NewAccount | None,
    actor: str,
    now: datetime,
) -> BankStatement:
    """
    Keep every line of the file that is not kept yet; the same file by the same rules again returns the first import.

    Raises InvalidRequest, NotPermitted, BadRules and BadFile; then nothing was written.
    """
    _require_permission(actor)
    with transaction.atomic():
        account = _account(account_name, rules, new_account, actor=actor, now=now)
        if account._state.adding:
            account, _ = BankAccount.objects.get_or_create(name=account.name, defaults=_fields(account))
        lock_accounts(account.currency)
        _check_account(account, rules, new_account)
        looked = _look(account, content, rules)
        if looked.earlier is not None:
            return looked.earlier
        days = [line.booked_on for line in looked.read.lines]
        statement = BankStatement.objects.create(
            account=account,
            file_name=file_name[-255:],
            file_digest=looked.read.digest,
            rules=asdict(rules),
            rules_digest=rules.digest(),
            line_count=len(days),
            new_count=len(looked.new),
            first_day=min(days),
            last_day=max(days),
            opening_minor=looked.read.opening_minor,
            closing_minor=looked.read.closing_minor,
            imported_at=now,
            imported_by=actor,
        )
        BankLine.objects.bulk_create(
            [
                BankLine(account=account, statement=statement, currency=account.currency, **asdict(one))
                for one in looked.new
            ],
            batch_size=2000,
        )
    return statement


def lock_accounts(currency: str) -> list[int]:
    """Ids of the accounts of a currency, locked in their order: whoever imports or matches waits for the others."""
    locked = BankAccount.objects.select_for_update().filter(currency=currency).order_by("pk")
    return list(locked.values_list("pk", flat=True))


def _require_permission(actor: str) -> None:
    if not may(actor, IMPORT):
        raise NotPermitted(f"{actor} may not import bank statements")


def _account(name: str, rules: AnyRules, new: NewAccount | None, *, actor: str, now: datetime) -> BankAccount:
    """The account of this name, or one not saved yet. Raises InvalidRequest."""
    known = BankAccount.objects.filter(name=name).first()
    if known is not None:
        _check_account(known, rules, new)
        return known
    if new is None:
        names = ", ".join(BankAccount.objects.values_list("name", flat=True)) or "none yet"
        raise InvalidRequest(
            f"There is no account {name!r} ({names}). Say that it is a new one, and its currency.", field="account"
        )
    if not (name.strip() and len(name) <= 100):
        raise InvalidRequest("The account needs a name of at most 100 characters.", field="account")
    if not re.fullmatch(r"[A-Z]{3}", new.currency):
        raise InvalidRequest("The new account needs a currency of three letters, such as EUR.", field="currency")
    by_id = "id" in rules.columns
    return BankAccount(
        name=name,
        currency=new.currency,
        told_apart_by=ToldApartBy.BANK_ID if by_id else ToldApartBy.CONTENT,
        reference_columns=[] if by_id else rules.reference_columns,
        opened_at=now,
        opened_by=actor,
    )


def _fields(account: BankAccount) -> Mapping[str, object]:
    names = ("currency", "told_apart_by", "reference_columns", "opened_at", "opened_by")
    return {name: getattr(account, name) for name in names}


def _check_account(account: BankAccount, rules: AnyRules, new: NewAccount | None) -> None:
    """Raises InvalidRequest where these rules would take lines again that are kept already."""
    if new is not None and new.currency != account.currency:
        raise InvalidRequest(f"{account} is known already, in {account.currency}.", field="currency")
    by_id = account.told_apart_by == ToldApartBy.BANK_ID
    if by_id != ("id" in rules.columns):
        how = "by the bank's id: name its column with id=" if by_id else "without the bank's id: leave id= out"
        raise InvalidRequest(f"The lines of {account} are told apart {how}.", field="columns")
    if not by_id and account.reference_columns != rules.reference_columns:
        columns = " and ".join(account.reference_columns)
        raise InvalidRequest(
            f"The lines of {account} are told apart by the text of {columns}: name the same, or they are taken twice.",
            field="columns",
        )


def _look(account: BankAccount, content: bytes, rules: AnyRules) -> Looked:
    earlier = None
    if not account._state.adding:
        earlier = BankStatement.objects.filter(
            account=account, file_digest=hashlib.sha256(content).hexdigest(), rules_digest=rules.digest()
        ).first()
    if isinstance(rules, CamtRules):
        read = read_camt(content, rules, currency=account.currency)
    else:
        read = read_statement(content, rules, currency=account.currency)
    kept = {} if account._state.adding else _kept(account, read)
    problems = [*_after_closing(account, rules, read), *_not_whole(account, kept, read)]
    known = set()
    for line in read.lines:
        before = kept.get((line.identity, line.number))
        if before is None:
            continue
        known.add((line.identity, line.number))
        if (before.booked_on, before.amount_minor, before.reference) != (
            line.booked_on,
            line.amount_minor,
            line.reference,
        ):
            problems.append(
                f"line {line.line_number}, column {rules.columns.get('id', '')}: {line.bank_id} was imported before "
                f"with another day, amount or text ({before}, {before.booked_on}); a line is never changed"
            )
    if problems:
        raise BadFile(*problems[:20])
    return Looked(account, read, frozenset(known), earlier)


def _after_closing(account: BankAccount, rules: AnyRules, read: ReadStatement) -> list[str]:
    """Lines of days that a closed account has no more."""
    last = None if account._state.adding else account.closings.last()
    if last is None or last.closed_on is None:
        return []
    return [
        f"line {line.line_number}, column {rules.columns['booked']}: {line.booked_on}, and {account} was closed on "
        f"{last.closed_on} ({last.reason}): is it another account's file? If it is open, say so on its page first"
        for line in read.lines
        if line.booked_on > last.closed_on
    ]


def _kept(account: BankAccount, read: ReadStatement) -> dict[tuple[str, int], BankLine]:
    """What is kept of these ids, or of these days."""
    found = account.lines.select_related("statement")
    if account.told_apart_by == ToldApartBy.BANK_ID:
        found = found.filter(identity__in={line.identity for line in read.lines})
    else:
        found = found.filter(booked_on__in={line.booked_on for line in read.lines})
    return {(line.identity, line.number): line for line in found}


def _not_whole(account: BankAccount, kept: Mapping[tuple[str, int], BankLine], read: ReadStatement) -> list[str]:
    """
    Lines of the file's days that are kept and not in the file. Lines without an id are counted by the day: of half a
    day's file, or one that was read by other rules, some would be lost in silence and others taken twice.
    """
    if account.told_apart_by == ToldApartBy.BANK_ID:
        return []
    given = {(line.identity, line.number) for line in read.lines}
    return [
        f"{line.booked_on}: line {line.line_number} of {line.statement.file_name} "
        f"({minor_text(line.amount_minor, line.currency)}, {line.reference[:80]}) was kept before and is not in this "
        "file; a file has to hold whole days, read by the same rules: export that day again, or leave it out"
        for key, line in sorted(kept.items(), key=lambda item: item[1].pk)
        if key not in given
    ]
