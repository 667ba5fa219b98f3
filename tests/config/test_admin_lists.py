"""Every list of ours in the admin, asked with what no page links to: it answers, and none breaks."""

from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

OURS = {"billing", "config", "ledger", "metering", "promotions"}
MODELS = sorted(
    (model for model, listed in admin.site._registry.items() if type(listed).__module__.split(".")[0] in OURS),
    key=lambda model: model._meta.label_lower,
)
NUL, SURROGATE, SCRIPT = b"a\x00b", b"\xed\xa0\x80", b'<script>alert("x")</script>'
VALUES = (SURROGATE, b"9" * 30, b"9" * 5_000, "²".encode(), b"0001-01-01T00:00:00+05:00", b"infinity", b"' OR 1=1 --")
# Shown, led back to the list without the filter, or told that it is no filter.
ANSWERED = {200, 302, 400, 422}


@pytest.fixture
def staff(db: None, settings: Settings) -> Client:
    settings.STATIC_ROOT = None
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def names_of(model: type[Model]) -> Iterator[str]:
    """What the address of a list may hold: its filters, what other pages link with, and Django's own."""
    listed = admin.site._registry[model]
    for each in listed.list_filter:
        chosen = each[0] if isinstance(each, tuple) else each
        yield f"{chosen}__exact" if isinstance(chosen, str) else getattr(chosen, "parameter_name", "nonsense")
    yield from getattr(listed, "linked_by", ())
    yield from ("q", "o", "p", "id", "pk__in", "nonsense")


def address_of(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


@pytest.mark.usefixtures("without_menu")
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label_lower)
class TestAList:
    def test_is_not_broken_by_a_nul(self, staff: Client, model: type[Model]) -> None:
        seen = {name: staff.get(address_of(model), {name: NUL}).status_code for name in names_of(model)}

        assert {name: status for name, status in seen.items() if status not in ANSWERED} == {}
        for query in ("q=%00&e=1", "a%00b=x"):
            assert staff.get(f"{address_of(model)}?{query}").status_code in ANSWERED

    def test_is_not_broken_by_what_is_no_value(self, staff: Client, model: type[Model]) -> None:
        names = list(names_of(model))
        queries = [*(dict.fromkeys(names, value) for value in VALUES), *({name: b"9" * 30} for name in names)]

        assert {staff.get(address_of(model), query).status_code for query in queries} <= ANSWERED


def test_the_menu_is_not_broken_either(staff: Client) -> None:
    lists = reverse("admin:metering_meter_changelist")

    for query in ({name: value} for name in ("q", "nonsense", "from") for value in (*VALUES, NUL, SCRIPT)):
        answer = staff.get(lists, query, follow=True)
        assert answer.status_code in ANSWERED
        assert SCRIPT not in answer.content
    assert answer.content.count(b"/admin/") > len(MODELS) / 2


def test_a_list_says_that_it_left_the_filter_out(staff: Client) -> None:
    lists = reverse("admin:metering_meter_changelist")

    assert staff.get(lists, {"aggregation__exact": NUL})["Location"] == f"{lists}?e=1"
