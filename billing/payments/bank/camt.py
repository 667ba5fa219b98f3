"""
How a bank's XML statement is read (ISO 20022 camt.053, any version). Pure; what comes out is as of a CSV file.

One entry (`Ntry`) is one line, also where it holds several transactions. A document type, and with it entities and
whatever they would fetch, is refused: no such message has one. Source: ISO 20022 message definition
camt.053.001, BankToCustomerStatement, https://www.iso20022.org/iso-20022-message-definitions.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from itertools import pairwise
from typing import Any
from xml.parsers import expat

from billing.payments.bank.reading import (
    BYTES_MAX,
    ERRORS_SHOWN,
    ID_MAX,
    LINES_MAX,
    REFERENCE_MAX,
    BadFile,
    ReadLine,
    ReadStatement,
    check_balances,
    identity_of,
    numbered,
    plain_text,
    read_amount,
)

DEPTH_MAX = 40
ELEMENTS_MAX = 1_000_000
TEXT_MAX = 100_000
_NO_ATTRIBUTES: Mapping[str, str] = {}
_COLUMNS = {"booked": "BookgDt", "value": "ValDt", "amount": "Amt", "currency": "Ccy", "reference": "text"}
# What of an entry says whose money it is, in this order.
_TEXTS = ("AddtlNtryInf", "Nm", "Ustrd", "Ref", "AddtlTxInf", "EndToEndId")
_REFUSED = (
    "StartDoctypeDeclHandler",
    "EntityDeclHandler",
    "UnparsedEntityDeclHandler",
    "ExternalEntityRefHandler",
    "SkippedEntityHandler",
)
_NOT_GIVEN = "NOTPROVIDED"
_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})(?:T.*|Z|[+-]\d{2}:\d{2})?")


@dataclass(frozen=True, slots=True)
class CamtRules:
    """Nothing of it is for a person to state but whether the bank's reference (AcctSvcrRef) tells lines apart."""

    by_id: bool
    format: str = "camt.053"
    columns: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", {**_COLUMNS, **({"id": "AcctSvcrRef"} if self.by_id else {})})

    @property
    def reference_columns(self) -> list[str]:
        return [self.columns["reference"]]

    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def stated(self) -> list[str]:
        """One sentence per rule, for people who look before they confirm."""
        return [self.format, "lines are told apart " + ("by AcctSvcrRef" if self.by_id else "by day, amount and text")]


@dataclass(slots=True)
class Element:
    """An element of the message: its name without namespace, where it begins, and what is in it."""

    name: str
    line: int
    attributes: Mapping[str, str]
    children: list["Element"]
    text: str = ""

    def all(self, *path: str) -> list["Element"]:
        """Those at a path of names below it."""
        found = [self]
        for name in path:
            found = [child for one in found for child in one.children if child.name == name]
        return found

    def said(self, *path: str) -> str:
        """The text of the first at a path, or nothing."""
        return next((one.text.strip() for one in self.all(*path)), "")

    def below(self, name: str) -> Iterator["Element"]:
        """All of a name at any depth."""
        for child in self.children:
            if child.name == name:
                yield child
            yield from child.below(name)


class _Unreadable(Exception):
    pass


def read_camt(content: bytes, rules: CamtRules, *, currency: str) -> ReadStatement:
    """All booked entries of the file, in its order. Raises BadFile with every problem."""
    if len(content) > BYTES_MAX:
        raise BadFile(f"the file is larger than {BYTES_MAX // 2**20} MiB: cut it, by whole days")
    statements = _parsed(content).all("BkToCstmrStmt", "Stmt")
    if not statements:
        raise BadFile("the file holds no statement (BkToCstmrStmt/Stmt): is it camt.053?")
    accounts = {_account(one) for one in statements}
    if len(accounts) > 1:
        raise BadFile(f"the file holds statements of several accounts ({', '.join(sorted(accounts))}): one each")
    problems: list[str] = []
    found: list[ReadLine] = []
    balances: list[tuple[int | None, int | None]] = []
    for statement in statements:
        before = len(found)
        for entry in statement.all("Ntry"):
            try:
                if _is_booked(entry):
                    found.append(_line(entry, rules, currency))
            except _Unreadable as error:
                problems.append(f"line {entry.line}: {error}")
        balances.append(_balances(statement, currency, problems))
        if not problems:
            check_balances(ReadStatement("", tuple(found[before:]), *balances[-1]), currency)
    if len(found) > LINES_MAX:
        raise BadFile(f"the file has more than {LINES_MAX:,} entries: cut it, by whole days")
    if problems:
        more = len(problems) - ERRORS_SHOWN
        raise BadFile(*problems[:ERRORS_SHOWN], *([f"and {more} more"] if more > 0 else []))
    if not found:
        raise BadFile("the file has no booked entry (Ntry with the status BOOK)")
    whole = all(closing == following for (_, closing), (following, _) in pairwise(balances))
    opening, closing = (balances[0][0], balances[-1][1]) if whole else (None, None)
    read = ReadStatement(hashlib.sha256(content).hexdigest(), numbered(found), opening, closing)
    check_balances(read, currency)
    return read


