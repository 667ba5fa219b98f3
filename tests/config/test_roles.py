"""The three roles: exactly what is declared, nothing that writes to money, and said twice the same."""

from io import StringIO

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command

from config import roles

WRITING = ("add_", "change_", "delete_")


def permissions_of(role: str) -> set[str]:
    held = Group.objects.get(name=role).permissions.select_related("content_type")
    return {f"{permission.content_type.app_label}.{permission.codename}" for permission in held}


def test_each_role_gets_exactly_what_is_declared(db: None) -> None:
    call_command("sync_roles", stdout=StringIO())

    assert {role: permissions_of(role) for role in roles.ROLES} == dict(roles.ROLES)


def test_running_it_again_takes_away_what_somebody_added(db: None) -> None:
    roles.sync_roles()
    Group.objects.get(name=roles.ENGINEERING).permissions.add(Permission.objects.get(codename="issue_creditgrant"))

    roles.sync_roles()

    assert "promotions.issue_creditgrant" not in permissions_of(roles.ENGINEERING)


def test_no_role_may_add_change_or_delete_a_row() -> None:
    everything = frozenset().union(*roles.ROLES.values())

    assert not {name for name in everything if name.split(".")[1].startswith(WRITING)}


def test_a_permission_that_is_not_there_changes_nothing(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    roles.sync_roles()
    monkeypatch.setattr(roles, "ROLES", {roles.FINANCE: frozenset({"ledger.view_everything"})})

    with pytest.raises(roles.UnknownPermission, match=r"ledger\.view_everything"):
        roles.sync_roles()

    assert "ledger.view_account" in permissions_of(roles.FINANCE)


def test_people_of_the_demo_are_staff_in_one_role_each(db: None) -> None:
    roles.sync_roles()

    people = roles.create_sign_ins(passwords={role: f"password of {role}" for role in roles.ROLES})

    assert [(user.is_staff, user.is_superuser, user.groups.count()) for user in people] == [(True, False, 1)] * 3
    assert {user.groups.get().name for user in people} == set(roles.ROLES)
    assert all(user.check_password(f"password of {user.groups.get().name}") for user in people)


def test_making_them_again_makes_no_others(db: None) -> None:
    roles.sync_roles()
    passwords = dict.fromkeys(roles.ROLES, "a first password")
    first = roles.create_sign_ins(passwords=passwords)

    again = roles.create_sign_ins(passwords=passwords)

    assert [user.pk for user in again] == [user.pk for user in first]
