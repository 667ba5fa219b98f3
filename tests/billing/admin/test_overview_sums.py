"""The sums of the overview over all invoices and open periods: added up once a minute for everybody."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from billing import overview
from config import clock
from tests.billing.test_at_size import invoice
from tests.factories import CustomerFactory

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def look(admin_user: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], dict[str, Any]]:
    cache.clear()

    def at(now: datetime) -> dict[str, Any]:
        monkeypatch.setattr(clock, "now", lambda: now)
        request = RequestFactory().get("/")
        request.user = admin_user
        return overview.add_figures(request, {})

    return at


def test_sums_over_all_time_are_added_up_once_a_minute_and_say_of_when_they_are(
    look: Callable[[datetime], dict[str, Any]],
) -> None:
    customer = CustomerFactory()
    invoice(customer, 1)
    first = look(NOW)["money_figures"]
    assert [(one.name, one.value) for one in first][:1] == [("Invoiced", "$7.00")]
    assert first[0].note == "1 invoice, as of 12:00 UTC"

    invoice(customer, 2)
    with CaptureQueriesContext(connection) as asked:
        assert look(NOW + timedelta(seconds=30))["money_figures"] == first
    read = " ".join(one["sql"] for one in asked)
    assert "SUM(" in read
    assert '("billing_usageaccrual"."rated")' not in read
    assert '("billing_invoice"."total_minor")' not in read
    cache.clear()
    again = look(NOW + timedelta(minutes=2))["money_figures"]
    assert (again[0].value, again[0].note) == ("$14.00", "2 invoices, as of 12:02 UTC")
