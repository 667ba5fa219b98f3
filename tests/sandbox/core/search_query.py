"""Stripe's search query language: clauses `field:"value"`, joined by AND (or a space) or by OR, never by both.

A clause is a field, an operator and a value. `:` is exact (texts without regard to case), `~` finds a part of a text,
`<` `<=` `>` `>=` compare numbers, `null` as a value means absence, a minus in front turns a clause around.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject

Kind = Literal["token", "text", "number"]  # a token is matched as a whole, a text also in part

CLAUSE = re.compile(
    r"""(?P<minus>-)?
    (?P<field>[a-z_][a-z0-9_.]*)
    (?:\[(?P<key>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')\])?
    (?P<operator>:|~|<=|>=|<|>|=)
    (?P<value>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s"']+)""",
    re.VERBOSE | re.IGNORECASE,
)
JOINT = re.compile(r"\s+(?:(?P<word>AND|OR)\s+)?", re.IGNORECASE)
PART_LENGTH_MIN = 3  # of what `~` looks for
CLAUSES_MAX = 10
COMPARISONS: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
}


@dataclass(frozen=True, slots=True)
class Field:
    """Something that can be searched for: its kind, and how it is read from an object."""

    kind: Kind
    read: Callable[[StripeObject], Any]


@dataclass(frozen=True, slots=True)
class Clause:
    field: str
    key: str | None
    operator: str
    value: str | None  # None: null
    negated: bool


@dataclass(frozen=True, slots=True)
class Query:
    clauses: tuple[Clause, ...]
    any_of_them: bool


def parse_query(text: str) -> Query:
    """Raises `StripeError` for what is no query."""
    clauses: list[Clause] = []
    words: set[str] = set()
    place = 0
    text = text.strip()
    while True:
        found = CLAUSE.match(text, place)
        if found is None:
            raise _unreadable()
        clauses.append(_clause(found))
        place = found.end()
        if place == len(text):
            break
        joint = JOINT.match(text, place)
        if joint is None:
            raise _unreadable()
        words.add((joint["word"] or "AND").upper())
        place = joint.end()
    if len(words) > 1:
        raise StripeError("A search query cannot mix AND and OR: use one of them.", param="query")
    if len(clauses) > CLAUSES_MAX:
        raise StripeError(f"A search query can have at most {CLAUSES_MAX} clauses.", param="query")
    return Query(tuple(clauses), any_of_them=words == {"OR"})


def matcher(query: Query, fields: Mapping[str, Field], resource: str) -> Callable[[StripeObject], bool]:
    """Whether an object matches. Raises `StripeError` for a field or an operator that the resource does not know."""
    checks = [_check(clause, fields, resource) for clause in query.clauses]
    judge = any if query.any_of_them else all
    return lambda thing: judge(check(thing) for check in checks)


def _check(clause: Clause, fields: Mapping[str, Field], resource: str) -> Callable[[StripeObject], bool]:
    if clause.field == "metadata":
        if clause.key is None:
            raise _unreadable()
        key = clause.key
        field = Field("token", lambda thing: (thing.get("metadata") or {}).get(key))
    elif clause.field in fields and clause.key is None:
        field = fields[clause.field]
    else:
        raise StripeError(
            f"Field `{clause.field}` is an unsupported search field for resource `{resource}`. See "
            f"http://stripe.com/docs/search#query-fields-for-{resource.replace('_', '-')} for a list of supported "
            "fields.",
            param="query",
        )
    holds = _holds(clause, field)
    if clause.negated:
        return lambda thing: not holds(field.read(thing))
    return lambda thing: holds(field.read(thing))


def _holds(clause: Clause, field: Field) -> Callable[[Any], bool]:
    """What a clause says about the value of its field."""
    wanted, operator = clause.value, clause.operator
    if wanted is None:
        if operator not in (":", "="):
            raise _unfit(clause)
        return lambda value: value is None or value == ""
    if operator == "~":
        if field.kind != "text":
            raise _unfit(clause)
        if len(wanted) < PART_LENGTH_MIN:
            raise StripeError(
                f"The value of a substring match must be at least {PART_LENGTH_MIN} characters long.", param="query"
            )
        return lambda value: value is not None and wanted.lower() in str(value).lower()
    if field.kind == "number":
        bound = _number(clause, wanted)
        compare = COMPARISONS.get(operator, Decimal.__eq__)
        return lambda value: value is not None and compare(Decimal(value), bound)
    if operator not in (":", "="):
        raise _unfit(clause)
    return lambda value: value is not None and _as_text(value) == wanted.lower()


def _clause(found: re.Match[str]) -> Clause:
    raw = found["value"]
    quoted = raw[0] in "\"'"
    value: str | None = _unquoted(raw)
    if not quoted and raw.lower() == "null":
        value = None
    return Clause(
        field=found["field"],
        key=_unquoted(found["key"]) if found["key"] else None,
        operator=found["operator"],
        value=value,
        negated=found["minus"] is not None,
    )


def _unquoted(raw: str) -> str:
    return re.sub(r"\\(.)", r"\1", raw[1:-1]) if raw[0] in "\"'" else raw


def _number(clause: Clause, text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise StripeError(f"`{clause.field}` is a number, which `{text}` is not.", param="query") from None


def _as_text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value).lower()


def _unreadable() -> StripeError:
    return StripeError(
        'We were unable to parse your search query. Try using the format `metadata["key"]:"value"` to query for '
        'metadata or `field:"value"` to query for other fields.',
        param="query",
    )


def _unfit(clause: Clause) -> StripeError:
    return StripeError(f"The operator `{clause.operator}` is not supported for `{clause.field}`.", param="query")
