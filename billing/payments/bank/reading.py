"""
How a bank's CSV file is read: by rules that a person states, and nothing is guessed. Pure.

A file is read whole or not at all: every problem is listed with its line and column, and what to do about it.
"""

import csv
import hashlib
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from billing.invoicing.rounding import exact_minor

LINES_MAX = 20_000
BYTES_MAX = 10 * 1024 * 1024
ERRORS_SHOWN = 20
REFERENCE_MAX = 1000
ID_MAX = 200
DATE_FORMATS: Mapping[str, str] = {
    "YYYY-MM-DD": "%Y-%m-%d",
    "YYYYMMDD": "%Y%m%d",
    "DD.MM.YYYY": "%d.%m.%Y",
    "DD.MM.YY": "%d.%m.%y",
    "DD/MM/YYYY": "%d/%m/%Y",
    "MM/DD/YYYY": "%m/%d/%Y",
    "DD-MM-YYYY": "%d-%m-%Y",
}
DECIMALS: Mapping[str, str] = {"point": ".", "comma": ","}
DELIMITERS: Mapping[str, str] = {"comma": ",", "semicolon": ";", "tab": "\t"}
ENCODINGS = ("utf-8", "latin-1", "cp1252")
COLUMNS = ("booked", "value", "amount", "debit", "credit", "currency", "reference", "description", "id")
_REFERENCE = ("reference", "description")
_AMOUNT_MAX = 10**15
_DIGITS_MAX = 40  # decimals beyond what `exact_minor` is exact in would be cut off in silence
_SPACES = re.compile(r"[\s\u00a0\u202f']")


