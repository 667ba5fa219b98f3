"""How a row of a file becomes a usage event: pure rules, stated in the import's output and kept with its run."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from metering.event_times import parse_time
from metering.events import Refusal, UsageEventInput, value_at

TOP_FIELDS = frozenset({"id", "source", "type", "subject", "time"})
WHOLE_DATA = "data"
"""A column that holds all of an event's data as one JSON object, as archives of usage have it."""
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_exact_json = msgspec.json.Decoder(float_hook=Decimal)


class BadRule(Exception):
    """A rule of an import cannot be carried out: the text says which, and what to write instead."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it was read. `digest` is over its bytes, so an unchanged row has the same id in every import."""

    line_number: int
    digest: str
    values: Mapping[str, Any] | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ImportRules:
    """Everything that shapes the events of an import. Constants fill in what a row lacks, a rule always decides.

    `columns`: event field -> column. `constants`: event field -> text. `subject_rule`, `model_rule`: see `chooser`.
    `time_zone`: of times without offset; empty refuses them. `shift_time_to`: whole days are added to every time so
    that the first row's UTC date becomes this one.
    """

    source: str
    columns: Mapping[str, str]
    constants: Mapping[str, str]
    subject_rule: str = ""
    model_rule: str = ""
    time_zone: str = ""
    shift_time_to: str = ""

    def digest(self) -> str:
        """SHA-256 of the rules: an interrupted import goes on only under the same ones."""
        return hashlib.sha256(msgspec.json.encode(asdict(self), order="sorted")).hexdigest()

    def stated(self) -> list[str]:
        """One sentence per rule, for the output."""
        lines = [f"source: {self.source}", "id: " + self._id_rule()]
        lines += [f"{field}: column {column}" for field, column in self.columns.items() if field != "id"]
        lines += [f"{field}: always {text}" for field, text in self.constants.items()]
        lines += [f"subject: {self.subject_rule}"] if self.subject_rule else []
        lines += [f"data.model: {self.model_rule}"] if self.model_rule else []
        lines += [f"times without offset: {self.time_zone or 'refused'}"]
        lines += [f"times: shifted by whole days, first row to {self.shift_time_to}"] if self.shift_time_to else []
        return lines

    def _id_rule(self) -> str:
        return f"column {self.columns['id']}" if "id" in self.columns else "<line number>:<digest of the row>"


def chooser(rule: str) -> Callable[[Row], str]:
    """The function a rule names: `fixed:V`, `round-robin:A,B,…` by line number, or `hash:A,B,…` by the row's digest.

    All three depend on the row alone, so a second import chooses the same. Raises BadRule.
    """
    kind, _, rest = rule.partition(":")
    choices = [choice.strip() for choice in rest.split(",")]
    if not all(choices) or kind not in {"fixed", "round-robin", "hash"} or (kind == "fixed" and len(choices) > 1):
        raise BadRule(f"{rule!r} is no rule; write fixed:NAME, round-robin:A,B or hash:A,B")
    if kind == "hash":
        return lambda row: choices[int(row.digest, 16) % len(choices)]
    return lambda row: choices[row.line_number % len(choices)]