def _parsed(content: bytes) -> Element:
    """The message as a tree. Raises BadFile for what is no XML, has a document type, or is too deep or too long."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    top = Element("", 0, {}, [])
    open_ones = [top]
    count = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if len(open_ones) > DEPTH_MAX or count > ELEMENTS_MAX:
            raise BadFile(f"line {parser.CurrentLineNumber}: the file is nested too deep, or too long")
        # Of a million elements each name is kept once.
        local = sys.intern(name.rpartition(" ")[2])
        element = Element(local, parser.CurrentLineNumber, attributes or _NO_ATTRIBUTES, [])
        open_ones[-1].children.append(element)
        open_ones.append(element)

    def end(_name: str) -> None:
        open_ones.pop()

    def text(data: str) -> None:
        one = open_ones[-1]
        if one.children:
            return  # nothing of a statement has text beside elements; adding it up would take ever longer
        one.text += data
        if len(one.text) > TEXT_MAX:
            raise BadFile(f"line {parser.CurrentLineNumber}: a text is longer than {TEXT_MAX:,} characters")

    def refuse(*_: Any) -> None:
        raise BadFile(f"line {parser.CurrentLineNumber}: the file has a document type or entities; no statement has")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    for handler in _REFUSED:
        setattr(parser, handler, refuse)
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise BadFile(f"line {error.lineno}: this is no XML: {expat.errors.messages[error.code]}") from None
    except (LookupError, ValueError) as error:
        raise BadFile(f"line 1: the file's encoding cannot be read ({error}): export it as UTF-8") from None
    documents = top.all("Document")
    if not documents:
        raise BadFile("the file is no ISO 20022 message (Document): is it camt.053?")
    return documents[0]


def _account(statement: Element) -> str:
    return statement.said("Acct", "Id", "IBAN") or statement.said("Acct", "Id", "Othr", "Id")


def _is_booked(entry: Element) -> bool:
    """What is pending may still change, and comes again when it is booked."""
    status = entry.said("Sts", "Cd") or entry.said("Sts")
    if status not in ("BOOK", "PDNG", "INFO", "FUTR"):
        raise _Unreadable(f"Sts: {status[:40]!r} is no status of an entry")
    return status == "BOOK"


def _line(entry: Element, rules: CamtRules, currency: str) -> ReadLine:
    booked_on = _day(entry, "BookgDt")
    value_on = _day(entry, "ValDt") if entry.all("ValDt") else None
    amount = _amount(entry, currency)
    bank_id = entry.said("AcctSvcrRef") if rules.by_id else ""
    if rules.by_id and not 0 < len(bank_id) <= ID_MAX:
        raise _Unreadable(f"AcctSvcrRef: every entry needs its reference, of at most {ID_MAX} characters")
    reference = _reference(entry)
    identity = identity_of(bank_id, booked_on, amount, reference)
    return ReadLine(entry.line, booked_on, value_on, amount, reference, bank_id, identity)


def _reference(entry: Element) -> str:
    """All that says whose money it is, each text once; of an entry of many transactions the beginning."""
    texts = [plain_text(one.text) for name in _TEXTS for one in entry.below(name)]
    told = dict.fromkeys(text for text in texts if text and text != _NOT_GIVEN)
    return " ".join(told)[:REFERENCE_MAX].strip()


def _day(entry: Element, name: str) -> date:
    text = entry.said(name, "Dt") or entry.said(name, "DtTm")
    found = _DAY.fullmatch(text)
    try:
        day = date.fromisoformat(found.group(1)) if found is not None else None
    except ValueError:
        day = None
    if day is not None and 1990 <= day.year <= 2200:
        return day
    raise _Unreadable(f"{name}: {text[:40]!r} is no date")


def _amount(one: Element, currency: str) -> int:
    stated = next((amount.attributes.get("Ccy", "") for amount in one.all("Amt")), "")
    if stated != currency:
        raise _Unreadable(f"Amt: {stated or 'no currency'}, and the account is in {currency}")
    text, side = one.said("Amt"), one.said("CdtDbtInd")
    if side not in ("CRDT", "DBIT"):
        raise _Unreadable(f"CdtDbtInd: {side[:40]!r} is neither CRDT nor DBIT")
    if not re.fullmatch(r"\d+(\.\d+)?", text, flags=re.ASCII):
        raise _Unreadable(f"Amt: {text[:40]!r} is no amount")
    try:
        minor = read_amount(_trimmed(text), decimal="point", currency=currency)
    except ValueError as error:
        raise _Unreadable(f"Amt: {error}") from None
    return minor if side == "CRDT" else -minor


def _trimmed(text: str) -> str:
    """Banks write 10.00000; zeros at the end are no places of a currency."""
    whole, _, places = text.partition(".")
    return f"{whole}.{places.rstrip('0')}" if places.rstrip("0") else whole


def _balances(statement: Element, currency: str, problems: list[str]) -> tuple[int | None, int | None]:
    """Before and after, where the bank states them (OPBD or PRCD, CLBD)."""
    found: dict[str, int] = {}
    for balance in statement.all("Bal"):
        kind = balance.said("Tp", "CdOrPrtry", "Cd")
        if kind in ("OPBD", "PRCD", "CLBD"):
            try:
                found.setdefault(kind, _amount(balance, currency))
            except _Unreadable as error:
                problems.append(f"line {balance.line}: balance {kind}: {error}")
    return found.get("OPBD", found.get("PRCD")), found.get("CLBD")
