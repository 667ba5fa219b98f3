"""The published catalogue exists at Stripe, once."""

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from billing.catalog.models import Plan, PlanVersion
from billing.catalog.operations import sync_catalog_to_stripe
from billing.stripe import gateway
from billing.stripe.errors import OutboxInsideTransaction, StripeUnavailable
from tests.factories import OCTOBER, PlanFactory, PlanVersionFactory
from tests.sandbox.client import SandboxProcess

pytestmark = pytest.mark.usefixtures("committed_db")


def test_creates_a_product_and_a_monthly_price_for_each_seat(at_sandbox: SandboxProcess) -> None:
    plan = PlanFactory(code="pro", name="Pro")
    PlanVersionFactory(plan=plan, version=1, fee_minor=2000)
    PlanVersionFactory(plan=plan, version=2, fee_minor=0)
    PlanVersionFactory(is_draft=True)

    assert sync_catalog_to_stripe(now=OCTOBER) == 3

    plan.refresh_from_db()
    product = gateway.retrieve(f"/v1/products/{plan.stripe_product_id}")
    assert (product["name"], product["metadata"]["plan"]) == ("Pro", "pro")
    prices = [gateway.retrieve(f"/v1/prices/{v.stripe_price_id}") for v in plan.versions.order_by("version")]
    assert [(p["product"], p["currency"], p["unit_amount"], p["recurring"]["interval"]) for p in prices] == [
        (plan.stripe_product_id, "usd", 2000, "month"),
        (plan.stripe_product_id, "usd", 0, "month"),
    ]
    assert PlanVersion.objects.get(status="draft").stripe_price_id is None
    assert at_sandbox.problems() == []


def test_said_twice_is_done_once(at_sandbox: SandboxProcess) -> None:
    PlanVersionFactory()

    assert sync_catalog_to_stripe(now=OCTOBER) == 2
    assert sync_catalog_to_stripe(now=OCTOBER) == 0
    assert len(at_sandbox.state()["product"]) == len(at_sandbox.state()["price"]) == 1


def test_goes_on_where_a_failure_left_it(at_sandbox: SandboxProcess) -> None:
    PlanVersionFactory()
    # More often than the client itself tries again.
    at_sandbox.fault(mode="error_500", operation="POST /v1/prices", times=5)
    with pytest.raises(StripeUnavailable):
        sync_catalog_to_stripe(now=OCTOBER)
    assert Plan.objects.get().stripe_product_id is not None
    at_sandbox.clear_faults()

    assert sync_catalog_to_stripe(now=OCTOBER) == 1

    assert len(at_sandbox.state()["product"]) == len(at_sandbox.state()["price"]) == 1


def test_inside_a_transaction_is_refused(at_sandbox: SandboxProcess) -> None:
    PlanVersionFactory()

    with pytest.raises(OutboxInsideTransaction), transaction.atomic():
        sync_catalog_to_stripe(now=OCTOBER)


def test_the_command_says_what_it_made_and_what_stripe_refused(
    at_sandbox: SandboxProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    PlanVersionFactory()
    at_sandbox.fault(operation="POST /v1/products", mode="error_500", times=9)

    with pytest.raises(CommandError, match="500"):
        call_command("sync_catalog")
    at_sandbox.clear_faults()
    call_command("sync_catalog")

    assert capsys.readouterr().out.strip() == "2 products and prices created at Stripe."
