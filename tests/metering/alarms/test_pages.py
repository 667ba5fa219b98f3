"""Pages of alarms, lag and months: who may see and do what, hostile addresses, and the whole of it in a browser."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from config import clock
from metering import operations
from metering.alarms import TITLES, Finding
from metering.models import Alarm
from metering.operations.alarms import keep_alarms
from tests.browser import PASSWORD, visiting
from tests.metering.usage import event, ingest
from tests.processes import WebServer

pytestmark = pytest.mark.usefixtures("metered")
MODELS = ("alarm", "freshnesscount", "eventarchive")


def client(*permissions: str) -> Client:
    user = User.objects.create_user("ada", password=PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="metering", codename__in=permissions))
    signed_in = Client(headers={"X-Forwarded-Proto": "https"})
    signed_in.force_login(user)
    return signed_in


def page(model: str) -> str:
    return reverse(f"admin:metering_{model}_changelist")


def much() -> list[Alarm]:
    """Lag of a month, and an alarm of every kind, one of them with everything as long as it can be."""
    now = clock.now()
    for number in range(200):
        at = now - timedelta(minutes=4 * number)
        operations.record_freshness("windowed", at=at, received=[(at - timedelta(seconds=1 + number % 9), 50)])
        operations.record_freshness("rated", at=at, received=[(at - timedelta(seconds=40 + number), 50)])
    findings = [Finding(kind, f"subject of {kind}", "between 1,000 and 2,000", "nothing") for kind in TITLES]
    findings.append(Finding("source_new", "https://" + "a-long-source-" * 25, "x" * 400, "y " * 200))
    keep_alarms(findings, now=now)
    alarm = Alarm.objects.filter(kind="conflicts").get()
    operations.acknowledge_alarm(alarm.id, note="The sender reuses ids. " * 20, actor="user:ada", now=now)
    ingest(event("e1", time=now - timedelta(hours=1)), received_at=now)
    return list(Alarm.objects.order_by("id"))


@pytest.mark.parametrize("model", MODELS)
def test_a_page_needs_its_permission(model: str) -> None:
    assert client().get(page(model), secure=True).status_code == 403


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "query", ["", "?span=%00", "?stage=x&span=1e99", "?kind=%00&state=%00", "?q=%00", "?p=99999999999999999999", "?o=9"]
)
def test_any_address_is_answered(model: str, query: str) -> None:
    much()
    answer = client(*(f"view_{each}" for each in MODELS)).get(page(model) + query, secure=True)
    assert answer.status_code in {200, 302}


def test_an_alarm_is_acknowledged_with_a_note_by_whoever_may() -> None:
    alarm = much()[0]
    address = reverse("admin:metering_alarm_change", args=[alarm.pk])
    may = client("view_alarm", "acknowledge_alarm")
    assert may.post(address, {"note": ""}, secure=True).status_code == 422
    assert may.post(address, {"note": "looked at it"}, secure=True).status_code == 302
    alarm.refresh_from_db()
    assert (alarm.acknowledged_by, alarm.note) == ("user:ada", "looked at it")
    assert may.post(address, {"note": "again"}, secure=True).status_code == 422
    for wrong in ("999999999999", "x", "%00"):
        assert may.get(reverse("admin:metering_alarm_changelist") + f"{wrong}/change/", secure=True).status_code in {
            302,
            404,
        }


def test_looking_is_not_acknowledging() -> None:
    alarm = much()[0]
    answer = client("view_alarm").post(
        reverse("admin:metering_alarm_change", args=[alarm.pk]), {"note": "no"}, secure=True
    )
    assert answer.status_code == 403


def test_every_kind_leads_to_a_page() -> None:
    much()
    from metering.admin.alarms import further_of

    assert all(further_of(alarm, may=lambda permission: True) for alarm in Alarm.objects.all())


def test_an_alarm_leads_only_where_its_reader_may_go() -> None:
    """Finance sees alarms, and none of the pages on which conflicts and quarantined events are."""
    much()
    watching = client("view_alarm", "view_usageevent")
    for alarm in Alarm.objects.exclude(subject__startswith="https"):
        text = watching.get(reverse("admin:metering_alarm_change", args=[alarm.pk]), secure=True).content.decode()
        assert ("See what it is about" in text) == (alarm.kind in {"source_silent", "source_new"}), alarm.kind


@pytest.mark.parametrize("filled", [False, True])
def test_pages_work_and_fit(web_process: WebServer, filled: bool) -> None:
    User.objects.create_superuser("root", password=PASSWORD)
    addresses = {model: page(model) for model in MODELS}
    if filled:
        alarms = much()
        addresses["open"] = reverse("admin:metering_alarm_change", args=[alarms[0].pk])
        addresses["long"] = reverse("admin:metering_alarm_change", args=[alarms[-1].pk])
        addresses["rated"] = f"{page('freshnesscount')}?stage=rated&span=hour"
    with visiting(web_process.address) as visitor:
        visitor.sign_in("root")
        visitor.tour(addresses)
    assert visitor.complaints == []
    assert visitor.too_wide == {}
