"""Subscriptions over HTTP: reads, writes under a key, and refusals that name the field and the remedy."""

import json
from datetime import datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from billing.api.models import ApiWrite
from billing.subscriptions.models import Subscription
from config import clock
from config.api_keys.models import ApiKey
from config.roles import sync_roles
from tests.billing.subscriptions.lives import NOVEMBER, OCT_11, ada, now_of, started
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import Thread

pytestmark = pytest.mark.usefixtures("committed_db")
BASE = "/api/v1/billing"


class Api:
    """A service with a key; `at` is what its clock and ours say."""

    def __init__(self, thread: Thread, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client, self.thread = Client(), thread
        _, self.key = ApiKey.objects.create_key(name="checkout", scopes=["billing:read", "billing:write"])
        monkeypatch.setattr(clock, "now", lambda: now_of(thread))

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        answer = self.client.get(BASE + path, headers={"Authorization": f"Api-Key {self.key}"})
        return answer.status_code, json.loads(answer.content)

    def post(self, path: str, body: Any, *, key: str | None = "k", api_key: str = "") -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Api-Key {api_key or self.key}"} | ({"Idempotency-Key": key} if key else {})
        sent = body if isinstance(body, str) else json.dumps(body)
        answer = self.client.post(BASE + path, data=sent, content_type="application/json", headers=headers)
        return answer.status_code, json.loads(answer.content)


@pytest.fixture
def api(thread: Thread, monkeypatch: pytest.MonkeyPatch) -> Api:
    return Api(thread, monkeypatch)


def test_a_life_over_http(api: Api, thread: Thread) -> None:
    version_of("large", fee_minor=6000)
    version_of("boost", is_add_on=True, fee_minor=500)
    ada()
    new = {"plan": "pro", "payment_method": "pm_card_visa", "reason": "checkout"}
    status, made = api.post("/customers/ada/subscriptions", new)
    assert (status, made["status"], made["plan"]) == (201, "active", {"plan": "pro", "version": 1, "seats": 1})
    assert api.post("/customers/ada/subscriptions", new)[1]["id"] == made["id"]
    one = f"/subscriptions/{made['id']}"
    thread.sandbox.advance(OCT_11)

    terms = {"plan": "large", "seats": 2, "add_ons": [{"plan": "boost", "seats": 3}]}
    status, preview = api.post(f"{one}/preview", terms, key="p")
    assert (status, preview["differences"]) == (201, [])
    assert {line["ours_minor"] for line in preview["lines"]} == {-1355, 8129, 1016, 12000, 1500}
    status, changed = api.post(f"{one}/changes", terms | {"preview": preview["id"], "reason": "grew"}, key="c")
    assert (status, changed["plan"]["plan"], changed["add_ons"][0]["seats"]) == (200, "large", 3)
    phases = [{"plan": "pro", "seats": 1, "effective_at": "2026-11-01T00:00:00Z"}]
    status, planned = api.post(f"{one}/scheduled-changes", {"phases": phases, "reason": "shrinks"}, key="s")
    assert (status, planned["scheduled"][0]["state"]) == (201, "waiting")
    path = f"{one}/scheduled-changes/{planned['scheduled'][0]['id']}/cancel"
    assert api.post(path, {"reason": "stays"}, key="sc")[1]["state"] == "cancelled"
    assert api.post(f"{one}/pause", {"reason": "holiday"}, key="pause")[1]["paused_from"] is not None
    thread.sandbox.advance(datetime.fromisoformat("2026-10-12T00:00:00Z"))
    assert api.post(f"{one}/resume", {"reason": "back"}, key="resume")[1]["paused_from"] is None
    assert api.post(f"{one}/cancel", {"reason": "leaves", "at_period_end": True}, key="x")[1]["cancel_at"] == (
        "2026-11-01T00:00:00Z"
    )
    assert api.post(f"{one}/undo-cancellation", {"reason": "stays"}, key="u")[1]["cancel_at"] is None
    status, over = api.post(f"{one}/cancel", {"reason": "leaves", "prorate": True}, key="now")
    assert (status, over["status"]) == (200, "canceled")
    status, again = api.post(f"{one}/reactivate", {"reason": "came back"}, key="r")
    assert (status, again["plan"]["plan"]) == (201, "large")

    listed = api.get("/customers/ada/subscriptions")[1]["subscriptions"]
    assert [row["id"] for row in listed] == [again["id"], made["id"]]
    happened = api.get(one)[1]["events"]
    assert happened[0]["kind"] == "ended"
    assert {event["actor"] for event in happened} == {"service:checkout", "stripe:billing"}
    assert NOVEMBER > OCT_11


def test_refusals_name_the_field_and_the_remedy(api: Api, thread: Thread) -> None:
    subscription = started(thread)
    one = f"/subscriptions/{subscription.pk}"
    for path, body, key, status, field in (
        (f"{one}/pause", {"reason": "x"}, None, 400, "Idempotency-Key"),
        (f"{one}/pause", {"reason": "x"}, "a b", 400, "Idempotency-Key"),
        (f"{one}/pause", {}, "1", 400, "reason"),
        (f"{one}/pause", {"reason": " "}, "2", 400, "reason"),
        (f"{one}/pause", {"reason": "x\x00"}, "3", 400, "reason"),
        (f"{one}/pause", {"reason": "x", "untill": 1}, "4", 400, "untill"),
        (f"{one}/pause", {"reason": "x", "until": "2026-10-10T00:00:00"}, "5", 400, "until"),
        (f"{one}/pause", '{"reason": ', "6", 400, "body"),
        (f"{one}/preview", {"plan": "pro", "seats": "2"}, "7", 400, "seats"),
        (f"{one}/preview", {"plan": "nothing"}, "8", 400, "plan"),
        (f"{one}/preview", {"plan": "pro", "add_ons": [{"plan": "pro", "seats": 0}]}, "9", 400, "add_ons[0].seats"),
        (f"{one}/changes", {"plan": "pro", "reason": "x", "preview": 99}, "10", 400, "preview"),
        (f"{one}/resume", {"reason": "x"}, "11", 422, "subscription"),
        (f"{one}/undo-cancellation", {"reason": "x"}, "12", 422, "subscription"),
        (f"{one}/cancel", {"reason": "x", "prorate": True, "at_period_end": True}, "13", 400, "prorate"),
        ("/subscriptions/999999/pause", {"reason": "x"}, "14", 404, "subscription"),
        ("/customers/nobody/subscriptions", {"plan": "pro", "reason": "x"}, "15", 404, "customer_key"),
        ("/customers/ada/subscriptions", {"plan": "pro", "seats": 7, "reason": "x"}, "16", 409, "subscription"),
    ):
        answered, told = api.post(path, body, key=key)
        assert (answered, told["field"]) == (status, field), (path, body, told)
        assert told["detail"]


def test_the_same_key_stands_for_one_request_for_ever(api: Api, thread: Thread) -> None:
    one = f"/subscriptions/{started(thread).pk}"
    assert api.post(f"{one}/pause", {"reason": "holiday"})[0] == 200
    assert api.post(f"{one}/pause", {"reason": "holiday"})[0] == 200
    for path, body in ((f"{one}/pause", {"reason": "other"}), (f"{one}/resume", {"reason": "holiday"})):
        status, told = api.post(path, body)
        assert (status, told["field"]) == (409, "Idempotency-Key")
    assert ApiWrite.objects.count() == 1


def test_stripe_s_silence_is_503_with_a_time_and_the_same_request_goes_on(api: Api, thread: Thread) -> None:
    one = f"/subscriptions/{started(thread).pk}"
    thread.sandbox.advance(OCT_11)
    thread.sandbox.fault(mode="error_500", operation="POST /v1/subscriptions/.*", times=None)
    answer = api.client.post(
        f"{BASE}{one}/pause",
        data=json.dumps({"reason": "holiday"}),
        content_type="application/json",
        headers={"Authorization": f"Api-Key {api.key}", "Idempotency-Key": "k"},
    )
    assert answer.status_code == 503
    assert int(answer["Retry-After"]) >= 1
    thread.sandbox.clear_faults()
    assert api.post(f"{one}/pause", {"reason": "holiday"})[1]["paused_from"] == "2026-10-11T00:00:00Z"


def test_who_may_write(api: Api, thread: Thread) -> None:
    """A key needs the scope; a person the permission and the CSRF token."""
    subscription = started(thread)
    path = f"/subscriptions/{subscription.pk}/pause"
    _, reader = ApiKey.objects.create_key(name="reader", scopes=["billing:read"])
    assert api.post(path, {"reason": "x"}, api_key=reader)[0] == 403
    sync_roles()
    from django.contrib.auth.models import Group

    for name, role, status in (("emre", "Engineering", 403), ("sam", "Customer success", 200)):
        person = User.objects.create_user(name, is_staff=True)
        person.groups.add(Group.objects.get(name=role))
        browser = Client()
        browser.force_login(person)
        answer = browser.post(
            BASE + path, data='{"reason": "x"}', content_type="application/json", headers={"Idempotency-Key": "k"}
        )
        assert answer.status_code == status, answer.content
    assert Subscription.objects.get().events.latest("pk").actor == "user:sam"
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="sam"))
    answer = strict.post(
        BASE + path, data='{"reason": "x"}', content_type="application/json", headers={"Idempotency-Key": "z"}
    )
    assert answer.status_code == 403
