"""A customer, its accounts and its metering subject exist together or not at all."""

import time
from dataclasses import asdict
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.customers.models import Customer
from billing.customers.operations import (
    CustomerConflict,
    InvalidCustomer,
    NewCustomer,
    create_customer,
    create_customers,
)
from billing.customers.queries import customer_by_key, customer_by_stripe_id
from billing.subscriptions.operations import create_subscription
from ledger import queries as ledger
from metering.models import Subject
from tests.factories import ACTOR, OCTOBER, CustomerFactory, PlanVersionFactory

pytestmark = pytest.mark.django_db


def new(customer_key: str = "acme", **changes: Any) -> NewCustomer:
    values: dict[str, Any] = {
        "name": "Acme Inc.",
        "email": "billing@acme.example",
        "kind": "team",
        "currency": "USD",
        "created_at": OCTOBER,
    }
    return NewCustomer(customer_key=customer_key, **{**values, **changes})


class TestCreateCustomer:
    def test_opens_accounts_and_lets_usage_in(self) -> None:
        customer = create_customer(**asdict(new()), actor=ACTOR)

        assert customer_by_key("acme") == customer
        assert [account.kind for account in ledger.balances_of_customer("acme")] == [
            "balance", "prepaid_pending", "receivable", "refund_due", "unbilled",
        ]  # fmt: skip
        assert ledger.balance_of("revenue:usage:USD") == 0
        assert Subject.objects.filter(customer_key="acme").exists()

    def test_said_twice_is_done_once(self) -> None:
        first = create_customer(**asdict(new()), actor=ACTOR)

        assert create_customer(**asdict(new()), actor="service:retry") == first
        assert Customer.objects.count() == 1

    @pytest.mark.parametrize("changes", [{"name": "Other"}, {"currency": "EUR"}, {"email": "x@acme.example"}], ids=str)
    def test_the_same_key_with_other_data_is_refused(self, changes: dict[str, Any]) -> None:
        create_customer(**asdict(new()), actor=ACTOR)

        with pytest.raises(CustomerConflict, match=next(iter(changes))):
            create_customer(**asdict(new(**changes)), actor=ACTOR)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("customer_key", ""),
            ("customer_key", "a b"),
            ("customer_key", "k" * 65),
            ("currency", "usd"),
            ("kind", "robot"),
            ("name", " "),
        ],
    )
    def test_wrong_data_is_refused_by_name(self, field: str, value: str) -> None:
        with pytest.raises(InvalidCustomer) as refusal:
            create_customer(**{**asdict(new()), field: value}, actor=ACTOR)

        assert refusal.value.field == field
        assert not Customer.objects.exists()


class TestCreateCustomers:
    def test_answers_in_the_order_given_and_says_the_known_ones_again(self) -> None:
        known = create_customer(**asdict(new("b")), actor=ACTOR)

        created = create_customers(customers=[new("c"), new("b"), new("a"), new("c")], actor=ACTOR)

        assert [customer.customer_key for customer in created] == ["c", "b", "a", "c"]
        assert created[1] == known
        assert Customer.objects.count() == 3

    def test_is_all_or_none(self) -> None:
        create_customer(**asdict(new("b")), actor=ACTOR)

        with pytest.raises(CustomerConflict):
            create_customers(customers=[new("a"), new("b", name="Other")], actor=ACTOR)

        assert customer_by_key("a") is None
        assert ledger.balances_of_customer("a") == []

    def test_refuses_one_key_twice_with_different_data(self) -> None:
        with pytest.raises(CustomerConflict, match="twice"):
            create_customers(customers=[new("a"), new("a", name="Other")], actor=ACTOR)

    def test_asks_as_many_questions_for_a_hundred_as_for_one(self) -> None:
        with CaptureQueriesContext(connection) as for_one:
            create_customers(customers=[new("one")], actor=ACTOR)
        with CaptureQueriesContext(connection) as for_many:
            create_customers(customers=[new(f"many-{n}") for n in range(100)], actor=ACTOR)

        assert len(for_many) == len(for_one)

    def test_three_hundred_with_subscriptions_take_seconds(self) -> None:
        version = PlanVersionFactory()
        started = time.monotonic()

        for customer in create_customers(customers=[new(f"c-{n}") for n in range(300)], actor=ACTOR):
            create_subscription(customer=customer, plan_version=version, seats=2, starts_at=OCTOBER, actor=ACTOR)

        # About two seconds on two cores; the bound is what a demo could not hide, on a machine with much else to do.
        assert time.monotonic() - started < 60


def test_customers_are_found_by_their_id_at_stripe() -> None:
    customer = CustomerFactory(stripe_customer_id="cus_1")

    assert customer_by_stripe_id("cus_1") == customer
    assert customer_by_stripe_id("cus_2") is None
