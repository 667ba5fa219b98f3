"""Issuing credit from a customer's page: who may, what is refused, and that one form makes one grant."""

import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from billing.customers.models import Customer
from config.roles import CUSTOMER_SUCCESS, ENGINEERING, FINANCE
from ledger import queries as ledger_queries
from promotions.models import CreditGrant
from promotions.queries import available
from tests.factories import CustomerFactory

SignIn = Callable[[str], Client]


@pytest.fixture
def customer(db: None) -> Customer:
    return CustomerFactory(customer_key="acme", name="Acme")


def address(customer: Customer) -> str:
    return reverse("admin:billing_customer_issue_credit", args=[customer.pk])


def hidden(page: bytes) -> dict[str, str]:
    """The values the page carries on, as a browser would send them back."""
    inputs = re.findall(r"<input[^>]*type=\"hidden\"[^>]*>", page.decode())
    pairs = [(re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)) for tag in inputs]
    return {name[1]: value[1] if value else "" for name, value in pairs if name}


def filled(client: Client, customer: Customer, **values: str) -> dict[str, str]:
    """A fresh form, filled in."""
    key = hidden(client.get(address(customer)).content)["idempotency_key"]
    defaults = {"amount": "25", "kind": "goodwill", "name": "Outage", "reason": "Two hours down", "expires_at": ""}
    return {**defaults, "effective_at": "", **values, "idempotency_key": key}


def confirmed(client: Client, customer: Customer, **values: str) -> dict[str, str]:
    """What the confirmation sends, after the form was filled in and accepted."""
    confirmation = client.post(address(customer), filled(client, customer, **values))
    assert confirmation.status_code == 200
    return {**hidden(confirmation.content), "confirmed": "yes"}


def test_a_confirmed_form_issues_a_grant_in_the_ledger(sign_in: SignIn, customer: Customer) -> None:
    client = sign_in(CUSTOMER_SUCCESS)

    response = client.post(address(customer), confirmed(client, customer, amount="25.50"), follow=True)

    grant = CreditGrant.objects.get()
    assert (grant.amount, grant.kind, grant.reason, grant.issued_by) == (
        Decimal("25.50"),
        "goodwill",
        "Two hours down",
        "user:sam",
    )
    assert available(grant.pk) == Decimal("25.50")
    assert "$25.50 of credit issued" in response.content.decode()
    assert "Issued credit" in LogEntry.objects.get(user__username="sam").change_message


def test_nothing_is_issued_before_the_confirmation(sign_in: SignIn, customer: Customer) -> None:
    client = sign_in(FINANCE)

    response = client.post(address(customer), filled(client, customer))

    assert "Is this right?" in response.content.decode()
    assert not CreditGrant.objects.exists()


def test_the_same_confirmation_sent_twice_issues_one_grant(sign_in: SignIn, customer: Customer) -> None:
    client = sign_in(CUSTOMER_SUCCESS)
    sent = confirmed(client, customer)
    client.post(address(customer), sent)

    response = client.post(address(customer), sent, follow=True)

    assert "was issued already, once" in response.content.decode()
    assert CreditGrant.objects.count() == 1
    assert LogEntry.objects.count() == 1
    assert ledger_queries.count_entries() == 1


def test_a_used_form_with_other_terms_is_refused_on_the_form(sign_in: SignIn, customer: Customer) -> None:
    client = sign_in(CUSTOMER_SUCCESS)
    sent = confirmed(client, customer)
    client.post(address(customer), sent)

    response = client.post(address(customer), {**sent, "amount": "2500"})

    assert response.status_code == 422
    assert "used already, for a credit with other terms" in response.content.decode()
    assert CreditGrant.objects.get().amount == Decimal(25)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"amount": "0"}, "greater than or equal"),
        ({"amount": "-5"}, "greater than or equal"),
        ({"amount": "NaN"}, "Enter a number"),
        ({"amount": "1.234"}, "At most 2 decimal places"),
        ({"amount": ""}, "This field is required"),
        ({"amount": "1234567890123"}, "no more than 12 digits"),
        ({"kind": "paid"}, "Select a valid choice"),
        ({"name": " "}, "This field is required"),
        ({"reason": ""}, "This field is required"),
        ({"effective_at": "yesterday"}, "Enter a valid date/time"),
        ({"expires_at": "2020-01-01T00:00"}, "later than now"),
        ({"effective_at": "2030-02-01T00:00", "expires_at": "2030-01-01T00:00"}, "later than it begins"),
    ],
)
def test_a_wrong_value_is_named_at_its_field(
    sign_in: SignIn, customer: Customer, wrong: dict[str, str], said: str
) -> None:
    client = sign_in(CUSTOMER_SUCCESS)

    response = client.post(address(customer), {**filled(client, customer, **wrong), "confirmed": "yes"})

    assert response.status_code == 422
    assert said in response.content.decode()
    assert not CreditGrant.objects.exists()


def test_a_key_that_the_form_did_not_make_is_refused(sign_in: SignIn, customer: Customer) -> None:
    client = sign_in(CUSTOMER_SUCCESS)
    sent = {**filled(client, customer), "idempotency_key": "promotion:launch", "confirmed": "yes"}

    assert client.post(address(customer), sent).status_code == 422
    assert not CreditGrant.objects.exists()


def test_engineering_and_strangers_cannot_issue_credit(sign_in: SignIn, customer: Customer) -> None:
    sent = confirmed(sign_in(CUSTOMER_SUCCESS), customer)
    engineer = sign_in(ENGINEERING)
    page = engineer.get(reverse("admin:billing_customer_change", args=[customer.pk])).content.decode()

    assert engineer.get(address(customer)).status_code == 403
    assert engineer.post(address(customer), sent).status_code == 403
    assert Client().post(address(customer), sent).status_code == 302
    assert address(customer) not in page
    assert not CreditGrant.objects.exists()


def test_the_form_refuses_a_request_from_another_site(sign_in: SignIn, customer: Customer) -> None:
    client = sign_in(CUSTOMER_SUCCESS)
    sent = confirmed(client, customer)
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies

    assert strict.post(address(customer), sent | {"csrfmiddlewaretoken": "x"}).status_code == 403
    assert not CreditGrant.objects.exists()
