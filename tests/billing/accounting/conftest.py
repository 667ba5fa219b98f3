"""A customer with accounts, and the people who may ask and decide; in a test that rolls back."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.test import Client
from pytest_django import Settings

from tests.billing.accounting.people import hire, user_of
from tests.billing.fixtures import at_sandbox, sandbox_process, thread
from tests.factories import CustomerFactory

__all__ = ["at_sandbox", "sandbox_process", "thread"]


@pytest.fixture(autouse=True)
def _limits(settings: Settings) -> None:
    settings.MANUAL_ENTRY_LIMITS = {"USD": Decimal(250), "JPY": Decimal(40_000)}


@pytest.fixture
def books(db: None) -> None:
    hire()
    CustomerFactory(customer_key="acme", name="Acme")
    CustomerFactory(customer_key="zeta", name="Zeta")


@pytest.fixture
def signed_in(settings: Settings) -> Callable[[str], Client]:
    """A browser signed in as one of the people in people.py."""
    settings.STATIC_ROOT = None  # whitenoise would warn of a folder that was never collected

    def sign_in(actor: str) -> Client:
        client = Client()
        client.force_login(user_of(actor))
        return client

    return sign_in
