"""Usage over HTTP: figures, meters, events and the life of one, for keys with the scope and people with the right."""

import json
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from config import roles
from config.api_keys.models import ApiKey
from metering import event_life, operations
from metering.event_keys import event_key
from metering.event_life import LifeOfWindow, LifeStage
from tests.metering.corrections import making
from tests.metering.usage import MORNING, NOW, OCTOBER, event, ingest

pytestmark = pytest.mark.usefixtures("metered")
SOURCE = "edge/us-east-1"
KEY = event_key(SOURCE, "e1")
USAGE = "customers/acme/usage?meter=input_tokens&from=2026-10-01&to=2026-11-01"
PATHS = (USAGE, "meters", "usage/events", f"usage/events/{KEY}", f"usage/events/by-id?source={SOURCE}&id=e1")


@pytest.fixture
def key(metered: None) -> str:
    return str(ApiKey.objects.create_key(name="service", scopes=["usage:read"])[1])


@pytest.fixture(autouse=True)
def _usage(metered: None) -> None:
    ingest(
        event("e1", data={"input_tokens": Decimal("0.1")}),
        event("e2", time=MORNING + timedelta(hours=14), data={"model": "claude-opus-5", "input_tokens": 7}),
        event("e3", subject="beta"),
    )
    operations.catch_up_windows(now=NOW)


def ask(client: Client, key: str, path: str, status: int = 200) -> Any:
    answer = client.get(path if "://" in path else f"/api/v1/{path}", headers={"Authorization": f"Api-Key {key}"})
    assert answer.status_code == status, answer.content
    if status >= 400:
        assert answer["Content-Type"] == "application/problem+json"
    return json.loads(answer.content, parse_float=Decimal)


