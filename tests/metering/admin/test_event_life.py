"""The life of one event: how it came, what was sent against it, where it counts, and what was made of it."""

import html
import re
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from config import roles
from metering import event_life, operations, showing
from metering.api.usage_schema import PairFields
from metering.event_keys import event_key
from metering.event_life import LifeOfWindow, LifeStage
from metering.models import AggregationWindow, EventConflict, ImportRun
from metering.queries import EventLife, events, life_of_event
from tests.metering.corrections import making
from tests.metering.usage import MORNING, NOW, event, ingest

pytestmark = pytest.mark.usefixtures("metered")
SOURCE = "edge/us-east-1"
KEY = event_key(SOURCE, "e1")
EXACT, BOTH = Decimal("123456789012345678.000000000001"), Decimal("123456789012345778.000000000001")


def life(event_id: str = "e1", source: str = SOURCE) -> EventLife:
    found = life_of_event(event_key(source, event_id))
    assert found is not None
    return found


def page(client: Client, event_id: str = "e1", source: str = SOURCE, **query: str) -> Any:
    answer = client.get(reverse("admin:metering_usageevent_change", args=[event_key(source, event_id)]), query)
    assert answer.status_code == 200
    return answer


def text(answer: Any) -> str:
    """The page as people read it."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", answer.content.decode())).split())


def happened(answer: Any) -> list[str]:
    return [happening.title for happening in answer.context["happenings"]]


@pytest.fixture
def _counted(metered: None) -> None:
    ingest(event("e1", data={"input_tokens": EXACT}), event("neighbour", time=MORNING + timedelta(minutes=5)))
    operations.catch_up_windows(now=NOW)


@pytest.mark.usefixtures("_counted")
class TestAnEvent:
    def test_counts_in_a_window_that_leads_back_to_it(self, staff: Client) -> None:
        (pair,) = [of for of in life().pairs if of.pair.meter_code == "input_tokens"]

        assert (pair.pair.quantity, pair.pair.window_start) == (EXACT, MORNING)
        assert pair.window is not None
        window = AggregationWindow.objects.get(pk=pair.window.window_id)
        assert (pair.window.quantity, pair.window.event_count) == (BOTH, 2) == (window.quantity, 2)
        shown = page(staff).content.decode()
        assert f"/usageevent/?window={window.pk}" in shown
        assert reverse("admin:metering_aggregationwindow_change", args=[window.pk]) in shown

    def test_is_excluded_with_a_reason_where_it_has_no_value(self, staff: Client) -> None:
        (pair,) = [of for of in life().pairs if of.pair.meter_code == "cache_read_tokens"]

        assert (pair.pair.quantity, pair.pair.reason, pair.window) == (None, "value_absent", None)
        assert "Excluded: it has no value at the meter's path." in text(page(staff))

    def test_shows_its_numbers_with_every_digit(self, staff: Client) -> None:
        assert "123456789012345678.000000000001" in text(page(staff))
        assert "123,456,789,012,345,678.000000000001 token" in text(page(staff))

    def test_is_shown_in_the_zone_of_the_reader(self, staff: Client) -> None:
        assert "2026-10-03 15:30:00" in text(page(staff, zone="Asia/Kolkata"))

    def test_that_waits_says_what_it_will_count(self, staff: Client) -> None:
        ingest(event("waiting"))

        assert life("waiting").event.state == "waiting"
        assert "Will count 100 token" in text(page(staff, "waiting"))

    def test_that_no_meter_took_says_so(self, staff: Client, owner_connection: Any) -> None:
        """Such an event is quarantined by the door; here a meter ended between its acceptance and its recording."""
        operations.define_meter(
            code="writes", event_type="disk.write", value_path="", aggregation="count", dimensions=[], unit="write"
        )
        ingest(event("orphan", type="disk.write"))
        owner_connection.execute("ALTER TABLE metering_meter DISABLE TRIGGER metering_meter_frozen")
        owner_connection.execute(
            "UPDATE metering_meter SET active = false, counts_before_xid = 0 WHERE code = 'writes'"
        )
        owner_connection.execute("ALTER TABLE metering_meter ENABLE TRIGGER metering_meter_frozen")
        operations.catch_up_windows(now=NOW)

        assert life("orphan").event.state == "unmetered"
        assert "No meter counted it" in text(page(staff, "orphan"))


@pytest.mark.usefixtures("_counted")
class TestTheSameIdAgain:
    def test_shows_both_bodies_and_marks_what_differs(self, staff: Client) -> None:
        ingest(
            event("e1", subject="beta", data={"input_tokens": 7, "more": {"list": [1, "1"]}}),
            received_at=NOW + timedelta(minutes=1),
        )

        answer = page(staff)

        (again,) = [happening for happening in answer.context["happenings"] if happening.fields]
        differing = {field.path: (field.first, field.other) for field in again.fields if field.differs}
        assert differing == {
            "subject": ("acme", "beta"),
            "data.input_tokens": ("123456789012345678.000000000001", "7"),
            "data.more.list[0]": ("", "1"),
            "data.more.list[1]": ("", '"1"'),
        }
        assert {field.path for field in again.fields} > {"type", "time", "data.model"}
        assert answer.content.decode().count('class="mt-differs"') == 4
        assert happened(answer) == ["Received, and accepted once", "Sent again with another body"]

    def test_leads_to_the_conflict_only_who_may_open_it(self, as_role: Any) -> None:
        ingest(event("e1", data={"input_tokens": 7}))
        address = reverse("admin:metering_eventconflict_change", args=[EventConflict.objects.get().pk])

        assert address in page(as_role(roles.ENGINEERING)).content.decode()
        for_success = page(as_role(roles.CUSTOMER_SUCCESS))
        assert address not in for_success.content.decode()
        assert "Sent again with another body" in happened(for_success)


@pytest.mark.usefixtures("_counted")
class TestCorrections:
    def test_a_voided_event_says_by_whom_and_why_and_its_window_leaves_it_out(self, staff: Client) -> None:
        correction = making.void(making.of_ids("e1"))
        operations.catch_up_windows(now=NOW)

        found, answer = life(), page(staff)

        assert found.event.state == "void"
        (pair,) = [of for of in found.pairs if of.pair.meter_code == "input_tokens"]
        assert pair.window is not None
        assert (pair.window.quantity, pair.window.event_count) == (100, 1)
        assert [(of.kind, of.role, of.correction_id) for of in found.corrections] == [("void", "voided", correction.pk)]
        assert f"Voided by correction {correction.pk} (void)" in happened(answer)
        assert "Another reason: Sent by a broken producer. Asked for by ada." in text(answer)
        listed = staff.get(reverse("admin:metering_usageevent_changelist"), {"window": pair.window.window_id}).context[
            "rows"
        ]
        assert [row.event_id for row in listed] == ["neighbour"]

    def test_a_restored_event_counts_again(self, staff: Client) -> None:
        voiding = making.void(making.of_ids("e1"))
        operations.catch_up_windows(now=NOW)
        making.revert(voiding)
        operations.catch_up_windows(now=NOW)

        assert life().event.state == "counted"
        assert len(life().corrections) == 2

    def test_a_replaced_event_and_its_replacement_lead_to_each_other(self, staff: Client) -> None:
        correction = making.apply(making.amend("e1", data={"model": "claude-sonnet-5", "input_tokens": 5}))
        operations.catch_up_windows(now=NOW)

        (role, other), *_ = [(of.role, of.other_key) for of in life().corrections if of.other_key]
        replacement = life_of_event(other)
        assert replacement is not None
        assert role == "replaced"
        assert reverse("admin:metering_usageevent_change", args=[other]) in page(staff).content.decode()
        assert [(of.role, of.other_key) for of in replacement.corrections] == [("replacement", event_key(SOURCE, "e1"))]
        answer = page(staff, replacement.event.event_id, replacement.event.source)
        assert f"Brought by correction {correction.pk}" in text(answer)


@pytest.mark.usefixtures("_counted")
class TestWhatCanBeDone:
    def offered(self, client: Client) -> list[str]:
        shown = page(client).content.decode()
        of_event = {
            "amend": reverse("admin:metering_correction_amend", args=[KEY]),
            "void": f"{reverse('admin:metering_correction_void')}?events={KEY}",
            "restore": f"{reverse('admin:metering_correction_restore')}?events={KEY}",
        }
        offered = [name for name, address in of_event.items() if f'href="{address}"' in shown]
        assert {client.get(of_event[name]).status_code for name in offered} <= {200}
        return offered

    def test_is_to_amend_and_to_void(self, as_role: Any) -> None:
        assert self.offered(as_role(roles.ENGINEERING)) == ["amend", "void"]

    def test_is_to_restore_it_once_it_is_void(self, as_role: Any) -> None:
        making.void(making.of_ids("e1"))

        client = as_role(roles.ENGINEERING)
        assert self.offered(client) == ["restore"]
        form = client.get(reverse("admin:metering_correction_restore"), {"events": KEY}).context["form"]
        assert form["events"].value() == KEY

    @pytest.mark.parametrize("role", [roles.CUSTOMER_SUCCESS, roles.FINANCE])
    def test_is_nothing_for_who_may_not_ask_for_a_correction(self, as_role: Any, role: str) -> None:
        assert self.offered(as_role(role)) == []


def test_every_reason_is_explained() -> None:
    assert set(events.REASONS.values()) == {"", *showing.REASONS}
    told = PairFields().fields["excluded"].help_text or ""
    assert [reason for reason in showing.REASONS if reason not in told] == []


@pytest.mark.usefixtures("_counted")
class TestWhatWasMadeOfIt:
    @pytest.fixture(autouse=True)
    def _told(self, monkeypatch: pytest.MonkeyPatch, _counted: None) -> None:
        def stages(window: LifeOfWindow) -> Sequence[LifeStage]:
            if window.meter_code != "input_tokens":
                return []
            return [
                LifeStage(NOW, "Accrued", f"{window.quantity} of {window.customer_key}", "/accrual"),
                LifeStage(None, "Posted", "in the ledger", "/journal", permission="ledger.view_journalentry"),
            ]

        monkeypatch.setattr(event_life, "_registered", [stages])

    def test_is_told_below_its_meter(self, staff: Client) -> None:
        told = {of.pair.meter_code: [stage.title for stage in of.stages] for of in life().pairs}

        assert told == {
            "input_tokens": ["Accrued", "Posted"],
            "output_tokens": [],
            "cache_write_tokens": [],
            "cache_read_tokens": [],
        }
        assert 'href="/journal"' in page(staff).content.decode()

    def test_is_left_out_for_who_may_not_see_it(self, as_role: Any) -> None:
        shown = page(as_role(roles.CUSTOMER_SUCCESS)).content.decode()

        assert 'href="/accrual"' in shown
        assert "Posted" not in shown


def test_an_imported_event_names_its_import(staff: Client) -> None:
    run = ImportRun.objects.create(
        file_name="october.csv",
        file_digest="a",
        options_digest="b",
        options={},
        started_at=NOW - timedelta(minutes=1),
        finished_at=NOW + timedelta(minutes=1),
        file_bytes=1,
    )
    ImportRun.objects.create(
        file_name="october.csv",
        file_digest="a",
        options_digest="b",
        options={},
        started_at=NOW + timedelta(days=1),
        file_bytes=1,
    )
    ingest(event("1:x", source="import/october.csv"))

    assert life("1:x", "import/october.csv").import_id == run.pk
    assert (
        reverse("admin:metering_importrun_change", args=[run.pk])
        in page(staff, "1:x", "import/october.csv").content.decode()
    )


@pytest.mark.parametrize("key", ["0" * 32, "x", "9" * 5_000, "٣" * 32, "a b"])
def test_an_event_that_is_not_there_leads_back_to_the_search(staff: Client, key: str) -> None:
    answer = staff.get(reverse("admin:metering_usageevent_change", args=[key]))

    assert (answer.status_code, answer["Location"]) == (302, reverse("admin:metering_usageevent_changelist"))


def test_nothing_can_be_changed(staff: Client) -> None:
    ingest(event("e1"))
    address = reverse("admin:metering_usageevent_change", args=[event_key(SOURCE, "e1")])

    assert staff.post(address, {}).status_code == 403
    assert staff.post(address.replace("/change/", "/delete/"), {"post": "yes"}).status_code == 403


@pytest.mark.usefixtures("_counted")
def test_a_long_life_takes_as_many_queries_as_a_short_one(
    django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_life, "_registered", [])  # what other apps ask is theirs to count
    key = event_key(SOURCE, "e1")
    with django_assert_num_queries(10):
        life_of_event(key)
    for number in range(20):
        ingest(event("e1", data={"input_tokens": number}))
    with django_assert_num_queries(10):
        assert len(life().sent_again) == 20
