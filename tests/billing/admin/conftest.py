"""Signed-in browsers, one for each role."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from config import roles

PASSWORDS = {role: f"a long password of {role}" for role in roles.ROLES}


@pytest.fixture
def sign_in(db: None, settings: Settings) -> Callable[[str], Client]:
    """A browser signed in as somebody of the role, or as a superuser for "superuser"."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # slow ones are not what is tested
    roles.sync_roles()
    people = {user.groups.get().name: user for user in roles.create_sign_ins(passwords=PASSWORDS)}
    people["superuser"] = User.objects.create_superuser("root", password="a long password of root")

    def signed_in(role: str) -> Client:
        client = Client()
        client.force_login(people[role])
        return client

    return signed_in


@pytest.fixture(autouse=True)
def _nothing_collected(settings: Settings) -> None:
    """A checkout has no folder of collected static files; whitenoise would warn of it, and finds them without."""
    settings.STATIC_ROOT = None
