"""The identity of an event: what it depends on, and where it lies."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.event_keys import event_key, key_place

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
MILLISECONDS = st.integers(0, 2**48 - 1)


def uuid7(milliseconds: int, rest: int = 0x1234567890ABCDEF123) -> str:
    random_a, random_b = rest >> 62 & 0xFFF, rest & (1 << 62) - 1
    return str(UUID(int=milliseconds << 80 | 7 << 76 | random_a << 64 | 2 << 62 | random_b))


def ulid(milliseconds: int, rest: bytes) -> str:
    number = int.from_bytes(milliseconds.to_bytes(6, "big") + rest, "big")
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    return "".join(alphabet[number >> shift & 31] for shift in range(125, -1, -5))


@given(source=TEXTS, event_id=TEXTS)
def test_a_key_is_32_hexadecimal_digits_and_always_the_same(source: str, event_id: str) -> None:
    key = event_key(source, event_id)

    assert len(key) == 32
    assert UUID(key).hex == key
    assert event_key(source, event_id) == key


@given(text=TEXTS, cut=st.integers(1, 39), other_cut=st.integers(1, 39))
def test_where_the_source_ends_and_the_id_begins_is_part_of_the_key(text: str, cut: int, other_cut: int) -> None:
    one, other = (text[:cut], text[cut:]), (text[:other_cut], text[other_cut:])

    assert (event_key(*one) == event_key(*other)) == (one == other)


@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), unique=True, min_size=2, max_size=50))
def test_no_two_events_share_a_key(pairs: list[tuple[str, str]]) -> None:
    assert len({event_key(*pair) for pair in pairs}) == len(pairs)


@given(first=MILLISECONDS, second=MILLISECONDS, source=TEXTS)
def test_keys_of_uuid7_lie_in_the_order_of_their_times(first: int, second: int, source: str) -> None:
    keys = [event_key(source, uuid7(milliseconds)) for milliseconds in (first, second)]

    assert [int(key[:12], 16) for key in keys] == [first, second]


@given(milliseconds=MILLISECONDS, rest=st.binary(min_size=10, max_size=10))
def test_keys_of_ulids_begin_with_their_milliseconds(milliseconds: int, rest: bytes) -> None:
    text = ulid(milliseconds, rest)

    assert key_place("edge", text) == key_place("edge", text.lower()) == f"{milliseconds:012x}"


def test_published_examples_carry_their_published_times() -> None:
    """RFC 9562, appendix A.6, and the ULID specification's own example."""
    rfc = int(key_place("edge", "017F22E2-79B0-7CC3-98C4-DC0C0C07398F"), 16)
    spec = int(key_place("edge", "01ARZ3NDEKTSV4RRFFQ69G5FAV"), 16)

    assert datetime.fromtimestamp(rfc / 1000, UTC) == datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)
    assert spec == 1469922850259


@given(number=st.integers(0, 2**36 - 2), stem=st.sampled_from(["", "order-", "a_", "x/y:"]), source=TEXTS)
def test_keys_of_a_counter_lie_in_its_order(number: int, stem: str, source: str) -> None:
    one, next_one = (event_key(source, f"{stem}{count}") for count in (number, number + 1))

    assert one[:3] == next_one[:3]
    assert int(next_one[3:12], 16) - int(one[3:12], 16) == 1


@given(number=st.integers(0, 10**250))
def test_a_number_of_any_length_has_a_place(number: int) -> None:
    assert len(key_place("edge", str(number))) == 12


@pytest.mark.parametrize(
    "event_id",
    [
        "",
        "f47ac10b-58cc-4372-a567-0e02b2c3d479",  # UUIDv4
        "017F22E2-79B0-8CC3-98C4-DC0C0C07398F",  # UUIDv8
        "017F22E2-79B0-7CC3-18C4-DC0C0C07398F",  # another variant
        "01ARZ3NDEKTSV4RRFFQ69G5FAU",  # U is no digit of Crockford's
        "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",  # over 128 bits
        "order17",
        "order-\u0661\u0667",
        "17:3f9a",
        "\u212a" * 26,  # KELVIN SIGN, which is a k where case is ignored
    ],
)
def test_an_id_that_does_not_tell_its_place_lies_where_its_hash_says(event_id: str) -> None:
    assert key_place("edge", event_id) == ""
    assert len(event_key("edge", event_id)) == 32


def test_half_a_surrogate_pair_has_a_key_although_no_event_is_stored_under_it() -> None:
    assert len(event_key("edge\ud800", "cut \ud83d")) == 32


def test_the_same_id_in_another_case_is_another_event() -> None:
    text = uuid7(1_700_000_000_000)

    assert event_key("edge", text) != event_key("edge", text.upper())
