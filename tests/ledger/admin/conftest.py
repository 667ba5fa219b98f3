"""A signed-in reader, and how a page is asked for."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from config import roles

Ask = Callable[..., str]


@pytest.fixture(autouse=True)
def _nothing_collected(settings: Settings) -> None:
    """A checkout has no folder of collected static files; whitenoise would warn of it, and finds them without."""
    settings.STATIC_ROOT = None


@pytest.fixture
def staff(client: Client, db: None) -> Client:
    client.force_login(User.objects.create_superuser("finance", password="x"))
    return client


@pytest.fixture
def sign_in(db: None) -> Callable[[str], Client]:
    """A browser signed in as somebody of the role."""
    roles.sync_roles()
    people = roles.create_sign_ins(passwords=dict.fromkeys(roles.ROLES, "a long password"))
    by_role = {user.groups.get().name: user for user in people}

    def signed_in(role: str) -> Client:
        client = Client()
        client.force_login(by_role[role])
        return client

    return signed_in


@pytest.fixture
def page_of(staff: Client) -> Ask:
    """The text of a page, which answers 200 unless another status is asked for."""

    def asked(name: str, *arguments: object, status: int = 200, **query: Any) -> str:
        response = staff.get(reverse(f"admin:ledger_{name}", args=arguments), query)
        assert response.status_code == status
        return response.content.decode()

    return asked
