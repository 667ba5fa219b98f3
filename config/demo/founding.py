"""Founds the world of `world` in the running system, through the same operations that the admin and the API use."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from secrets import token_urlsafe

from django.db import connections

from billing.catalog import queries as catalog
from billing.catalog.document import read_yaml
from billing.catalog.models import PlanVersion
from billing.catalog.operations import load_catalog, sync_catalog_to_stripe
from billing.customers.models import Customer
from billing.customers.operations import NewCustomer, create_customers, use_payment_method
from billing.rollouts.offers import offered_version
from billing.stripe.endpoints import set_up_endpoint
from billing.subscriptions.operations import create_subscription, start_at_stripe
from config import clock
from config.api_keys.models import ApiKey
from config.api_keys.scopes import Scope
from config.demo.errors import DemoFailed
from config.demo.month import Month
from config.demo.stages import Bar
from config.demo.world import GOOD_CARD, DemoCustomer
from config.roles import SIGN_INS, create_sign_ins, sync_roles
from promotions.operations import issue_grant

CATALOGUE = Path(__file__).parent / "catalogue.yaml"
ACTOR = "service:demo"
CURRENCY = "USD"
# Requests to Stripe that wait at the same time; more only queue up at the sandbox, which is one process.
FOUNDERS = 3


class UnknownPlan(DemoFailed):
    """The world names a plan that the catalogue does not publish."""


def create_people() -> Mapping[str, tuple[str, str]]:
    """Create one user per role with a password made now; return {role: (username, password)}."""
    sync_roles()
    passwords = {sign_in.role: token_urlsafe(12) for sign_in in SIGN_INS}
    create_sign_ins(passwords=passwords)
    return {sign_in.role: (sign_in.username, passwords[sign_in.role]) for sign_in in SIGN_INS}


def create_api_key() -> str:
    """Return a new key that may send usage; only its hash is kept."""
    _, key = ApiKey.objects.create_key(name="demo edge fleet", scopes=[Scope.USAGE_WRITE])
    return str(key)


def prepare_catalogue(*, site_address: str) -> None:
    """Load the catalogue with its meters, and make it known to Stripe."""
    load_catalog(read_yaml(CATALOGUE.read_text(encoding="utf-8")), now=clock.now())
    set_up_endpoint(base_url=site_address)
    sync_catalog_to_stripe(now=clock.now())


def found_customers(world: list[DemoCustomer], *, month: Month, bar: Bar) -> None:
    """Create every customer with its grants and subscription, and start the subscription at Stripe, which charges."""
    created = create_customers(
        customers=[
            NewCustomer(
                customer_key=customer.customer_key, name=customer.name, email=customer.email, kind=customer.kind,
                currency=CURRENCY, created_at=month.starts_at,
            )
            for customer in world
        ],
        actor=ACTOR,
    )  # fmt: skip
    for customer in world:
        _issue_grants(customer)
    plan_versions = {code: _plan_version(code) for code in {customer.plan_code for customer in world}}

    def subscribe(start: int) -> None:
        try:
            for customer, row in islice(zip(world, created, strict=True), start, None, FOUNDERS):
                offered = offered_version(plan_code=customer.plan_code, customer=row)
                _subscribe(customer, row, offered or plan_versions[customer.plan_code], month)
                bar.advance()
        finally:
            # Each thread has a connection of its own, and only the thread itself may close it.
            connections.close_all()

    with ThreadPoolExecutor(FOUNDERS, "founder") as pool:
        for done in [pool.submit(subscribe, start) for start in range(FOUNDERS)]:
            done.result()


def _plan_version(plan_code: str) -> PlanVersion:
    version = catalog.published_plan_version(plan_code)
    if version is None:
        message = f"catalogue.yaml publishes no plan {plan_code}."
        raise UnknownPlan(message)
    return version


def _subscribe(customer: DemoCustomer, row: Customer, plan_version: PlanVersion, month: Month) -> None:
    subscription = create_subscription(
        customer=row, plan_version=plan_version, seats=customer.seats, starts_at=month.starts_at, actor=ACTOR
    )
    start_at_stripe(subscription_id=subscription.pk, payment_method=GOOD_CARD, now=clock.now())
    if customer.card != GOOD_CARD:
        # The first payment succeeded; the card on file is replaced before the month ends.
        key = f"demo:{customer.customer_key}:card"
        use_payment_method(customer_id=row.pk, payment_method=customer.card, idempotency_key=key, now=clock.now())


def _issue_grants(customer: DemoCustomer) -> None:
    for number, grant in enumerate(customer.grants, start=1):
        issue_grant(
            customer_key=customer.customer_key,
            kind=grant.kind,
            name=grant.name,
            amount=grant.amount,
            currency=CURRENCY,
            effective_at=grant.effective_at,
            expires_at=grant.expires_at,
            reason=grant.reason,
            actor=ACTOR,
            idempotency_key=f"demo:{customer.customer_key}:{number}",
            recorded_at=clock.now(),
        )
