"""The quarantine's page: what to mend first, replaying whole causes, and dismissing what will never be counted."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from metering import operations, page_links
from metering.admin import quarantine as page
from metering.models import QuarantinedEvent, UsageEvent
from metering.operations import NotDismissed, QuarantineFilter
from metering.queries.quarantine import quarantine_causes
from metering.tasks import task_replay_quarantine
from tests.metering.usage import NOW, event, ingest

pytestmark = pytest.mark.usefixtures("metered")
LIST = "admin:metering_quarantinedevent_changelist"
REPLAY = "admin:metering_quarantinedevent_replay_all"
DISMISS = "admin:metering_quarantinedevent_dismiss"


@pytest.fixture(autouse=True)
def _waiting(metered: None, settings: Settings) -> None:
    settings.METERING_DEDUPE_HORIZON_DAYS = 36_600
    ingest(*(event(f"s{number}", subject="nobody") for number in range(3)))
    ingest(event("t1", type="disk.write"), event("t2", type="disk.write", source="other"))


@pytest.fixture
def engineer() -> Client:
    names = ("view_quarantinedevent", "replay_quarantinedevent", "dismiss_quarantinedevent")
    return client("emre", *names)


def client(username: str, *permissions: str) -> Client:
    user = User.objects.create_user(username, password="correct horse battery", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="metering", codename__in=permissions))
    signed_in = Client(headers={"X-Forwarded-Proto": "https"})
    signed_in.force_login(user)
    return signed_in


def post(of: Client, name: str, query: str = "", **data: Any) -> Any:
    return of.post(reverse(name) + query, data, secure=True, follow=True)


def waiting() -> set[str]:
    return set(QuarantinedEvent.objects.filter(resolved_at=None).values_list("event_id", flat=True))


def test_causes_are_told_largest_first_with_their_remedy(engineer: Client) -> None:
    assert [(cause.reason, cause.event_type, cause.source, cause.events) for cause in quarantine_causes()] == [
        ("unknown_subject", "llm.request", "edge/us-east-1", 3),
        ("unknown_type", "disk.write", "edge/us-east-1", 1),
        ("unknown_type", "disk.write", "other", 1),
    ]

    text = engineer.get(reverse(LIST), secure=True).content.decode()
    assert "What to mend first" in text
    assert f'href="{reverse("admin:metering_meter_changelist")}"' in text


def test_only_a_customer_that_is_known_has_a_link(engineer: Client) -> None:
    """An event waits because nobody registered its customer: there is no page to go to, until somebody did."""

    def linked() -> set[str]:
        pages = [reverse("admin:metering_quarantinedevent_change", args=[event.pk]) for event in waited]
        texts = [engineer.get(page, secure=True).content.decode() for page in (reverse(LIST), *pages)]
        assert all("nobody" in text for text in (texts[0], *texts[1:4]))
        return {
            key for key in ("nobody", "acme") if any(f'href="{page_links.customer(key)}"' in text for text in texts)
        }

    waited = list(QuarantinedEvent.objects.order_by("id"))
    assert linked() == {"acme"}
    operations.register_subjects(["nobody"])
    assert linked() == {"acme", "nobody"}


def test_a_whole_cause_is_replayed(engineer: Client) -> None:
    operations.register_subjects(["nobody"])

    post(engineer, REPLAY, "?reason=unknown_subject&event_type=llm.request&source=edge/us-east-1")

    assert UsageEvent.objects.count() == 3
    assert waiting() == {"t1", "t2"}


def test_many_are_replayed_in_the_background(engineer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    operations.register_subjects(["nobody"])
    monkeypatch.setattr(page, "AT_ONCE", 2)
    sent: list[dict[str, str]] = []
    monkeypatch.setattr(task_replay_quarantine, "delay", lambda **told: sent.append(told))

    answer = post(engineer, REPLAY, "?reason=unknown_subject")
    assert "in the background" in answer.content.decode()
    task_replay_quarantine(**sent[0])

    assert waiting() == {"t1", "t2"}
    assert set(QuarantinedEvent.objects.exclude(resolved_at=None).values_list("resolved_by", flat=True)) == {
        "user:emre"
    }


def test_what_will_never_be_counted_is_dismissed_with_a_reason_and_stays(engineer: Client) -> None:
    query = "?reason=unknown_type&source=other"
    assert post(engineer, DISMISS, query, reason=" ").status_code == 422
    post(engineer, DISMISS, query, reason="A test of the disk team")

    row = QuarantinedEvent.objects.get(event_id="t2")
    assert (row.outcome, row.dismissed_because, row.resolved_by) == (
        "dismissed",
        "A test of the disk team",
        "user:emre",
    )
    assert waiting() == {"s0", "s1", "s2", "t1"}
    again = ingest(event("t2", type="disk.write", source="other"))
    assert again.quarantined == 1
    assert "t2" not in waiting()


def test_ticked_events_are_dismissed(engineer: Client) -> None:
    ids = list(QuarantinedEvent.objects.filter(event_type="disk.write").values_list("id", flat=True))
    asked = post(engineer, LIST, action="dismiss", _selected_action=ids)
    assert asked.context["waiting"] == 2

    post(engineer, DISMISS, f"?ids={','.join(map(str, ids))}", reason="Both are tests")

    assert waiting() == {"s0", "s1", "s2"}


def test_a_dismissal_says_why() -> None:
    for reason in ("", "x" * 501):
        with pytest.raises(NotDismissed):
            operations.dismiss_quarantine(ids="all", reason=reason, actor="user:ada", now=NOW)

    assert operations.dismiss_quarantine(ids=QuarantineFilter(), reason="All", actor="user:ada", now=NOW) == 5


def test_both_need_their_permission() -> None:
    viewer = client("sam", "view_quarantinedevent")

    assert post(viewer, REPLAY).status_code == 403
    assert post(viewer, DISMISS, reason="x").status_code == 403
    assert len(waiting()) == 5


@pytest.mark.parametrize(
    "query", ["?reason=%00", "?ids=%00,99999999999999999999999", "?source=" + "x" * 9_000, "?ids="]
)
def test_addresses_made_to_hurt_dismiss_nothing(engineer: Client, query: str) -> None:
    answer = engineer.get(reverse(DISMISS) + query, secure=True)

    assert answer.status_code == 200
