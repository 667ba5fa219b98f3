"""Metering's admin pages: found by customer and id, never changed, and the one thing that can be done: a replay."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from config.admin_lists import BoundedPaginator
from metering import operations, page_links
from metering.models import AggregationWindow, EventConflict, QuarantinedEvent, UsageEvent
from tests.metering.usage import MORNING, NOW, event, ingest

pytestmark = pytest.mark.usefixtures("metered")
MODELS = (
    "meter",
    "aggregationwindow",
    "quarantinedevent",
    "eventconflict",
    "aggregationadvance",
    "importrun",
)


def client(*permissions: str) -> Client:
    user = User.objects.create_user("ada", password="correct horse battery", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="metering", codename__in=permissions))
    signed_in = Client(headers={"X-Forwarded-Proto": "https"})
    signed_in.force_login(user)
    return signed_in


@pytest.fixture
def viewer() -> Client:
    return client(*(f"view_{model}" for model in MODELS))


@pytest.fixture(autouse=True)
def _usage(metered: None, settings: Settings) -> None:
    # A replay goes by the real clock, and this usage stays in October 2026 whenever the test is run.
    settings.METERING_DEDUPE_HORIZON_DAYS = 36_600
    ingest(event("e 1"), event("e2", subject="beta"), event("e3", subject="nobody"), event("e4", type="disk.write"))
    ingest(event("e 1", data={"input_tokens": 999}))
    operations.catch_up_windows(now=NOW)


def listed(viewer: Client, model: str, query: str = "") -> list[Any]:
    answer = viewer.get(reverse(f"admin:metering_{model}_changelist") + query, secure=True)
    assert answer.status_code == 200
    return list(answer.context["cl"].result_list)


@pytest.mark.parametrize("model", MODELS)
def test_every_list_and_page_can_be_read_and_none_changed(viewer: Client, model: str) -> None:
    for row in listed(viewer, model)[:1]:
        page = reverse(f"admin:metering_{model}_change", args=[row.pk])
        assert viewer.get(page, secure=True).status_code == 200
        assert viewer.post(page, {}, secure=True).status_code == 403
        assert viewer.post(page.replace("/change/", "/delete/"), {"post": "yes"}, secure=True).status_code == 403
    assert viewer.get(reverse(f"admin:metering_{model}_add"), secure=True).status_code == 403


def test_windows_are_found_by_customer(viewer: Client) -> None:
    rows = listed(viewer, "aggregationwindow", "?q=acme")

    assert {row.customer_key for row in rows} == {"acme"}
    assert len(rows) == AggregationWindow.objects.filter(customer_key="acme").count() == 3


def test_a_conflict_shows_both_bodies(viewer: Client) -> None:
    conflict = EventConflict.objects.get()

    page = viewer.get(reverse("admin:metering_eventconflict_change", args=[conflict.pk]), secure=True).content.decode()

    assert "&quot;input_tokens&quot;: 999" in page
    assert "&quot;input_tokens&quot;: 100" in page


def test_the_customer_leads_to_the_page_that_was_registered(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(page_links._registered, "customer", lambda key: f"/customers/{key}")

    page = viewer.get(reverse("admin:metering_aggregationwindow_changelist"), secure=True).content.decode()

    assert 'href="/customers/acme"' in page


def test_a_replay_needs_its_permission_and_says_what_it_did(viewer: Client) -> None:
    operations.register_subjects(["nobody"])
    ids = list(QuarantinedEvent.objects.values_list("id", flat=True))
    action = {"action": "replay", "_selected_action": ids}
    address = reverse("admin:metering_quarantinedevent_changelist")
    viewer.post(address, action, secure=True)
    assert UsageEvent.objects.count() == 2

    User.objects.get().user_permissions.add(Permission.objects.get(codename="replay_quarantinedevent"))
    answer = viewer.post(address, action, secure=True, follow=True)

    assert {str(message) for message in answer.context["messages"]} == {
        "1 accepted, 0 duplicates, 0 conflicts.",
        "1 still cannot be counted; each says why.",
    }
    assert QuarantinedEvent.objects.get(event_id="e3").resolved_by == "user:ada"
    assert UsageEvent.objects.count() == 3


def test_pages_are_counted_only_so_far_and_the_page_says_so(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.admin_lists.COUNTED_ROWS", 3)
    ingest(*(event(f"many-{number}", time=MORNING + timedelta(hours=number)) for number in range(5)))
    operations.catch_up_windows(now=NOW)

    assert BoundedPaginator(AggregationWindow.objects.order_by("-id"), 50).count == 3

    page = viewer.get(reverse("admin:metering_aggregationwindow_changelist"), secure=True).content.decode()

    assert "3 or more results" in page