class TestUsage:
    def test_is_told_by_day(self, client: Client, key: str) -> None:
        body = ask(client, key, USAGE)

        assert body["rows"] == [
            {
                "from": "2026-10-03T00:00:00Z",
                "to": "2026-10-04T00:00:00Z",
                "dimensions": {},
                "quantity": "0.1",
                "events": 1,
            },
            {
                "from": "2026-10-04T00:00:00Z",
                "to": "2026-10-05T00:00:00Z",
                "dimensions": {},
                "quantity": "7",
                "events": 1,
            },
        ]
        assert (body["unit"], body["aggregation"], body["window"]) == ("token", "sum", "day")
        assert body["aggregated_through"] == "2026-10-20T12:00:00Z"

    @pytest.mark.parametrize(
        ("query", "rows"),
        [
            ("window=total", [({}, "7.1")]),
            ("window=month&group_by=model", [({"model": "claude-opus-5"}, "7"), ({"model": "claude-sonnet-5"}, "0.1")]),
            ("window=total&where.model=claude-opus-5", [({}, "7")]),
            ("window=total&where.model=claude-opus-5&where.model=claude-sonnet-5", [({}, "7.1")]),
            ("window=total&where.model=nothing", []),
            ("window=day&time_zone=America/New_York", [({}, "7.1")]),
        ],
    )
    def test_is_cut_and_told_apart(self, client: Client, key: str, query: str, rows: list[Any]) -> None:
        body = ask(client, key, f"{USAGE}&{query}")

        assert [(row["dimensions"], row["quantity"]) for row in body["rows"]] == rows

    def test_is_exact_to_the_microsecond(self, client: Client, key: str) -> None:
        until = "2026-10-03T10:00:00.000001%2B00:00"
        assert ask(client, key, f"{USAGE}&window=total&x".replace("to=2026-11-01", f"to={until}").replace("&x", ""))[
            "rows"
        ]
        assert not ask(client, key, f"{USAGE}&window=total".replace("to=2026-11-01", "to=2026-10-03T10:00:00Z"))["rows"]

    @pytest.mark.parametrize(
        ("path", "status", "field", "words"),
        [
            ("customers/acme/usage", 400, "meter", "/api/v1/meters"),
            ("customers/nobody/usage?meter=input_tokens", 404, "customer_key", "nobody"),
            ("customers/acme/usage?meter=nothing", 404, "meter", "/api/v1/meters"),
            ("customers/acme/usage?meter=input_tokens", 400, "from", "2026-10-01"),
            (USAGE.replace("to=2026-11-01", "to=2026-10-01"), 400, "to", "later"),
            (f"{USAGE}&window=week", 400, "window", "hour, day, month, total"),
            (f"{USAGE}&time_zone=Mars/Phobos", 400, "time_zone", "Europe/Berlin"),
            (f"{USAGE}&group_by=colour", 400, "group_by", "model"),
            (f"{USAGE}&group_by=model,model", 400, "group_by", "once"),
            (f"{USAGE}&where.colour=red", 400, "where.colour", "model"),
            (f"{USAGE}&metre=x", 400, "metre", "no parameter"),
            (f"{USAGE}&meter=input_tokens", 400, "meter", "once"),
            (f"{USAGE}&window=hour".replace("2026-10-01", "2020-01-01"), 400, "window", "shorter range"),
        ],
    )
    def test_is_refused_with_the_remedy(
        self, client: Client, key: str, path: str, status: int, field: str, words: str
    ) -> None:
        body = ask(client, key, path, status)

        assert (body["field"], body["status"]) == (field, status)
        assert words in body["detail"]

    def test_with_too_many_rows_is_refused_with_the_remedy(
        self, client: Client, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("metering.api.usage.MAX_SPANS", 1)

        assert "fewer dimensions in group_by" in ask(client, key, USAGE, 400)["detail"]


def test_meters_are_told_with_every_version(client: Client, key: str) -> None:
    operations.define_meter(
        code="input_tokens",
        event_type="llm.request",
        value_path="data.input_tokens",
        aggregation="sum",
        dimensions=["model", "region"],
        unit="token",
        filters=[{"region": ["eu", "us"]}],
    )

    told = [meter for meter in ask(client, key, "meters")["meters"] if meter["code"] == "input_tokens"]

    assert [(meter["version"], meter["active"], meter["filters"]) for meter in told] == [
        (2, True, [{"region": ["eu", "us"]}]),
        (1, False, []),
    ]


class TestEvents:
    def test_are_listed_with_what_became_of_them(self, client: Client, key: str) -> None:
        (told,) = ask(client, key, f"usage/events?source={SOURCE}&id=e1")["events"]

        assert (told["key"], told["state"], told["time"], told["subject"]) == (
            KEY,
            "counted",
            "2026-10-03T10:00:00Z",
            "acme",
        )
        assert [(of["meter"], of["quantity"], of["excluded"]) for of in told["meters"]] == [
            ("input_tokens", "0.1", None),
            ("output_tokens", "10", None),
            ("cache_write_tokens", "0", None),
            ("cache_read_tokens", None, "value_absent"),
        ]
        assert ask(client, key, told["url"])["id"] == "e1"

    def test_are_read_page_by_page_each_once(self, client: Client, key: str) -> None:
        ingest(*(event(f"m{number}", time=OCTOBER) for number in range(7)))
        path, seen = "usage/events?customer=acme&limit=2", list[str]()
        for _ in range(9):
            body = ask(client, key, path)
            seen += [of["id"] for of in body["events"]]
            if body["next"] is None:
                break
            path = body["next"]
        assert sorted(seen) == sorted(["e1", "e2", *(f"m{number}" for number in range(7))])

    def test_of_another_list_are_not_continued(self, client: Client, key: str) -> None:
        following = ask(client, key, "usage/events?limit=1")["next"]

        assert ask(client, key, following.replace("limit=1", "limit=2"))["events"]
        assert ask(client, key, f"{following}&customer=acme", 400)["field"] == "cursor"

    @pytest.mark.parametrize(
        ("query", "status", "field"),
        [
            ("limit=0", 400, "limit"),
            ("state=lost", 400, "state"),
            ("meter=nothing", 404, "meter"),
            ("from=2026-10-02&to=2026-10-01", 400, "to"),
            ("cursor=x", 400, "cursor"),
            ("customers=acme", 400, "customers"),
        ],
    )
    def test_are_refused_with_the_field(self, client: Client, key: str, query: str, status: int, field: str) -> None:
        assert ask(client, key, f"usage/events?{query}", status)["field"] == field


class TestALife:
    def test_is_the_same_by_key_and_by_source_and_id(self, client: Client, key: str) -> None:
        by_key = ask(client, key, f"usage/events/{KEY}")

        assert ask(client, key, f"usage/events/by-id?source={SOURCE}&id=e1") == by_key
        assert by_key["data"]["input_tokens"] == Decimal("0.1")
        (pair,) = [of for of in by_key["meters"] if of["meter"] == "input_tokens"]
        assert (pair["quantity"], pair["window"]["quantity"], pair["window"]["events"]) == ("0.1", "0.1", 1)

    def test_tells_what_was_sent_again_and_corrected(self, client: Client, key: str) -> None:
        ingest(event("e1", data={"input_tokens": 8}))
        making.void(making.of_ids("e1"))
        operations.catch_up_windows(now=NOW)

        body = ask(client, key, f"usage/events/{KEY}")

        assert body["state"] == "void"
        assert [again["data"]["input_tokens"] for again in body["sent_again"]] == [8]
        assert [(of["role"], of["by"]) for of in body["corrections"]] == [("voided", "user:ada")]

    def test_that_is_unknown_is_not_found(self, client: Client, key: str) -> None:
        assert ask(client, key, f"usage/events/{'0' * 32}", 404)["field"] == "key"
        assert ask(client, key, "usage/events/by-id?source=a&id=b", 404)["field"] == "id"
        assert ask(client, key, "usage/events/by-id?source=a", 400)["field"] == "id"

    def test_tells_money_only_to_who_may_read_billing(
        self, client: Client, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stages(_: LifeOfWindow) -> Sequence[LifeStage]:
            return [LifeStage(NOW, "Accrued", "USD 1", "/accrual", permission="billing.view_usageaccrual")]

        monkeypatch.setattr(event_life, "_registered", [stages])
        _, both = ApiKey.objects.create_key(name="both", scopes=["usage:read", "billing:read"])

        def told(with_key: str) -> set[str]:
            body = ask(client, with_key, f"usage/events/{KEY}")
            return {stage["title"] for of in body["meters"] for stage in of["stages"]}

        assert told(key) == set()
        assert told(str(both)) == {"Accrued"}


class TestAccess:
    def test_needs_a_key_with_the_scope(self, client: Client) -> None:
        _, other = ApiKey.objects.create_key(name="other", scopes=["usage:write", "billing:read"])
        for path in PATHS:
            assert client.get(f"/api/v1/{path}").status_code == 401
            ask(client, "nonsense", path, 401)
            ask(client, str(other), path, 403)

    def test_is_for_reading_only(self, client: Client, key: str) -> None:
        for path in PATHS:
            for method in ("post", "put", "patch", "delete"):
                answer = getattr(client, method)(f"/api/v1/{path}", headers={"Authorization": f"Api-Key {key}"})
                assert answer.status_code == 403

    @pytest.mark.parametrize("role", [roles.CUSTOMER_SUCCESS, roles.FINANCE, roles.ENGINEERING])
    def test_of_roles_is_for_all_that_see_usage(self, client: Client, role: str) -> None:
        roles.sync_roles()
        person = User.objects.create_user("someone", is_staff=True)
        client.force_login(person)
        assert {client.get(f"/api/v1/{path}").status_code for path in PATHS} == {403}

        person.groups.add(Group.objects.get(name=role))

        assert {client.get(f"/api/v1/{path}").status_code for path in PATHS} == {200}


@pytest.mark.parametrize(("path", "queries"), [(PATHS[0], 6), (PATHS[1], 2), (PATHS[2], 3), (PATHS[3], 11)])
def test_many_take_as_many_queries_as_one(
    client: Client,
    key: str,
    path: str,
    queries: int,
    django_assert_num_queries: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_life, "_registered", [])  # what other apps ask is theirs to count
    ask(client, key, path)
    with django_assert_num_queries(queries):
        ask(client, key, path)
    ingest(*(event(f"m{n}", time=OCTOBER + timedelta(hours=n)) for n in range(90)), event("e1", subject="beta"))
    operations.catch_up_windows(now=NOW)
    with django_assert_num_queries(queries):
        ask(client, key, path)
