"""Usage over time: the chart and the figures are the windows', in any zone, of one customer and of all."""

import csv
import html
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from metering import operations
from metering.models import AggregationWindow
from tests.metering.usage import MORNING, NOW, OCTOBER, event, ingest

pytestmark = pytest.mark.usefixtures("metered")
OCTOBER_BY_DAY: dict[str, Any] = {"meter": "input_tokens", "by": "day", "from": "2026-10-01", "before": "2026-11-01"}


def page(client: Client, customer: str | None = "acme", status: int = 200, **query: Any) -> Any:
    answer = client.get(address(customer), query)
    assert answer.status_code == status
    return answer


def address(customer: str | None, kind: str = "usage") -> str:
    if customer is None:
        return reverse(f"admin:metering_{kind}")
    return reverse(f"admin:metering_customer_{kind}", args=[customer])


def rows_of(answer: Any) -> dict[str, tuple[Decimal, ...]]:
    return {line.label: line.values for line in answer.context["shown"].lines if line.events}


def file_of(client: Client, customer: str | None = "acme", **query: str) -> list[dict[str, str]]:
    answer: Any = client.get(address(customer, "usage_file"), query)
    assert answer.status_code == 200
    return list(csv.DictReader(b"".join(answer.streaming_content).decode().splitlines()))


@pytest.fixture
def _usage(metered: None) -> None:
    ingest(
        event("e1"),
        event("e2", time=MORNING + timedelta(minutes=30), data={"model": "claude-opus-5", "input_tokens": 7}),
        event("e3", time=MORNING + timedelta(hours=13, minutes=30), data={"input_tokens": Decimal("0.5")}),
        event("e4", subject="beta", data={"input_tokens": 1_000}),
        event("e5", time=datetime(2026, 10, 19, tzinfo=UTC), data={"input_tokens": 3, "model": None}),
    )
    operations.catch_up_windows(now=NOW)


@pytest.mark.usefixtures("_usage")
class TestACustomer:
    def test_sees_each_day_stacked_by_model(self, staff: Client) -> None:
        answer = page(staff, **OCTOBER_BY_DAY, group="model")
        shown = answer.context["shown"]

        assert set(shown.series) == {"claude-sonnet-5", "claude-opus-5", "(none)"}
        assert len(shown.lines) == 31
        day = dict(zip(shown.series, rows_of(answer)["Sat 03 Oct"], strict=True))
        assert day == {"claude-sonnet-5": Decimal("100.5"), "claude-opus-5": 7, "(none)": 0}
        assert dict(zip(shown.series, shown.sums, strict=True))["(none)"] == 3
        drawn = json.loads(shown.chart.data)
        assert {tuple(of["data"])[2] for of in drawn["datasets"]} == {"100.500000000000", "7.000000000000", None}

    def test_sees_days_of_the_zone_and_hours_of_its_clock(self, staff: Client) -> None:
        by_day = page(staff, **OCTOBER_BY_DAY, group="", zone="Asia/Kolkata")
        # 23:30 of UTC is the next morning there; 10:00 is 15:30, which windows of whole hours do not tell apart.
        assert rows_of(by_day) == {"Sat 03 Oct": (107,), "Sun 04 Oct": (Decimal("0.5"),), "Mon 19 Oct": (3,)}

        by_hour = page(
            staff, **{**OCTOBER_BY_DAY, "by": "hour", "from": "2026-10-03", "before": "2026-10-04"}, zone="Asia/Kolkata"
        )
        assert {label: sum(of) for label, of in rows_of(by_hour).items()} == {"03 Oct 15:00": 100, "03 Oct 16:00": 7}

    def test_sees_the_hour_that_the_clock_shows_twice_as_two(self, staff: Client) -> None:
        ingest(
            *(event(f"h{hour}", time=datetime(2026, 10, 25, hour, tzinfo=UTC)) for hour in (0, 1)), received_at=_LATER
        )
        operations.catch_up_windows(now=_LATER)
        query = {**OCTOBER_BY_DAY, "by": "hour", "from": "2026-10-25", "before": "2026-10-26", "zone": "Europe/Berlin"}

        answer = page(staff, **query)

        assert set(rows_of(answer)) == {"25 Oct 02:00 +0200", "25 Oct 02:00 +0100"}
        assert len(answer.context["shown"].lines) == 25

    def test_reaches_the_windows_that_a_figure_is_made_of(self, staff: Client) -> None:
        (line,) = [of for of in page(staff, **OCTOBER_BY_DAY).context["shown"].lines if of.label == "Sat 03 Oct"]

        listed = staff.get(line.url).context["cl"].result_list

        assert sum(window.quantity for window in listed) == sum(line.values)
        assert {window.customer_key for window in listed} == {"acme"}

    def test_without_a_span_sees_the_month_of_the_latest_usage(self, staff: Client) -> None:
        shown = page(staff).context["asked"]

        assert (shown.start, shown.end) == (OCTOBER, datetime(2026, 11, 1, tzinfo=UTC))

    def test_turns_to_the_month_beside(self, staff: Client) -> None:
        answer = page(staff, **OCTOBER_BY_DAY)

        earlier = staff.get(address("acme") + "?" + answer.context["earlier"]).context["asked"]
        assert (earlier.start, earlier.end) == (datetime(2026, 9, 1, tzinfo=UTC), OCTOBER)

    def test_has_the_same_figures_in_a_file(self, staff: Client) -> None:
        rows = file_of(staff, **OCTOBER_BY_DAY, group="model")

        assert [(row["from (UTC)"][:10], row["model"], row["quantity"], row["events"]) for row in rows] == [
            ("2026-10-03", "claude-opus-5", "7.000000000000", "1"),
            ("2026-10-03", "claude-sonnet-5", "100.500000000000", "2"),
            ("2026-10-19", "", "3.000000000000", "1"),
        ]
        assert {row["customer"] for row in rows} == {"acme"}

    def test_of_a_whole_year_by_hour_is_told_that_it_cannot_be_drawn(self, staff: Client) -> None:
        year = {**OCTOBER_BY_DAY, "by": "hour", "from": "2026-01-01", "before": "2027-01-01"}

        answer = page(staff, **year)

        assert answer.context["shown"].chart is None
        assert "8760 bars are too many to draw" in answer.content.decode()
        assert len(file_of(staff, **year, group="model")) == 4
        assert "ask for a shorter range" in page(staff, status=422, **{**year, "from": "2020-01-01"}).content.decode()