class BadFile(Exception):
    """The file cannot be imported; nothing was. `problems`: one sentence each, with line, column and remedy."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class BadRules(Exception):
    """The rules cannot read any file. `field` names the one to mend."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Rules:
    """`columns`: what -> the column's name in the header. Opening and closing are balances, written as amounts are."""

    columns: Mapping[str, str]
    date_format: str
    decimal: str
    delimiter: str = "comma"
    encoding: str = "utf-8"
    header_line: int = 1
    opening: str = ""
    closing: str = ""

    def digest(self) -> str:
        return _digest(json.dumps(asdict(self), sort_keys=True))

    @property
    def reference_columns(self) -> list[str]:
        return [self.columns[name] for name in _REFERENCE if name in self.columns]

    def stated(self) -> list[str]:
        """One sentence per rule, for people who look before they confirm."""
        said = [f"{name}: column {column}" for name, column in self.columns.items()]
        said += [f"dates: {self.date_format}", f"decimal {self.decimal}", f"columns parted by {self.delimiter}"]
        return [*said, f"header in line {self.header_line}, {self.encoding}"]


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A line of the file. `number`: of lines with the same identity in this file, which."""

    line_number: int
    booked_on: date
    value_on: date | None
    amount_minor: int
    reference: str
    bank_id: str
    identity: str
    number: int = 1


@dataclass(frozen=True, slots=True)
class ReadStatement:
    digest: str
    lines: tuple[ReadLine, ...]
    opening_minor: int | None
    closing_minor: int | None

    @property
    def sum_minor(self) -> int:
        return sum(line.amount_minor for line in self.lines)


def check_rules(rules: Rules) -> None:
    """Raises BadRules for what no file could satisfy."""
    columns = rules.columns
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise BadRules(f"{unknown[0]!r} is nothing a line has; there are {', '.join(COLUMNS)}", field="columns")
    if "booked" not in columns:
        raise BadRules("the column of the booked date is missing: add booked=COLUMN", field="columns")
    is_split = {"debit", "credit"} <= set(columns)
    if ("amount" in columns) == is_split or (not is_split and {"debit", "credit"} & set(columns)):
        raise BadRules("name either the column amount=, or both debit= and credit=", field="columns")
    if not rules.reference_columns:
        raise BadRules("the text that says whose money it is is missing: add reference=COLUMN", field="columns")
    if len(set(columns.values())) != len(columns):
        raise BadRules("a column is named for two things", field="columns")
    for field, known in (("date_format", DATE_FORMATS), ("decimal", DECIMALS), ("delimiter", DELIMITERS)):
        if getattr(rules, field) not in known:
            raise BadRules(f"{getattr(rules, field)!r} is not known; there are {', '.join(known)}", field=field)
    if rules.encoding not in ENCODINGS:
        raise BadRules(f"{rules.encoding!r} is not known; there are {', '.join(ENCODINGS)}", field="encoding")
    if not 1 <= rules.header_line <= 100:
        raise BadRules("the header is in one of the first 100 lines", field="header_line")


def read_statement(content: bytes, rules: Rules, *, currency: str) -> ReadStatement:
    """All lines of the file, in its order. Raises BadFile with every problem, and BadRules."""
    check_rules(rules)
    if len(content) > BYTES_MAX:
        raise BadFile(f"the file is larger than {BYTES_MAX // 2**20} MiB: cut it, by whole days")
    rows = _rows(content, rules)
    problems: list[str] = []
    found: list[ReadLine] = []
    for line_number, row in rows:
        try:
            found.append(_line(line_number, row, rules, currency))
        except _Unreadable as error:
            problems.append(f"line {line_number}, column {error.column}: {error}")
    if problems:
        more = len(problems) - ERRORS_SHOWN
        raise BadFile(*problems[:ERRORS_SHOWN], *([f"and {more} more"] if more > 0 else []))
    if not found:
        raise BadFile(f"the file has no line below its header in line {rules.header_line}")
    lines = numbered(found)
    statement = ReadStatement(
        digest=hashlib.sha256(content).hexdigest(),
        lines=lines,
        opening_minor=_balance("opening", rules, currency),
        closing_minor=_balance("closing", rules, currency),
    )
    check_balances(statement, currency)
    return statement


class _Unreadable(Exception):
    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


def _rows(content: bytes, rules: Rules) -> list[tuple[int, dict[str, str]]]:
    try:
        text = content.decode("utf-8-sig" if rules.encoding == "utf-8" else rules.encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BadFile(f"line {line}: this is not {rules.encoding}; state another encoding") from None
    if "\x00" in text:
        raise BadFile("the file holds a character that is no text: save it as CSV again")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=DELIMITERS[rules.delimiter], strict=True)
    header: list[str] = []
    rows: list[tuple[int, dict[str, str]]] = []
    while True:
        line_number = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise BadFile(f"line {line_number}: {error}; is the delimiter right?") from None
        if line_number < rules.header_line:
            continue
        if not header:
            header = [name.strip() for name in values]
            _check_header(header, rules)
        elif any(value.strip() for value in values):
            if len(values) != len(header):
                raise BadFile(f"line {line_number}: {len(values)} columns, and the header has {len(header)}")
            rows.append((line_number, dict(zip(header, values, strict=True))))
            if len(rows) > LINES_MAX:
                raise BadFile(f"the file has more than {LINES_MAX:,} lines: cut it, by whole days")
    if not header:
        raise BadFile(f"there is no header in line {rules.header_line}")
    return rows


def _check_header(header: Sequence[str], rules: Rules) -> None:
    for name, column in rules.columns.items():
        if header.count(column) != 1:
            has = "is there twice" if column in header else "is not there"
            raise BadFile(
                f"line {rules.header_line}: column {column!r} (for {name}) {has}; the header has {', '.join(header)}"
            )


def _line(line_number: int, row: Mapping[str, str], rules: Rules, currency: str) -> ReadLine:
    columns = rules.columns
    booked_on = _date(row, columns["booked"], rules)
    value_on = _date(row, columns["value"], rules) if "value" in columns and row[columns["value"]].strip() else None
    stated = row[columns["currency"]].strip().upper() if "currency" in columns else currency
    if stated != currency:
        raise _Unreadable(columns["currency"], f"{stated or 'empty'}, and the account is in {currency}")
    reference = plain_text(" ".join(row[column] for column in rules.reference_columns))
    if len(reference) > REFERENCE_MAX:
        raise _Unreadable(rules.reference_columns[0], f"the text is longer than {REFERENCE_MAX} characters")
    bank_id = row[columns["id"]].strip() if "id" in columns else ""
    if "id" in columns and not 0 < len(bank_id) <= ID_MAX:
        raise _Unreadable(columns["id"], f"every line needs its id, of at most {ID_MAX} characters")
    amount = _amount_of(row, rules, currency)
    return ReadLine(
        line_number, booked_on, value_on, amount, reference, bank_id, identity_of(bank_id, booked_on, amount, reference)
    )


def identity_of(bank_id: str, booked_on: date, amount_minor: int, reference: str) -> str:
    """What tells a line apart, whatever file it came in."""
    return _digest(f"id\n{bank_id}" if bank_id else f"{booked_on}\n{amount_minor}\n{reference}")


def _amount_of(row: Mapping[str, str], rules: Rules, currency: str) -> int:
    if "amount" in rules.columns:
        column = rules.columns["amount"]
        return _minor(row[column], column, rules, currency)
    debit, credit = rules.columns["debit"], rules.columns["credit"]
    given = {column: row[column] for column in (debit, credit) if row[column].strip()}
    amounts = {column: _minor(text, column, rules, currency) for column, text in given.items()}
    if below := next((column for column, amount in amounts.items() if amount < 0), None):
        raise _Unreadable(below, "an amount of a debit or credit column has no sign; is it a column of amounts?")
    amounts = {column: amount for column, amount in amounts.items() if amount} or dict.fromkeys(list(amounts)[:1], 0)
    if len(amounts) != 1:
        raise _Unreadable(debit, f"either {debit} or {credit} has to have an amount")
    [(column, amount)] = amounts.items()
    return amount if column == credit else -amount


def _minor(text: str, column: str, rules: Rules, currency: str) -> int:
    try:
        return read_amount(text, decimal=rules.decimal, currency=currency)
    except ValueError as error:
        raise _Unreadable(column, str(error)) from None


def read_amount(text: str, *, decimal: str, currency: str) -> int:
    """An amount in minor units, such as -1.234,56 with a decimal comma. Raises ValueError that says what is wrong."""
    point = DECIMALS[decimal]
    apart = "," if point == "." else "."
    digits = _SPACES.sub("", text).replace("\N{MINUS SIGN}", "-")
    sign = -1 if digits.startswith("-") or digits.endswith("-") else 1
    digits = digits[1:] if digits.startswith(("-", "+")) else digits.removesuffix("-")
    grouped = rf"(?:[0-9]+|[0-9]{{1,3}}(?:{re.escape(apart)}[0-9]{{3}})+)"
    is_amount = re.fullmatch(rf"{grouped}(?:{re.escape(point)}[0-9]+)?", digits, flags=re.ASCII)
    if not is_amount or len(digits) > _DIGITS_MAX:
        raise ValueError(f"{text.strip()[:40]!r} is no amount with a decimal {decimal}")
    try:
        minor = exact_minor(Decimal(digits.replace(apart, "").replace(point, ".")), currency)
    except ValueError:
        raise ValueError(f"{text.strip()[:40]!r} has more decimal places than {currency}") from None
    if minor > _AMOUNT_MAX:
        raise ValueError(f"{text.strip()[:40]!r} is more than any account holds")
    return sign * minor


def _date(row: Mapping[str, str], column: str, rules: Rules) -> date:
    text = row[column].strip()
    try:
        found = datetime.strptime(text, DATE_FORMATS[rules.date_format]).date()  # noqa: DTZ007 a day has no zone
    except ValueError:
        raise _Unreadable(column, f"{text[:40]!r} is no date as {rules.date_format}") from None
    if len(text) != len(rules.date_format) or not 1990 <= found.year <= 2200:
        raise _Unreadable(column, f"{text[:40]!r} is no date as {rules.date_format}")
    return found


def plain_text(text: str) -> str:
    """The text with single spaces, in one Unicode form."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def numbered(found: Sequence[ReadLine]) -> tuple[ReadLine, ...]:
    """Equal lines are counted, so that two stay two. Raises BadFile for a bank's id that is there twice."""
    seen: Counter[str] = Counter()
    first: dict[str, int] = {}
    numbered: list[ReadLine] = []
    for line in found:
        seen[line.identity] += 1
        if line.bank_id and seen[line.identity] > 1:
            raise BadFile(
                f"line {line.line_number}: the bank's id {line.bank_id} was in line {first[line.identity]} already; "
                "if this column is no id of a line, import without it"
            )
        first.setdefault(line.identity, line.line_number)
        numbered.append(replace(line, number=seen[line.identity]))
    return tuple(numbered)


def _balance(field: str, rules: Rules, currency: str) -> int | None:
    text = getattr(rules, field)
    if not text.strip():
        return None
    try:
        return read_amount(text, decimal=rules.decimal, currency=currency)
    except ValueError as error:
        raise BadRules(f"the {field} balance: {error}", field=field) from None


def check_balances(statement: ReadStatement, currency: str) -> None:
    """Raises BadFile where both balances are given and the lines do not lead from the one to the other."""
    if statement.opening_minor is None or statement.closing_minor is None:
        return
    reached = statement.opening_minor + statement.sum_minor
    if reached != statement.closing_minor:
        raise BadFile(
            f"the opening balance and the lines come to {reached} in minor units of {currency}, and the closing "
            f"balance given is {statement.closing_minor}: a line is missing, or a balance is wrong"
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
