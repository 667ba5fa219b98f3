"""The API of teams: one roster as a whole, pages by cursor, and refusals that name the field."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from billing.subscriptions.models import BillingPeriod
from billing.teams.models import Membership
from config.api_keys.models import ApiKey
from tests.billing.teams.world import define_meters, october_of, open_groups, send, settle
from tests.factories import OCTOBER

pytestmark = pytest.mark.usefixtures("committed_db")
BASE = "/api/v1/billing"


@pytest.fixture
def key() -> str:
    scopes = ["billing:read", "teams:write", "usage:read"]
    return str(ApiKey.objects.create_key(name="directory", scopes=scopes)[1])


def call(method: str, path: str, key: str, body: Any = None, *, wish: str = "w1") -> Any:
    headers = {"Authorization": f"Api-Key {key}", "Idempotency-Key": wish}
    made = getattr(Client(), method)
    extra = {} if body is None else {"data": body, "content_type": "application/json"}
    return made(f"{BASE}{path}", headers=headers, **extra)


def test_a_roster_is_put_and_read_page_by_page(key: str) -> None:
    october_of()
    opened = call("post", "/customers/acme/groups", key, {"code": "red", "name": "Red", "reason": "r"}, wish="g")
    assert opened.status_code == 200, opened.content
    members = [{"key": f"m{n}", "name": f"Member {n}", "group": "red" if n % 2 else None} for n in range(5)]
    body = {"members": members, "reason": "the directory says so"}

    first = call("put", "/customers/acme/members", key, body)
    again = call("put", "/customers/acme/members", key, body)

    assert first.status_code == 200, first.content
    assert first.json() == again.json()
    assert first.json()["outcome"]["joined"] == 5
    other = call("put", "/customers/acme/members", key, {**body, "members": members[:1]})
    assert (other.status_code, other.json()["field"]) == (409, "Idempotency-Key")
    page = call("get", "/customers/acme/members?limit=2&group=red", key).json()
    assert [one["key"] for one in page["members"]] == ["m1", "m3"]
    assert page["next"] is None
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        found = call("get", f"/customers/acme/members?limit=2&after={after}", key).json()
        seen += [one["key"] for one in found["members"]]
        after = found["next"]
    assert seen == [f"m{n}" for n in range(5)]
    call("post", "/customers/acme/moves", key, {"members": ["m1"], "group": None, "reason": "r"}, wish="m")
    closed = call("post", "/customers/acme/groups/red/close", key, {"reason": "r"}, wish="c")
    assert closed.json()["outcome"] == {"group": "red", "unassigned": 1}
    renamed = call("put", "/customers/acme/groups/red", key, {"name": "Rot", "reason": "r"}, wish="n")
    assert (renamed.status_code, renamed.json()["field"]) == (409, "code")
    assert call("get", "/customers/acme/groups", key).json()["groups"][0]["members"] == 0


def test_refusals_name_the_field_and_write_nothing(key: str) -> None:
    october_of(seats=1)
    for number, (body, status, field) in enumerate(
        (
            ({"members": [{"key": "a"}, {"key": "a"}], "reason": "r"}, 422, "members[1].key"),
            ({"members": [{"key": "a", "group": "no"}], "reason": "r"}, 422, "members[0].group"),
            ({"members": [{"key": "a"}, {"key": "b"}], "reason": "r"}, 422, "members"),
            ({"members": [{"key": "a", "seat": 1}], "reason": "r"}, 400, "members[0].seat"),
            ({"members": [], "reason": "r", "effective_at": "2020-01-01T00:00:00Z"}, 422, "effective_at"),
            ({"members": []}, 400, "reason"),
            ({"members": [], "reason": "r"}, 422, "members"),
            ({"members": [], "reason": "r", "leaving_at_most": "1"}, 400, "leaving_at_most"),
            ({"members": [], "reason": "r", "effective_at": "9999-12-31T23:59:59-10:00"}, 400, "effective_at"),
            ({"members": [], "reason": "r", "effective_at": "0001-01-01T00:00:00+10:00"}, 400, "effective_at"),
        )
    ):
        answer = call("put", "/customers/acme/members", key, body, wish=f"w{number}")
        assert (answer.status_code, answer.json()["field"]) == (status, field), answer.content
    assert call("get", "/customers/nobody/members", key).status_code == 404
    for at in ("9999-12-31T23:59:59-10:00", "0001-01-01T00:00:00%2B10:00"):
        told = call("get", f"/customers/acme/members?at={at}", key)
        assert (told.status_code, told.json()["field"]) == (400, "at")
    # A directory's key needs the scope of teams only, and may do nothing else with it.
    other = str(ApiKey.objects.create_key(name="shop", scopes=["billing:read", "billing:write"])[1])
    refused = call("put", "/customers/acme/members", other, {"members": [], "reason": "r"})
    assert (refused.status_code, "teams:write" in refused.json()["detail"]) == (403, True)
    directory = str(ApiKey.objects.create_key(name="directory only", scopes=["teams:write"])[1])
    assert call("post", "/subscriptions/1/pause", directory, {}).status_code == 403
    assert (
        call("post", "/customers/acme/groups", directory, {"code": "g", "name": "G", "reason": "r"}).status_code == 200
    )
    assert not Membership.objects.exists()


def test_a_large_team_can_be_sent_and_a_larger_one_is_told_what_to_leave_out(key: str) -> None:
    october_of(seats=1)
    body = {"members": [{"key": f"m{n:08}", "name": "x" * 180} for n in range(15_000)], "reason": "r"}

    # It is read, and refused for its seats.
    assert call("put", "/customers/acme/members", key, body).json()["field"] == "members"
    longer = call("put", "/customers/acme/members", key, {**body, "reason": "r" * 17 * 1024**2}, wish="w2")
    elsewhere = call("post", "/customers/acme/moves", key, {"members": ["m"] * 99_999}, wish="w3")

    assert (longer.status_code, longer.json()["field"]) == (400, "body")
    assert longer.json()["detail"].startswith("Send at most 16 MiB. Leave out names")
    assert (elsewhere.status_code, elsewhere.json()["detail"]) == (400, "Send at most 256 KiB.")


def test_usage_of_a_period_by_group_and_by_member(key: str) -> None:
    define_meters()
    period: BillingPeriod = october_of()
    open_groups("red")
    send(OCTOBER + timedelta(days=1), "ada", input_tokens=200_000)
    send(OCTOBER + timedelta(days=1), "bob", input_tokens=400_000)
    call("put", "/customers/acme/members", key, {"members": [{"key": "ada"}, {"key": "bob"}], "reason": "r"})
    settle(period)

    by_member = call("get", f"/periods/{period.pk}/usage-by-member?limit=1", key).json()

    assert by_member["total"]["rated"] == "3"
    assert [line["code"] for line in by_member["lines"]] == ["ada"]
    assert (by_member["next"], by_member["as_of"][:2]) == ("member:ada", "20")
    # Somebody comes to the list before where the page ended: nobody is told twice.
    call("put", "/customers/acme/members", key, {"members": [{"key": "abe"}], "reason": "r"}, wish="w2")
    send(OCTOBER + timedelta(days=1), "abe", input_tokens=200_000)
    settle(period)
    rest = call("get", f"/periods/{period.pk}/usage-by-member?limit=1&after={by_member['next']}", key).json()
    assert [(line["code"], line["rated"], line["quantities"]) for line in rest["lines"]] == [
        ("bob", "2", {"input_tokens": "400000"})
    ]
    assert rest["next"] is None
    by_group = call("get", f"/periods/{period.pk}/usage-by-group", key).json()
    assert [(line["kind"], line["rated"]) for line in by_group["lines"]] == [("unassigned", "4")]
    for after in ("1", "nobody:x", "member"):
        told = call("get", f"/periods/{period.pk}/usage-by-member?after={after}", key)
        assert (told.status_code, told.json()["field"]) == (400, "after")
    assert call("get", "/periods/999999/usage-by-group", key).status_code == 404
