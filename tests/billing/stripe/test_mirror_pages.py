"""dj-stripe's pages, replaced: list, search and page of each of its models open, with 0, 1 and many rows."""

from itertools import count

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.db import models
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from djstripe.models import APIKey, WebhookEndpoint

from billing.stripe import mirror_admin
from tests.billing.thread import SECRET

_numbers = count()
MANY = 60  # more than one page of a list
MODELS = [model for model in admin.site._registry if model._meta.app_label == "djstripe"]
SECRET_KEY = "sk_test_" + "b" * 24
TEXT = '<script>alert("x")</script>'


@pytest.fixture
def client(db: None) -> Client:
    user = User.objects.create_superuser("root", password=None)
    client = Client()
    client.force_login(user)
    return client


def make(model: type[models.Model], number: int) -> models.Model:
    """A row with every column filled that has to be; what it refers to is left out where it may be."""
    values: dict[str, object] = {}
    for field in model._meta.concrete_fields:
        if field.primary_key or field.has_default() or (field.null and field.name != "stripe_data"):
            continue
        values[field.name] = value_of(field, number)
    return model._default_manager.create(**values)


def value_of(field: "models.Field[object, object]", number: int) -> object:
    if field.is_relation:
        assert isinstance(field.related_model, type)
        return make(field.related_model, number)
    kind = field.get_internal_type()
    if field.name == "stripe_data":
        return {"id": f"x_{number}", "status": TEXT, "amount": 500, "client_secret": SECRET_KEY}
    if kind == "JSONField":
        return {}
    if kind in ("DateTimeField", "DateField"):
        return timezone.now()
    if kind == "BooleanField":
        return False
    if kind in ("DecimalField", "IntegerField", "BigIntegerField", "PositiveIntegerField"):
        return 1
    if kind == "GenericIPAddressField":
        return "127.0.0.1"
    return f"{next(_numbers)}_{field.name}"[: field.max_length or 30]


def test_every_page_of_dj_stripe_is_ours() -> None:
    assert len(MODELS) > 30
    for model in MODELS:
        assert type(admin.site._registry[model]).__module__ == mirror_admin.__name__, model


@pytest.mark.usefixtures("without_menu")
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.model_name)
def test_list_search_and_page_open(client: Client, model: type[models.Model]) -> None:
    name = f"admin:djstripe_{model._meta.model_name}"
    changelist = reverse(f"{name}_changelist")
    assert client.get(changelist).status_code == 200

    first = make(model, 0)

    page = client.get(reverse(f"{name}_change", args=[first.pk]))
    assert page.status_code == 200
    shown = page.content.decode()
    assert SECRET_KEY not in shown
    assert TEXT not in shown
    assert client.get(changelist).status_code == 200
    assert client.get(changelist, {"q": "x_0"}).status_code == 200
    assert client.get(changelist, {"q": TEXT}).status_code == 200
    if model in (APIKey, WebhookEndpoint) or model._meta.model_name in ("invoice", "customer", "charge"):
        for number in range(1, MANY):
            make(model, number)
        assert client.get(changelist, {"p": "1"}).status_code == 200
    for refused in ("add", "delete"):
        address = reverse(f"{name}_{refused}", args=[first.pk] if refused == "delete" else [])
        assert client.get(address).status_code == 403
    client.post(changelist, {"action": "delete_selected", "_selected_action": [first.pk]})
    assert model._default_manager.filter(pk=first.pk).exists()


def test_secrets_are_on_no_page(client: Client) -> None:
    key = APIKey.objects.create(id="key_1", type="secret", secret=SECRET_KEY, livemode=False)
    endpoint = WebhookEndpoint.objects.create(
        id="we_1", secret=SECRET, url="https://x.example/", status="enabled", livemode=False, enabled_events=["*"]
    )

    for model, row in (("apikey", key), ("webhookendpoint", endpoint)):
        page = client.get(reverse(f"admin:djstripe_{model}_change", args=[row.pk])).content.decode()
        assert SECRET_KEY not in page
        assert SECRET not in page


def test_dj_stripe_s_own_checks_are_clean(db: None) -> None:
    found = run_checks(app_configs=[apps.get_app_config("djstripe")])
    assert [one for one in found if not one.is_silenced()] == []