_LATER = datetime(2026, 10, 26, tzinfo=UTC)


@pytest.mark.usefixtures("_usage")
class TestAllCustomers:
    def test_are_added_up(self, staff: Client) -> None:
        answer = page(staff, None, **OCTOBER_BY_DAY, group="")

        assert rows_of(answer) == {"Sat 03 Oct": (Decimal("1107.5"),), "Mon 19 Oct": (3,)}
        total = sum(window.quantity for window in AggregationWindow.objects.filter(meter__code="input_tokens"))
        assert answer.context["shown"].sums == (total,)
        assert {row["customer"] for row in file_of(staff, None, **OCTOBER_BY_DAY)} == {"everything"}

    def test_are_refused_what_whole_hours_cannot_tell(self, staff: Client) -> None:
        assert "whole hours" in page(staff, None, 422, **OCTOBER_BY_DAY, zone="Asia/Kolkata").content.decode()
        cut = {**OCTOBER_BY_DAY, "before": "2026-10-03 10:00:00.000001"}
        assert "whole hours" in page(staff, None, 422, **cut).content.decode()

    def test_are_refused_a_meter_that_does_not_add_up(self, staff: Client) -> None:
        operations.define_meter(
            code="peak",
            event_type="llm.request",
            value_path="data.input_tokens",
            aggregation="max",
            dimensions=["model"],
            unit="token",
        )
        ingest(event("p1", data={"input_tokens": 5}), event("p2", data={"input_tokens": 9}))
        operations.catch_up_windows(now=NOW)
        query = {**OCTOBER_BY_DAY, "meter": "peak"}

        assert "does not add up over customers" in html.unescape(page(staff, None, 422, **query).content.decode())
        of_one = page(staff, **query)
        assert rows_of(of_one) == {"Sat 03 Oct": (9,)}
        assert of_one.context["shown"].sums is None


def test_a_meter_with_many_values_is_drawn_with_the_smallest_as_one(staff: Client) -> None:
    ingest(*(event(f"m{n}", data={"model": f"model {n:02}", "input_tokens": n + 1}) for n in range(12)))
    operations.catch_up_windows(now=NOW)

    shown = page(staff, **OCTOBER_BY_DAY, group="model").context["shown"]

    assert shown.series[:2] == ("model 11", "model 10")
    assert (shown.series[-1], shown.sums[-1]) == ("others", 1 + 2 + 3 + 4)
    assert len(file_of(staff, **OCTOBER_BY_DAY, group="model")) == 12


def test_what_somebody_sent_is_no_formula_in_a_file(staff: Client) -> None:
    ingest(event("f", data={"model": '=HYPERLINK("http://x")'}))
    operations.catch_up_windows(now=NOW)

    (row,) = file_of(staff, **OCTOBER_BY_DAY, group="model")
    assert row["model"] == '\'=HYPERLINK("http://x")'


@pytest.mark.parametrize("customer", ["acme", "nobody", None])
def test_without_usage_the_page_says_so(staff: Client, customer: str | None) -> None:
    assert "No usage of this meter in this time." in page(staff, customer).content.decode()


def test_usage_needs_its_permission(may: Any) -> None:
    reader = may("view_usageevent")
    for customer in ("acme", None):
        for kind in ("usage", "usage_file"):
            assert reader.get(address(customer, kind)).status_code == 403
