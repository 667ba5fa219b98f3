"""The catalogue's pages in a real browser, narrow and wide: nothing refused, nothing too wide, and a draft written."""

from copy import deepcopy

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from billing.catalog.models import Plan, PlanVersion, RateCard
from billing.catalog.operations import load_catalog
from tests.billing.catalog.full import document
from tests.browser import PASSWORD, visiting
from tests.factories import OCTOBER, CustomerFactory, PlanVersionFactory, SubscriptionFactory
from tests.processes import WebServer

LONG = "A name that somebody made rather long because the contract said so, and nobody shortened it afterwards " * 2


def _much() -> dict[str, object]:
    """The full document with many models, many tiers and names as long as they may be."""
    catalog = deepcopy(document())
    public = catalog["rate_cards"][0]
    public["models"] += [
        {"model": f"model-{number}-{'x' * 60}", "rates": {"input_tokens": "1.234567890123", "output_tokens": "9"}}
        for number in range(20)
    ]
    tiers = [{"up_to": str(10**number), "unit_price": f"0.{number}"} for number in range(1, 10)]
    public["rates"].append(
        {
            "meter_code": "pages",
            "charge_model": "volume",
            "terms": {"tiers": [*tiers, {"up_to": None, "unit_price": "0"}]},
        }
    )
    catalog["plans"][0]["name"] = LONG[:200]
    catalog["plans"][0]["versions"][2]["allowances"][0]["name"] = LONG[:200]
    return catalog


@pytest.fixture
def addresses(committed_db: None) -> dict[str, str]:
    """The pages to look at. Written before the browser starts: its event loop would forbid database calls."""
    User.objects.create_superuser("root", password=PASSWORD)
    empty = PlanVersionFactory(is_draft=True, included_amount=0, fee_minor=0)
    load_catalog(_much(), now=OCTOBER)
    plan = Plan.objects.get(code="pro")
    first = PlanVersion.objects.get(plan=plan, version=1, currency="USD")
    for number in range(12):
        customer = CustomerFactory(customer_key=f"c{number}", name=LONG[: 20 + number * 10])
        SubscriptionFactory(customer=customer, plan_version=first)
    return {
        "plans": reverse("admin:billing_plan_changelist"),
        "plan": reverse("admin:billing_plan_change", args=[plan.pk]),
        "versions": reverse("admin:billing_planversion_changelist"),
        "version": reverse("admin:billing_planversion_change", args=[first.pk]),
        "draft": reverse("admin:billing_planversion_change", args=[PlanVersion.objects.get(version=2).pk]),
        "empty": reverse("admin:billing_planversion_change", args=[empty.pk]),
        "card": reverse("admin:billing_ratecard_change", args=[RateCard.objects.get(code="public").pk]),
        "contract": reverse("admin:billing_ratecard_change", args=[RateCard.objects.get(code="acme").pk]),
        "new": reverse("admin:billing_plan_new"),
        "edit": f"{reverse('admin:billing_plan_edit', args=[plan.pk])}?from={first.pk}",
    }


def test_pages_work_and_fit(addresses: dict[str, str], web_process: WebServer) -> None:
    with visiting(web_process.address) as visitor:
        visitor.sign_in("root")
        visitor.tour(addresses)
        page = visitor.page
        text = page.input_value("#id_text")
        page.fill("#id_text", text.replace("fee_minor: 2000", "fee_minor: 1500", 1))
        visitor.follow("text=See what would change")
        visitor.look("refused")
        refused = page.inner_text(".bb-errors >> nth=0")
        page.fill("#id_text", text)
        visitor.follow("text=See what would change")
        visitor.look("would change")
        visitor.follow("text=Write 1 change as shown")
        visitor.look("written")
        written = page.inner_text("body")

    # The browser itself reports a page that answers 422; nothing else is complained of.
    assert [said for said in visitor.complaints if "422" not in said] == []
    assert visitor.too_wide == {}
    assert "its terms cannot change" in refused
    assert "+ plan pro v3 USD" in written
