"""Windows and meters as staff see them: what they count, their proof, and the repair of one that differs."""

import psycopg
import pytest
from django.urls import reverse

from config import roles
from metering import operations, queries
from metering.models import AggregationWindow, Meter, WindowRepair
from tests.metering.admin.conftest import SignIn
from tests.metering.usage import NOVEMBER, NOW, OCTOBER, event, ingest

pytestmark = pytest.mark.usefixtures("metered")


@pytest.fixture
def window(metered: None) -> AggregationWindow:
    operations.define_meter(
        code="pro_tokens",
        event_type="llm.request",
        value_path="data.input_tokens",
        aggregation="max",
        dimensions=["model"],
        unit="token",
        filters=[{"tier": ["pro", "team"], "model": ["opus"]}, {"tier": ["trial"]}],
    )
    ingest(event("e1", data={"tier": "trial"}), event("e2"))
    operations.catch_up_windows(now=NOW)
    return AggregationWindow.objects.get(meter__code="pro_tokens")


def test_a_window_says_its_aggregation_proof_and_repairs(
    as_role: SignIn, window: AggregationWindow, owner_connection: psycopg.Connection
) -> None:
    client = as_role(roles.ENGINEERING)
    address = reverse("admin:metering_aggregationwindow_change", args=[window.pk])
    shown = client.get(address).content.decode()
    assert "Maximum" in shown
    assert str(window.fingerprint) in shown
    assert "None: it always agreed" in shown
    proof = reverse("admin:metering_window_proof", args=[window.pk])
    assert "Proved" in client.get(proof).content.decode()

    owner_connection.execute("UPDATE metering_window SET quantity = 7777 WHERE id = %s", [window.pk])
    differing = client.get(proof).content.decode()
    assert "7,777" in differing
    assert client.post(proof, {"reason": " "}).status_code == 422
    assert not WindowRepair.objects.exists()
    assert client.post(proof, {"reason": "a <b>disk</b>"}).status_code == 302

    repair = WindowRepair.objects.get()
    assert (repair.actor, repair.quantity_before, repair.quantity_after) == ("user:emre", 7777, 100)
    assert list(queries.verify_windows(OCTOBER, NOVEMBER)) == []
    assert "7,777 became 100. a &lt;b&gt;disk&lt;/b&gt;" in client.get(address).content.decode()
    assert "7,777 → 100 token" in client.get(reverse("admin:metering_windowrepair_changelist")).content.decode()


@pytest.mark.parametrize("role", [roles.FINANCE, roles.CUSTOMER_SUCCESS])
def test_others_see_the_proof_and_cannot_repair(as_role: SignIn, window: AggregationWindow, role: str) -> None:
    client = as_role(role)
    proof = reverse("admin:metering_window_proof", args=[window.pk])
    assert client.get(proof).status_code == 200
    assert client.post(proof, {"reason": "why not"}).status_code == 403


def test_who_may_not_see_windows_sees_no_proof(may: SignIn, window: AggregationWindow) -> None:
    client = may("view_meter")
    assert client.get(reverse("admin:metering_window_proof", args=[window.pk])).status_code == 403
    assert client.get(reverse("admin:metering_windowrepair_changelist")).status_code == 403


def test_a_window_that_is_not_there_is_not_found(as_role: SignIn) -> None:
    client = as_role(roles.ENGINEERING)
    for number in (0, 10**30):
        assert client.get(reverse("admin:metering_window_proof", args=[number])).status_code == 404


def test_a_meter_says_what_it_counts_and_what_became_of_its_pairs(as_role: SignIn, window: AggregationWindow) -> None:
    client = as_role(roles.FINANCE)
    listed = client.get(reverse("admin:metering_meter_changelist")).content.decode()
    assert "Maximum of data.input_tokens of llm.request by model, filtered" in listed
    assert "1 filtered out" in listed
    page = client.get(reverse("admin:metering_meter_change", args=[window.meter_id])).content.decode()
    assert "model is opus and tier is pro or team" in page
    assert "A changed definition is a new version" in page
    fresh = Meter.objects.get(code="cache_read_tokens")
    assert client.get(reverse("admin:metering_meter_change", args=[fresh.pk])).status_code == 200


@pytest.mark.parametrize("query", ["", "?q=%00", "?month=9999-99", "?month=%00", "?p=999999999999999999999"])
@pytest.mark.parametrize("model", ["aggregationwindow", "windowrepair", "meter"])
def test_lists_of_nothing_and_hostile_questions_are_answered(as_role: SignIn, model: str, query: str) -> None:
    answer = as_role(roles.ENGINEERING).get(reverse(f"admin:metering_{model}_changelist") + query)
    assert answer.status_code in {200, 302}
