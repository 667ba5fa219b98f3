"""The pages of API keys: who may see and manage them, and that the key itself is nowhere."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from config import roles
from config.api_keys.models import ApiKey

LIST = reverse("admin:config_apikey_changelist")


@pytest.fixture
def made(db: None) -> tuple[ApiKey, str]:
    row, key = ApiKey.objects.create_key(name="edge-eu", scopes=["usage:write", "usage:read"])
    assert isinstance(row, ApiKey)
    return row, key


@pytest.fixture
def sign_in(db: None, settings: Settings) -> Callable[[str], Client]:
    settings.STATIC_ROOT = None
    roles.sync_roles()
    people = roles.create_sign_ins(passwords=dict.fromkeys(roles.ROLES, "a long password"))
    by_role = {user.groups.get().name: user for user in people}

    def signed_in(role: str) -> Client:
        client = Client()
        client.force_login(by_role[role])
        return client

    return signed_in


def page_of(key: ApiKey) -> str:
    return reverse("admin:config_apikey_change", args=[key.pk])


def form(**changes: Any) -> dict[str, Any]:
    fields = {"name": "edge-eu", "events_per_second": "", "events_burst": "", "expiry_date_0": "", "expiry_date_1": ""}
    return {**fields, **changes}


def ask(client: Client, address: str, body: dict[str, Any] | None = None) -> Any:
    return client.get(address, secure=True) if body is None else client.post(address, body, secure=True)


@pytest.mark.parametrize(
    ("role", "status"), [(roles.ENGINEERING, 200), (roles.FINANCE, 403), (roles.CUSTOMER_SUCCESS, 403)]
)
def test_only_engineering_sees_keys(
    role: str, status: int, made: tuple[ApiKey, str], sign_in: Callable[[str], Client]
) -> None:
    client = sign_in(role)
    assert ask(client, LIST).status_code == status
    assert ask(client, page_of(made[0])).status_code == status
    assert ask(client, page_of(made[0]), form(events_per_second="5")).status_code == (302 if status == 200 else 403)


def test_the_key_is_nowhere(made: tuple[ApiKey, str], sign_in: Callable[[str], Client]) -> None:
    row, key = made
    client = sign_in(roles.ENGINEERING)
    for address in (LIST, page_of(row)):
        text = ask(client, address).content.decode()
        assert row.prefix in text
        assert key.partition(".")[2] not in text


def test_limits_are_set_and_taken_away_and_history_says_who(
    made: tuple[ApiKey, str], sign_in: Callable[[str], Client]
) -> None:
    row, _ = made
    client = sign_in(roles.ENGINEERING)
    ask(client, page_of(row), form(events_per_second="50", events_burst="1000"))
    row.refresh_from_db()
    assert (row.events_per_second, row.events_burst) == (50, 1000)
    assert "50 events/s, 1,000 at once" in ask(client, LIST).content.decode()
    history = ask(client, reverse("admin:config_apikey_history", args=[row.pk])).content.decode()
    assert "Events per second" in history
    assert "emre" in history

    ask(client, page_of(row), form())
    row.refresh_from_db()
    assert (row.events_per_second, row.events_burst) == (None, None)


@pytest.mark.parametrize("limit", ["0", "-5", "10000001", "99999999999999999999", "1.5", "many", "\x00"])
def test_an_impossible_limit_is_refused_on_the_form(
    limit: str, made: tuple[ApiKey, str], sign_in: Callable[[str], Client]
) -> None:
    answer = ask(sign_in(roles.ENGINEERING), page_of(made[0]), form(events_per_second=limit))
    assert answer.status_code == 200
    assert answer.context["errors"]
    made[0].refresh_from_db()
    assert made[0].events_per_second is None


def test_revoking_is_final(made: tuple[ApiKey, str], sign_in: Callable[[str], Client]) -> None:
    row, _ = made
    client = sign_in(roles.ENGINEERING)
    ask(client, page_of(row), form(revoked="on"))
    row.refresh_from_db()
    assert row.revoked

    ask(client, page_of(row), form(name="edge-eu, gone"))
    row.refresh_from_db()
    assert (row.name, row.revoked) == ("edge-eu, gone", True)


def test_scopes_are_as_they_were_made_and_nothing_is_added_or_deleted(
    made: tuple[ApiKey, str], sign_in: Callable[[str], Client]
) -> None:
    row, _ = made
    client = sign_in(roles.ENGINEERING)
    ask(client, page_of(row), form(scopes="billing:write"))
    row.refresh_from_db()
    assert row.scopes == ["usage:write", "usage:read"]
    assert ask(client, reverse("admin:config_apikey_add")).status_code == 403
    assert ask(client, reverse("admin:config_apikey_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