def check_rules(rules: ImportRules) -> None:
    """Raises BadRule for anything in the rules that no row could satisfy, before a row is read."""
    for field in (*rules.columns, *rules.constants):
        if field == WHOLE_DATA and field in rules.columns:
            continue
        if field not in TOP_FIELDS and not (field.startswith("data.") and all(field.split("."))):
            raise BadRule(
                f"{field!r} is no field of an event; there are id, source, type, subject, time and data.<name>"
            )
    for rule in (rules.subject_rule, rules.model_rule):
        if rule:
            chooser(rule)
    if rules.time_zone:
        try:
            ZoneInfo(rules.time_zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise BadRule(f"{rules.time_zone!r} is no time zone; write UTC or a name such as Europe/Berlin") from error
    if rules.shift_time_to:
        try:
            date.fromisoformat(rules.shift_time_to)
        except ValueError as error:
            raise BadRule(f"{rules.shift_time_to!r} is no date; write such as 2026-10-16") from error


class RowReader:
    """Makes events of rows by the rules. `shift_days` is None until the first readable time has set it."""

    def __init__(self, rules: ImportRules, shift_days: int | None) -> None:
        self.rules = rules
        self.shift_days = shift_days
        self._zone = ZoneInfo(rules.time_zone) if rules.time_zone else None
        self._subject = chooser(rules.subject_rule) if rules.subject_rule else None
        self._model = chooser(rules.model_rule) if rules.model_rule else None
        # Without a mapping, a JSON line is an event already.
        self._is_event = not rules.columns

    def event(self, row: Row) -> UsageEventInput | Refusal:
        """The event of one row, not yet checked but for what only the import can tell: unreadable rows and local
        times."""
        if row.values is None:
            return Refusal("", "", row.problem, "correct the row and import the file again")
        try:
            fields, data = self._as_event(row.values) if self._is_event else self._mapped(row.values)
        except ValueError as error:
            return Refusal("", "data", f"the column of data: {error}", "write all data of the event as one JSON object")
        for name, text in self.rules.constants.items():
            _put(fields, data, name, text)
        if self._subject:
            fields["subject"] = self._subject(row)
        if self._model and isinstance(data, dict):
            data["model"] = self._model(row)
        fields.setdefault("source", self.rules.source)
        fields.setdefault("id", f"{row.line_number}:{row.digest}")
        if fields.get("time") in (None, ""):
            # A request's events may leave it out: they happen as they arrive. A file's happened before it was written.
            return Refusal(str(fields["id"]), "time", "the row has no time", "give every row the time it happened")
        try:
            fields["time"] = self._time(fields["time"])
        except (ValueError, OverflowError) as error:
            return Refusal(str(fields["id"]), "time", str(error), "see --time-zone, or correct the row")
        return UsageEventInput(**fields, data=data)

    def _mapped(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        fields: dict[str, Any] = {}
        columns = dict(self.rules.columns)
        whole = columns.pop(WHOLE_DATA, None)
        data: dict[str, Any] = {}
        if whole is not None:
            data.update(decode_json_line(str(_column(values, whole)).encode()))
        for name, column in columns.items():
            _put(fields, data, name, _column(values, column))
        return fields, data

    def _as_event(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        fields = {name: values[name] for name in (*TOP_FIELDS, "specversion") if name in values}
        return fields, values.get("data", {})

    def _time(self, value: Any) -> Any:
        """The time with its zone and shift. Anything but text is left for ingest to refuse. Raises ValueError."""
        if not isinstance(value, str):
            return value
        time = parse_time(value.strip())
        if time.tzinfo is None:
            time = self._localised(time)
        if not self.rules.shift_time_to:
            return time
        if self.shift_days is None:
            self.shift_days = (date.fromisoformat(self.rules.shift_time_to) - time.astimezone(UTC).date()).days
        return time.astimezone(UTC) + timedelta(days=self.shift_days)

    def _localised(self, naive: datetime) -> datetime:
        if self._zone is None:
            raise ValueError("the time has no offset from UTC and --time-zone was not given")
        time = naive.replace(tzinfo=self._zone)
        if time.utcoffset() != time.replace(fold=1).utcoffset():
            raise ValueError(f"the local time happens twice, or not at all, in {self.rules.time_zone}")
        return time


def _column(values: Mapping[str, Any], column: str) -> Any:
    """A CSV column, or a JSON line's value by dotted path."""
    return values[column] if column in values else value_at(values, column.split("."))


def _put(fields: dict[str, Any], data: Any, name: str, value: Any) -> None:
    """Set what is not set yet. An empty cell of data is no value: the meter's pair is excluded as absent."""
    if name in TOP_FIELDS:
        fields.setdefault(name, value)
        return
    *parents, last = name.split(".")[1:]
    for step in parents:
        data = data.setdefault(step, {}) if isinstance(data, dict) else None
    if isinstance(data, dict) and value != "":
        data.setdefault(last, number_or_text(value))


def number_or_text(value: Any) -> Any:
    """Text that is written as JSON writes a number becomes that number, exactly; all else stays (00017 is a name)."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()):
        return value
    return int(value) if _INTEGER.fullmatch(value.strip()) else Decimal(value)


def decode_json_line(line: bytes) -> Mapping[str, Any]:
    """One JSON object with Decimals for fractions. Raises ValueError."""
    try:
        values = _exact_json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the line is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError("the line is no JSON object")
    return values


def split_pairs(pairs: Sequence[str], option: str) -> dict[str, str]:
    """`FIELD=VALUE` options as a dict, in order. Raises BadRule."""
    split: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise BadRule(f"{option} {pair!r}: write FIELD=VALUE")
        if name in split:
            raise BadRule(f"{option} {name} is given twice")
        split[name] = value
    return split
