"""All writes about customers. A customer, its ledger accounts and its metering subject exist together or not at all."""

import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from django.db import transaction

from billing.accounting import chart
from billing.customers.models import Customer
from billing.stripe import outbox
from ledger import operations as ledger_operations
from metering import operations as metering_operations

logger = logging.getLogger(__name__)

_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CURRENCY = re.compile(r"[A-Z]{3}")


class CustomerError(Exception):
    """A customer cannot be created as asked; nothing was written."""


class InvalidCustomer(CustomerError):
    """What was given about a customer is wrong. `field` names the part to mend."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class CustomerConflict(CustomerError):
    """The customer key belongs to a customer with other data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCustomer:
    """A customer to create. `created_at` is when they signed up; `currency` is that of all their money."""

    customer_key: str
    name: str
    email: str
    kind: str
    currency: str
    created_at: datetime


def create_customer(
    *, customer_key: str, name: str, email: str, kind: str, currency: str, created_at: datetime, actor: str
) -> Customer:
    """
    Create a customer, open its accounts, and let metering take its usage.

    Said twice it returns the first customer. Raises InvalidCustomer, and CustomerConflict when the key belongs to a
    customer with other data.
    """
    new = NewCustomer(
        customer_key=customer_key, name=name, email=email, kind=kind, currency=currency, created_at=created_at
    )
    return create_customers(customers=[new], actor=actor)[0]


def create_customers(*, customers: Sequence[NewCustomer], actor: str) -> list[Customer]:
    """
    Create many customers at once, all or none, in a number of statements that does not depend on how many they are.

    Returns them in the order given. Raises InvalidCustomer and CustomerConflict as create_customer does.
    """
    for new in customers:
        require_valid(new)
    _require_distinct(customers)
    with transaction.atomic():
        Customer.objects.bulk_create([Customer(**asdict(new)) for new in customers], ignore_conflicts=True)
        stored = Customer.objects.in_bulk([new.customer_key for new in customers], field_name="customer_key")
        for new in customers:
            _require_same(stored[new.customer_key], new)
        currencies = sorted({new.currency for new in customers})
        ledger_operations.open_accounts(
            [spec for currency in currencies for spec in chart.system_account_specs(currency)]
            + [spec for new in customers for spec in chart.customer_account_specs(new.customer_key, new.currency)]
        )
        metering_operations.register_subjects([new.customer_key for new in customers])
    logger.info("%s created %s customers", actor, len(customers))
    return [stored[new.customer_key] for new in customers]


def create_at_stripe(*, customer_id: int, now: datetime) -> str:
    """
    Create the customer at Stripe unless it is there, and return Stripe's id. Not inside a transaction.

    Raises what outbox.perform raises; a repeat goes on where the last try ended.
    """
    customer = Customer.objects.get(pk=customer_id)
    if customer.stripe_customer_id is not None:
        return customer.stripe_customer_id
    created = outbox.perform(
        purpose=f"customer:{customer.customer_key}:create",
        operation="customers.create",
        target="",
        params={
            "name": customer.name,
            "email": customer.email,
            "metadata": {"customer_key": customer.customer_key},
        },
        now=now,
    )
    stripe_customer_id = str(created["id"])
    Customer.objects.filter(pk=customer_id, stripe_customer_id=None).update(stripe_customer_id=stripe_customer_id)
    return stripe_customer_id


def use_payment_method(*, customer_id: int, payment_method: str, idempotency_key: str, now: datetime) -> str:
    """
    Attach a payment method at Stripe and let it pay from now on; return Stripe's id of it. Not inside a transaction.

    `payment_method` is Stripe's id or test token; `idempotency_key` names the wish, so that going back to an earlier
    card is another one. Raises what outbox.perform raises; a repeat goes on where the last try ended.
    """
    stripe_customer_id = create_at_stripe(customer_id=customer_id, now=now)
    attached = outbox.perform(
        purpose=f"{idempotency_key}:attach",
        operation="payment_methods.attach",
        target=payment_method,
        params={"customer": stripe_customer_id},
        now=now,
    )
    outbox.perform(
        purpose=f"{idempotency_key}:default",
        operation="customers.update",
        target=stripe_customer_id,
        params={"invoice_settings": {"default_payment_method": attached["id"]}},
        now=now,
    )
    return str(attached["id"])


def lock_customer(*, customer_id: int) -> None:
    """
    Let nobody else move this customer's money until the transaction ends. Needs a transaction.

    Taken before any other row by whoever posts to a customer's accounts more than once in a transaction: the entries
    of an invoice, of a payment and of the balance touch the same accounts in different orders.
    """
    Customer.objects.select_for_update(no_key=True).get(pk=customer_id)


def require_valid(new: NewCustomer) -> None:
    """Refuse with a kind word what the table's constraints refuse."""
    if not _KEY.fullmatch(new.customer_key):
        raise InvalidCustomer("customer_key", "a key is 1 to 64 letters, digits, dots, dashes or underscores")
    if not _CURRENCY.fullmatch(new.currency):
        raise InvalidCustomer("currency", f"{new.currency!r} is not an ISO 4217 code in upper case")
    if new.kind not in Customer.Kind.values:
        raise InvalidCustomer("kind", f"{new.kind!r} is not one of {', '.join(Customer.Kind.values)}")
    if not new.name.strip():
        raise InvalidCustomer("name", "a customer needs a name")


def _require_distinct(customers: Sequence[NewCustomer]) -> None:
    seen: dict[str, NewCustomer] = {}
    for new in customers:
        if seen.setdefault(new.customer_key, new) != new:
            raise CustomerConflict(f"{new.customer_key} is given twice with different data")


def _require_same(stored: Customer, new: NewCustomer) -> None:
    differing = [field for field, value in asdict(new).items() if getattr(stored, field) != value]
    if differing:
        raise CustomerConflict(f"{new.customer_key} exists and differs in: {', '.join(differing)}")
