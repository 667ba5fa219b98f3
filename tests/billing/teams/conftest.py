"""The sandbox, for seats that follow members, and signed-in people, for pages."""

from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django import Settings

from config import roles
from tests.billing.admin.conftest import PASSWORDS, _nothing_collected
from tests.billing.fixtures import at_sandbox, sandbox_process, thread

__all__ = ["_nothing_collected", "at_sandbox", "sandbox_process", "thread"]


@pytest.fixture
def sign_in(committed_db: None, settings: Settings) -> Callable[[str], Client]:
    """A browser signed in as somebody of the role, where usage has to be committed."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    roles.sync_roles()
    people = {user.groups.get().name: user for user in roles.create_sign_ins(passwords=PASSWORDS)}

    def signed_in(role: str) -> Client:
        client = Client()
        client.force_login(people[role])
        return client

    return signed_in
