"""Reading and checking events: the table of bad input, and what a good event is turned into."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from metering.event_times import parse_time
from metering.events import (
    MAX_EVENT_BYTES,
    NotJSON,
    Refusal,
    TooManyEvents,
    TypeRule,
    UsageEvent,
    UsageEventInput,
    check_event,
    decode_batch,
)
from tests.metering.usage import MORNING, NOW, event

HORIZON = NOW - timedelta(days=396)
RULES = {"llm.request": TypeRule((("input_tokens",),), (("model",),))}


def check(given: UsageEventInput | Refusal) -> UsageEvent | Refusal:
    assert isinstance(given, UsageEventInput)
    return check_event(given, received_at=NOW, oldest=HORIZON, rules=RULES)


def accepted(**changes: Any) -> UsageEvent:
    checked = check(event(**changes))
    assert isinstance(checked, UsageEvent), checked
    return checked


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"event_id": None}, "id", "the event has no id"),
        ({"event_id": ""}, "id", "the event has no id"),
        ({"event_id": 17}, "id", "the id is not a string"),
        ({"event_id": "x" * 257}, "id", "the id is longer than 256 characters"),
        ({"event_id": "a\x00b"}, "id", "the id holds characters that cannot be kept"),
        ({"event_id": "a\ud800"}, "id", "the id holds characters that cannot be kept"),
        ({"source": None}, "source", "the event has no source"),
        ({"type": None}, "type", "the event has no type"),
        ({"subject": None}, "subject", "the event has no subject"),
        ({"specversion": "0.3"}, "specversion", "the version is not supported"),
        ({"time": ""}, "time", "the time is empty"),
        ({"time": "2026-10-03T10:00:00"}, "time", "the time has no offset from UTC"),
        ({"time": datetime(2026, 10, 3, 10)}, "time", "the time has no offset from UTC"),  # noqa: DTZ001
        ({"time": 1759485600}, "time", "the time is not a string"),
        ({"time": "yesterday"}, "time", "the time is not RFC 3339"),
        ({"time": "20261003T100000Z"}, "time", "the time is not RFC 3339"),
        ({"time": NOW + timedelta(minutes=5, microseconds=1)}, "time", "the time lies more than 5 minutes ahead"),
        ({"data": [1]}, "data", "data is not an object"),
        ({"data": {"note": "a\x00b"}}, "data", "data holds a character that cannot be kept"),
        ({"data": {"input_tokens": -1}}, "data.input_tokens", "the quantity is negative"),
        ({"data": {"input_tokens": Decimal("-0.5")}}, "data.input_tokens", "the quantity is negative"),
        ({"data": {"input_tokens": "-3"}}, "data.input_tokens", "the quantity is negative"),
        ({"data": {"input_tokens": "many"}}, "data.input_tokens", "the quantity is not a number"),
        ({"data": {"input_tokens": "NaN"}}, "data.input_tokens", "the quantity is not a number"),
        ({"data": {"input_tokens": ""}}, "data.input_tokens", "the quantity is not a number"),
        ({"data": {"input_tokens": "\u0661"}}, "data.input_tokens", "the quantity is not a number"),
        ({"data": {"input_tokens": True}}, "data.input_tokens", "the quantity is not a number"),
        ({"data": {"input_tokens": 0.5}}, "data.input_tokens", "the quantity is not a number"),
        ({"data": {"input_tokens": [5]}}, "data.input_tokens", "the quantity is not a number"),
        (
            {"data": {"input_tokens": 10**18}},
            "data.input_tokens",
            "the quantity has over 18 digits before the point or 12 after",
        ),
        (
            {"data": {"input_tokens": Decimal("0.0000000000001")}},
            "data.input_tokens",
            "the quantity has over 18 digits before the point or 12 after",
        ),
        ({"data": {"model": {"name": "x"}}}, "data.model", "a dimension is neither text nor number"),
        ({"data": {"model": "x" * 201}}, "data.model", "a dimension is longer than 200 characters"),
    ],
)
def test_a_bad_event_is_refused_with_field_reason_and_remedy(changes: dict[str, Any], field: str, reason: str) -> None:
    refusal = check(event(**changes))

    assert isinstance(refusal, Refusal)
    assert (refusal.field, refusal.reason) == (field, reason)
    assert refusal.remedy


@pytest.mark.parametrize(
    "time", ["2026-02-30T10:00:00Z", "2026-10-03T25:00:00Z", "2026-10-03T10:00:60Z", "2026-13-01T00:00:00Z"]
)
def test_an_impossible_time_is_refused(time: str) -> None:
    refusal = check(event(time=time))

    assert isinstance(refusal, Refusal)
    assert refusal.field == "time"
    assert refusal.reason.startswith("the time does not exist")


def test_the_dedupe_horizon_is_inclusive_and_named() -> None:
    assert accepted(time=HORIZON).time == HORIZON

    refusal = check(event(time=HORIZON - timedelta(microseconds=1)))

    assert isinstance(refusal, Refusal)
    assert refusal.reason == f"the time is older than the dedupe horizon ({HORIZON.isoformat()})"


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-10-03T10:00:00Z", MORNING),
        ("2026-10-03t10:00:00z", MORNING),
        ("2026-10-03 10:00:00Z", MORNING),
        ("2026-10-03T12:00:00+02:00", MORNING),
        ("2026-10-03T10:00:00.1Z", MORNING.replace(microsecond=100_000)),
        ("2026-10-03T10:00:00.123456Z", MORNING.replace(microsecond=123_456)),
        ("2026-10-03T10:00:00.9999999Z", MORNING.replace(microsecond=999_999)),
    ],
)
def test_times_are_kept_to_the_microsecond_in_utc_and_never_rounded_up(text: str, time: datetime) -> None:
    checked = accepted(time=text)

    assert checked.time == time
    assert checked.time.tzinfo is UTC


def test_a_time_without_offset_is_parsed_naive_for_the_caller_to_judge() -> None:
    assert parse_time("2023-11-16 18:17:03.9799600") == datetime(2023, 11, 16, 18, 17, 3, 979_960)  # noqa: DTZ001


@pytest.mark.parametrize("value", [0, 1, 10**18 - 1, "12", "0.000000000001", Decimal("1E+3"), Decimal("1.50"), None])
def test_exact_quantities_pass(value: object) -> None:
    assert accepted(data={"input_tokens": value}).data["input_tokens"] == value


def test_a_quantity_of_a_type_nobody_measures_is_not_judged() -> None:
    assert accepted(type="disk.write", data={"input_tokens": "many"}).type == "disk.write"


def test_key_depends_on_source_and_id_alone_and_digest_on_the_rest() -> None:
    first = accepted()

    assert accepted(time=MORNING + timedelta(days=1)).key == first.key
    assert accepted(time=MORNING + timedelta(days=1)).digest != first.digest
    assert accepted(subject="beta").digest != first.digest
    assert accepted(data={"input_tokens": 101}).digest != first.digest
    # Where source ends and id begins is part of the key.
    assert accepted(source="a", event_id="bc").key != accepted(source="ab", event_id="c").key


def test_digest_ignores_how_a_body_was_written() -> None:
    one = decode_batch(
        b'{"id":"1","source":"s","type":"t","subject":"u","time":"2026-10-03T10:00:00Z","data":{"a":1,"b":2}}'
    )
    other = decode_batch(
        b'{"data":{"b":2, "a":1}, "subject":"u", "time":"2026-10-03T12:00:00.0000009+02:00",'
        b' "source":"s", "id":"1", "type":"t"}'
    )
    first, second = check(one[0]), check(other[0])

    assert isinstance(first, UsageEvent)
    assert isinstance(second, UsageEvent)
    assert (first.key, first.digest) == (second.key, second.digest)


def test_numbers_never_pass_through_float() -> None:
    (decoded,) = decode_batch(b'{"id":"1","data":{"a":0.1,"b":12345678901234567890123,"c":1e3}}')

    assert isinstance(decoded, UsageEventInput)
    assert decoded.data == {"a": Decimal("0.1"), "b": 12345678901234567890123, "c": Decimal("1E+3")}


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"[", b'[{"id":1}', b"17", b'"x"', b"null", b'{"id":', b"[1,]", b"\xff\xfe"]
)
def test_a_body_that_is_no_json_list_or_object_is_an_error_of_the_whole(body: bytes) -> None:
    with pytest.raises(NotJSON):
        decode_batch(body)


@pytest.mark.parametrize(
    "bad",
    [b"17", b'"text"', b"[]", b'{"id":"\xff"}', b'{"data":{"a":1e99999}}', b'{"data":{"a":' + b"9" * 5000 + b"}}"],
)
def test_one_unreadable_event_does_not_cost_the_others(bad: bytes) -> None:
    decoded = decode_batch(b"[" + bad + b',{"id":"good"}]')

    assert isinstance(decoded[0], Refusal)
    assert decoded[1] == UsageEventInput(id="good")


@pytest.mark.parametrize("text", [rb"cut \ud83d", rb"\ud83d\u0041", rb"\ude00 tail", rb"\\\ud83d"])
def test_half_a_surrogate_pair_costs_only_its_own_event(text: bytes) -> None:
    """A client cut a text inside an emoji: grammatical JSON that no database can keep."""
    body = b'[{"id":"' + text + b'"},{"id":"\\ud83d\\ude00 \\\\ud83d"}]'

    cut, whole = decode_batch(body)

    assert whole == UsageEventInput(id="\U0001f600 \\ud83d")
    refusal = check(cut)
    assert isinstance(refusal, Refusal)
    assert (refusal.field, refusal.reason) == ("id", "the id holds characters that cannot be kept")


def test_nesting_deeper_than_the_parser_goes_is_an_error_of_the_whole() -> None:
    with pytest.raises(NotJSON):
        decode_batch(b'[{"data":{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}}]")


def test_an_event_over_the_size_limit_is_refused_alone() -> None:
    large = msgspec.json.encode({"id": "large", "data": {"note": "x" * MAX_EVENT_BYTES}})

    decoded = decode_batch(b"[" + large + b',{"id":"small"}]')

    assert isinstance(decoded[0], Refusal)
    assert "65,536" in decoded[0].reason
    assert decoded[1] == UsageEventInput(id="small")


def test_too_many_events_are_an_error_of_the_whole() -> None:
    assert len(decode_batch(b"[" + b",".join([b"{}"] * 5_000) + b"]")) == 5_000
    with pytest.raises(TooManyEvents):
        decode_batch(b"[" + b",".join([b"{}"] * 5_001) + b"]")
