"""Signed-in readers of pages about usage, which is counted only once it is committed."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.fixtures import Settings

from config import roles

SignIn = Callable[[str], Client]


@pytest.fixture
def as_role(committed_db: None, settings: Settings) -> SignIn:
    """A browser signed in as somebody of the role, or "nobody": of none."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # slow ones are not what is tested
    settings.STATIC_ROOT = None  # whitenoise warns about a folder that was never collected
    roles.sync_roles()
    people = roles.create_sign_ins(passwords=dict.fromkeys(roles.ROLES, "a long password"))
    by_role = {user.groups.get().name: user for user in people}
    by_role["nobody"] = User.objects.create(username="new", is_staff=True)

    def signed_in(role: str) -> Client:
        client = Client()
        client.force_login(by_role[role])
        return client

    return signed_in
