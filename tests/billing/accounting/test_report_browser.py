"""
Finance's reports in a real browser, narrow and wide, empty and full: nothing is refused by the content security policy,
the chart is drawn, and no page is wider than the screen.
"""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from tests.billing.accounting.books import months_of_receivables
from tests.browser import PASSWORD, visiting
from tests.factories import CreditGrantFactory
from tests.processes import WebServer

AT = "?before=2027-01-01T00:00:00&known_at=2027-01-02T00:00:00"


@pytest.fixture(params=["empty", "full"])
def books(request: pytest.FixtureRequest, committed_db: None) -> str:
    """Written before the browser starts: its event loop would forbid database calls."""
    User.objects.create_superuser("root", password=PASSWORD)
    if request.param == "full":
        customers = months_of_receivables()
        customers["acme"].name = "A customer with a rather long name, Incorporated and Sons (Holding) GmbH & Co. KG"
        customers["acme"].save(update_fields=["name"])
        CreditGrantFactory(customer_key="acme", name="Welcome credit of the spring campaign, second wave")
    return str(request.param)


def test_reports_work_and_fit(books: str, web_process: WebServer) -> None:
    reports = {name: f"{reverse(f'reports:{name}')}{AT}" for name in ("ageing", "credit", "income")}
    with visiting(web_process.address) as visitor:
        visitor.sign_in("root")
        charts = visitor.tour(reports)
        visitor.go(reports["ageing"])
        visitor.page.fill("#id_customer", "zeta")
        visitor.follow("form.lg-span button")
        asked = visitor.page.url

    # Revenue has a chart for each currency.
    expected = {"ageing": 1, "credit": 1, "income": 2} if books == "full" else {"ageing": 0, "credit": 0, "income": 0}
    assert (visitor.complaints, visitor.too_wide, charts) == ([], {}, expected)
    assert "customer=zeta" in asked
