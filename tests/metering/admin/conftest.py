"""Signed-in readers of metering's pages."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from pytest_django import Settings

from config import roles

SignIn = Callable[..., Client]


@pytest.fixture(autouse=True)
def _nothing_collected(settings: Settings) -> None:
    """A checkout has no folder of collected static files; whitenoise would warn of it, and finds them without."""
    settings.STATIC_ROOT = None


@pytest.fixture
def may(metered: None) -> SignIn:
    """A browser signed in as somebody with these permissions of metering, such as view_usageevent."""

    def signed_in(*codenames: str) -> Client:
        user = User.objects.create_user("ada", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(content_type__app_label="metering", codename__in=codenames))
        client = Client()
        client.force_login(user)
        return client

    return signed_in


@pytest.fixture
def staff(metered: None) -> Client:
    """Signed in as somebody who may do everything."""
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def as_role(metered: None) -> SignIn:
    """A browser signed in as somebody of the role."""
    roles.sync_roles()
    people = roles.create_sign_ins(passwords=dict.fromkeys(roles.ROLES, "a long password"))
    by_role = {user.groups.get().name: user for user in people}

    def signed_in(role: str) -> Client:
        client = Client()
        client.force_login(by_role[role])
        return client

    return signed_in
