"""Who may read the ledger's API, and that nobody writes by it."""

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from config import roles
from config.api_keys.models import ApiKey
from tests.ledger.chart import accrual, post
from tests.ledger.test_api import PATHS, ask_with, key

__all__ = ["key"]  # the fixture
pytestmark = pytest.mark.usefixtures("chart")


class TestAccess:
    def test_needs_a_key_with_the_scope(self, client: Client) -> None:
        _, other = ApiKey.objects.create_key(name="other", scopes=["usage:read", "billing:write"])
        entry = post(accrual("a", "1"))

        for path in (*PATHS, f"entries/{entry.id}", "entries"):
            assert ask_with(client, None, f"/api/v1/{path}")[0] == 401
            assert ask_with(client, "nonsense", f"/api/v1/{path}")[0] == 401
            assert ask_with(client, str(other), f"/api/v1/{path}")[0] == 403

    def test_is_for_reading_only(self, client: Client, key: str) -> None:
        _, writer = ApiKey.objects.create_key(name="writer", scopes=["billing:read", "billing:write"])
        for method in ("post", "put", "patch", "delete"):
            answer = getattr(client, method)(
                "/api/v1/customers/acme/balances", headers={"Authorization": f"Api-Key {writer}"}
            )
            assert (method, answer.status_code) == (method, 403)

    @pytest.mark.parametrize("method", ["get", "post", "delete"])
    @pytest.mark.parametrize("path", ["customers/", "nothing", "customers/acme/nothing", "entries/-1", "entries/abc"])
    def test_nothing_is_told_as_a_problem(self, method: str, path: str) -> None:
        answer = getattr(Client(enforce_csrf_checks=True), method)(f"/api/v1/{path}")

        assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
        assert answer.json()["status"] == 404

    @pytest.mark.parametrize(("role", "status"), [("Finance", 200), ("Engineering", 200), ("Customer success", 403)])
    def test_of_roles_is_for_who_sees_the_books(self, client: Client, role: str, status: int) -> None:
        roles.sync_roles()
        person = User.objects.create_user("someone", is_staff=True)
        person.groups.add(Group.objects.get(name=role))
        client.force_login(person)

        assert {ask_with(client, None, f"/api/v1/{path}")[0] for path in PATHS} == {status}

    def test_of_people_is_for_staff_who_may_see_the_ledger(self, client: Client) -> None:
        person = User.objects.create_user("someone", is_staff=True)
        client.force_login(person)
        assert ask_with(client, None, "/api/v1/customers/acme/balances")[0] == 403

        person.user_permissions.add(Permission.objects.get(codename="view_posting"))
        assert ask_with(client, None, "/api/v1/customers/acme/balances")[0] == 200

        person.is_staff = False
        person.save()
        assert ask_with(client, None, "/api/v1/customers/acme/balances")[0] == 403
