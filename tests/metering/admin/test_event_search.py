"""The search for events: by each field, bounded by an index or by how many it looks at, and page by page."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from metering import operations, queries
from metering.models import AggregationWindow, Meter
from metering.queries import EventFilter, events, find_events
from tests.metering.usage import MORNING, NOW, OCTOBER, event, ingest

pytestmark = pytest.mark.usefixtures("metered")
AFTERNOON = MORNING + timedelta(hours=4, microseconds=7)


def page(client: Client, status: int = 200, **query: Any) -> Any:
    answer = client.get(reverse("admin:metering_usageevent_changelist"), query)
    assert answer.status_code == status
    return answer


def ids(answer: Any) -> list[str]:
    return [row.event_id for row in answer.context["rows"]]


@pytest.fixture
def _events(metered: None) -> None:
    operations.define_meter(
        code="requests", event_type="disk.write", value_path="", aggregation="count", dimensions=[], unit="request"
    )
    ingest(
        event("e 1"),
        event("e2", subject="beta", time=AFTERNOON),
        event("e3", type="disk.write", source="disk/7"),
        event("no tokens", time=MORNING - timedelta(days=3), data=dict.fromkeys(_TOKENS)),
    )
    operations.catch_up_windows(now=NOW)
    ingest(event("late", time=MORNING + timedelta(hours=1)))


_TOKENS = ("input_tokens", "output_tokens", "cache_write_tokens")


@pytest.mark.usefixtures("_events")
class TestFields:
    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({}, ["e2", "late", "e3", "e 1", "no tokens"]),
            ({"customer": "beta"}, ["e2"]),
            ({"customer": " acme ", "type": "disk.write"}, ["e3"]),
            ({"source": "disk/7"}, ["e3"]),
            ({"source": "edge/us-east-1", "id": "e 1"}, ["e 1"]),
            ({"id": "e 1"}, ["e 1"]),
            ({"id": "e"}, []),
            ({"meter": "requests"}, ["e3"]),
            ({"meter": "input_tokens"}, ["e2", "late", "e 1"]),
            ({"state": "excluded"}, ["no tokens"]),
            ({"state": "waiting"}, ["late"]),
            ({"state": "counted", "customer": "acme"}, ["e3", "e 1"]),
            ({"state": "void"}, []),
            ({"from": "2026-10-03 14:00:00.000007"}, ["e2"]),
            ({"from": "2026-10-03 14:00:00.000008"}, []),
            ({"before": "2026-10-03 14:00:00.000007", "from": "2026-10-03"}, ["late", "e3", "e 1"]),
            (
                {"from": "2026-10-03 12:00", "before": "2026-10-03 12:00:00.000001", "zone": "Europe/Berlin"},
                ["e3", "e 1"],
            ),
            ({"from": "2026-10-03 12:00:00+02:00", "before": "2026-10-03 10:00:00.000001Z"}, ["e3", "e 1"]),
        ],
    )
    def test_narrow_the_list(self, staff: Client, query: dict[str, Any], found: list[str]) -> None:
        assert sorted(ids(page(staff, **query))) == sorted(found)

    def test_the_newest_comes_first(self, staff: Client) -> None:
        times = [row.event_time for row in page(staff).context["rows"]]

        assert times == sorted(times, reverse=True)

    def test_an_instant_is_shown_in_the_readers_zone_and_in_utc(self, staff: Client) -> None:
        text = page(staff, zone="Asia/Kolkata").content.decode()

        assert "2026-10-03 19:30:00.000007" in text
        assert "2026-10-03 14:00:00.000007 UTC" in text
        assert "2026-10-03 19:30:00.000007" in page(staff).content.decode(), "the zone is remembered"

    @pytest.mark.parametrize(
        ("query", "field", "word"),
        [
            ({"from": "yesterday"}, "from", "no instant"),
            ({"from": "2026-10-25 02:30", "zone": "Europe/Berlin"}, "from", "twice"),
            ({"before": "2026-03-29 02:30", "zone": "Europe/Berlin"}, "before", "skip"),
            ({"from": "2026-10-03", "before": "2026-10-03"}, "before", "ends before it begins"),
            ({"zone": "Mars/Phobos"}, "zone", "no time zone"),
            ({"meter": "nothing"}, "meter", "not one of"),
            ({"window": "x"}, "window", "no such window"),
        ],
    )
    def test_what_cannot_be_read_is_said_at_its_field(
        self, staff: Client, query: dict[str, str], field: str, word: str
    ) -> None:
        answer = page(staff, 422, **query)

        assert word in str(answer.context["form"].errors[field])
        assert ids(answer) == []


@pytest.mark.usefixtures("_events")
def test_each_row_says_by_which_meters_it_counts_and_with_how_much() -> None:
    (row,) = find_events(EventFilter(source="edge/us-east-1", event_id="e 1"), limit=5).rows

    told = {pair.meter_code: (pair.quantity, pair.reason) for pair in row.pairs}
    assert told == {
        "input_tokens": (100, ""),
        "output_tokens": (10, ""),
        "cache_write_tokens": (0, ""),
        "cache_read_tokens": (None, "value_absent"),
    }
    assert row.state == "counted"


@pytest.mark.usefixtures("_events")
class TestAWindow:
    def test_leads_to_exactly_its_events(self, staff: Client) -> None:
        """Not to those of the hour with another model, nor to those that the meter excludes, nor to waiting ones."""
        ingest(
            event("same hour", time=MORNING + timedelta(minutes=59)),
            event("other model", data={"model": "claude-opus-5"}),
            event("no input", data={"input_tokens": None}),
            event("of beta", subject="beta"),
            event("next hour", time=MORNING + timedelta(hours=1)),
        )
        operations.catch_up_windows(now=NOW)
        ingest(event("waits", time=MORNING + timedelta(minutes=1)))
        window = AggregationWindow.objects.get(
            meter__code="input_tokens", customer_key="acme", window_start=MORNING, dimensions__model="claude-sonnet-5"
        )
        listed = staff.get(reverse("admin:metering_aggregationwindow_changelist"), {"q": "acme"}).content.decode()
        assert f"/metering/usageevent/?window={window.pk}" in listed

        answer = page(staff, window=window.pk)

        assert sorted(ids(answer)) == ["e 1", "same hour"]
        assert len(ids(answer)) == window.event_count
        assert "claude-sonnet-5" in answer.content.decode()

    def test_that_is_not_there_is_said(self, staff: Client) -> None:
        assert "There is no window 999." in page(staff, 422, window="999").content.decode()


class TestPages:
    @pytest.fixture(autouse=True)
    def _many(self, metered: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("metering.admin.events.EVENTS_A_PAGE", 4)
        # Several of one instant: the place in the list goes by time and key.
        ingest(*(event(f"e{number}", time=OCTOBER + timedelta(minutes=number // 3)) for number in range(10)))
        operations.catch_up_windows(now=NOW)

    def test_together_hold_every_event_once_also_when_new_ones_come_in_between(self, staff: Client) -> None:
        query, seen = "?customer=acme", list[str]()
        for turn in range(5):
            answer = staff.get(reverse("admin:metering_usageevent_changelist") + query)
            seen += ids(answer)
            if not answer.context["next"]:
                break
            query = f"?{answer.context['next']}"
            ingest(event(f"newer {turn}", time=OCTOBER + timedelta(days=1)))
        assert sorted(seen) == sorted(f"e{number}" for number in range(10))

    def test_a_place_that_is_none_shows_the_first_page(self, staff: Client) -> None:
        first = ids(page(staff))
        for after in ("x", "_", "2026-10-03_zz", "2026-10-03T10:00:00_" + "0" * 32, "9" * 5_000, "\x00", "+_-1"):
            assert ids(page(staff, after=after)) == first


class TestARareEvent:
    @pytest.fixture(autouse=True)
    def _many(self, metered: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(events, "LOOKED_AT_MAX", 20)
        others = [event(f"e{number}", time=OCTOBER + timedelta(minutes=number + 1)) for number in range(50)]
        ingest(event("rare", time=OCTOBER, source="rare"), *others)
        operations.catch_up_windows(now=NOW)

    def test_is_looked_for_so_far_back_and_then_the_page_says_how_to_find_it_sooner(self, staff: Client) -> None:
        answer = page(staff, id="rare")

        assert ids(answer) == []
        text = answer.content.decode()
        assert "An id is found at once when its source is given too." in text
        assert "Look further back" in text

        turns = 0
        while not ids(answer):
            turns += 1
            answer = staff.get(reverse("admin:metering_usageevent_changelist") + f"?{answer.context['next']}")
        assert (ids(answer), turns) == (["rare"], 2)
        assert answer.context["next"] == ""

    def test_of_a_known_source_and_id_is_found_at_once(self, staff: Client) -> None:
        assert ids(page(staff, id="rare", source="rare")) == ["rare"]

    def test_of_a_rare_state_names_what_is_missing(self, staff: Client) -> None:
        assert "Add a customer and a span of time" in page(staff, state="void").content.decode()
        year: dict[str, Any] = {"from": "2026-01-01", "before": "2027-01-01"}
        assert "Choose a shorter span" in page(staff, state="void", customer="acme", **year).content.decode()


def test_a_meter_counts_only_what_was_recorded_while_it_was_in_force() -> None:
    ingest(event("before"))
    meter = Meter.objects.get(code="input_tokens")
    operations.define_meter(
        code="input_tokens",
        event_type="llm.request",
        value_path="data.input_tokens",
        aggregation="sum",
        dimensions=[],
        unit="token",
    )
    ingest(event("after"))
    operations.catch_up_windows(now=NOW)

    found = {row.event_id: row for row in find_events(EventFilter(), limit=5).rows}
    versions = {
        name: [pair.meter_version for pair in found[name].pairs if pair.meter_code == "input_tokens"] for name in found
    }
    assert versions == {"before": [meter.version], "after": [meter.version + 1]}


def test_the_search_needs_its_permission(may: Any) -> None:
    assert may("view_aggregationwindow").get(reverse("admin:metering_usageevent_changelist")).status_code == 403


def test_a_list_of_fifty_takes_as_many_queries_as_one_of_one(staff: Client, django_assert_num_queries: Any) -> None:
    ingest(event("e0"))
    operations.catch_up_windows(now=NOW)
    page(staff)
    with django_assert_num_queries(5):
        page(staff, customer="acme")
    ingest(*(event(f"e{number}", time=datetime(2026, 10, 4, tzinfo=UTC)) for number in range(60)))
    operations.catch_up_windows(now=NOW)
    with django_assert_num_queries(5):
        assert len(ids(page(staff, customer="acme"))) == 50


def test_the_end_of_the_calendar_is_no_error() -> None:
    wanted = EventFilter(start=datetime(2000, 1, 1, tzinfo=UTC), end=datetime(2200, 1, 1, tzinfo=UTC))
    assert queries.find_events(wanted, limit=5).rows == ()
