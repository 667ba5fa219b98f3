"""The public cases of pricing, rounding, proration and periods come out as stated, or a decision says why not."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from metering import operations as metering
from metering import queries
from tests.billing.cases.decisions import decided
from tests.billing.cases.judging import ADAPTERS, outcome, outcomes
from tests.billing.cases.pricing import ADAPTERS as PRICING
from tests.billing.cases.reader import FILE, Case, Verdict, agrees, judge, read_cases, table
from tests.factories import CustomerFactory

# Those that this project's issue on pricing names; the others are told by the table.
AREAS = (
    "graduated", "volume", "package", "percentage", "blocks", "buckets", "tokens", "rounding", "proration", "periods",
    "events",
)  # fmt: skip
NOON = datetime(2026, 10, 5, 12, tzinfo=UTC)


@pytest.mark.skipif(not FILE.exists(), reason="../shared/data/cases is absent")
class TestPublicCases:
    @pytest.mark.parametrize("case", read_cases(), ids=lambda case: case.id)
    def test_is_reproduced_or_explained(self, case: Case) -> None:
        told = outcome(case)

        assert told.verdict not in (Verdict.FAILED, Verdict.UNKNOWN), told.because

    def test_nearly_all_of_pricing_is_reproduced_and_not_explained(self) -> None:
        told = [one for one in outcomes() if one.case.area in AREAS]
        calcs = {verdict: {one.case.calc for one in told if one.verdict is verdict} for verdict in Verdict}
        ours = [one for one in told if one.verdict not in (Verdict.LATER, Verdict.ELSEWHERE)]

        assert calcs[Verdict.LATER] <= {"limit_resolution"}, table(told)
        assert calcs[Verdict.ELSEWHERE] <= {"dedupe"}, table(told)
        assert sum(one.verdict is Verdict.REPRODUCED for one in ours) * 20 >= len(ours) * 19, table(told)


PAYMENTS: dict[str, Any] = {"rate_percent": "1.3", "fixed_per_event": "2", "events": ["50", "100", "250", "400"]}
BOUNDED: dict[str, Any] = {
    "rate_percent": "2.99",
    "fixed_per_event": "0",
    "events": ["10", "80", "10000"],
    "min_per_event": "1.75",
    "max_per_event": "12",
}
SEATS = [{"up_to": "5", "unit_price": "10", "flat": "100"}, {"up_to": None, "unit_price": "5", "flat": "50"}]
SHARES = [{"up_to": "10", "rate_percent": "1", "flat": "200"}, {"up_to": None, "rate_percent": "2", "flat": "300"}]
STEPS = [
    {"up_to": "5", "unit_price": "0", "flat": "100"},
    {"up_to": "10", "unit_price": "0", "flat": "50"},
    {"up_to": None, "unit_price": "5", "flat": "0"},
]
TENS = {"package_size": "10", "package_price": "15"}
BLOCKS = [
    {"block_size": "100", "max_blocks": "10", "price_per_block": "1"},
    {"block_size": "1000", "max_blocks": "100", "price_per_block": "1"},
    {"block_size": "1000", "max_blocks": "-1", "price_per_block": "0.5"},
]


@pytest.mark.parametrize(
    ("calc", "given", "amount"),
    [
        # Free events and a free total: what comes first ends it, and an event that is free in part pays its fee.
        ("percentage", {**PAYMENTS, "free_events": 3, "free_total": "250"}, "11.15"),
        ("percentage", {**PAYMENTS, "free_events": None, "free_total": "250"}, "11.15"),
        ("percentage", {**PAYMENTS, "free_events": 3, "free_total": None}, "7.2"),
        ("percentage", PAYMENTS, "18.4"),
        ("percentage", {**PAYMENTS, "free_events": 5}, "0"),
        ("percentage", {**PAYMENTS, "events": ["0", "0"]}, "0"),
        ("percentage", {**PAYMENTS, "events": []}, "0"),
        ("percentage", {**BOUNDED, "fixed_per_event": "2.0"}, "18.691"),
        ("percentage", {**BOUNDED, "free_events": 2}, "12"),
        ("percentage", {**BOUNDED, "free_total": "30"}, "13.794"),
        ("percentage", {**BOUNDED, "free_events": 3, "free_total": "10000"}, "2.691"),
        ("graduated_percentage", {"tiers": SHARES, "quantity": "0"}, "0"),
        # Units that come and go within a period.
        ("prorated_graduated", {"tiers": SEATS, "event_units": [], "event_prorated_units": []}, "100"),
        ("prorated_graduated", {"tiers": SEATS, "event_units": [1], "event_prorated_units": ["0.7"]}, "107"),
        (
            "prorated_graduated",
            {"tiers": SEATS, "event_units": [4, 2, -3], "event_prorated_units": ["2.8", "1", "-0.6"]},
            "180.5",
        ),
        (
            "prorated_graduated",
            {
                "tiers": SEATS,
                "event_units": [1, 4, 1, -5, -1],
                "event_prorated_units": ["0.7097", "1.54839", "0.2258", "-0.80645", "-0.0645"],
            },
            "165.81",
        ),
        # Parts of a period.
        ("graduated_split", {"tiers": STEPS, "prior_quantity": "0", "quantity": "12"}, "160"),
        ("graduated_split", {"tiers": STEPS, "prior_quantity": "0", "quantity": "0", "final": True}, "0"),
        (
            "graduated_split",
            {
                "tiers": STEPS,
                "prior_quantity": "0",
                "quantity": "0",
                "final": True,
                "minimum": "1000",
                "prior_billed": "100",
            },
            "900",
        ),
        ("graduated_split", {"tiers": STEPS, "prior_quantity": "2", "quantity": "0", "minimum": "1000"}, "0"),
        (
            "package_split",
            {**TENS, "prior_quantity": "60", "quantity": "50", "maximum": "100", "prior_billed": "90"},
            "10",
        ),
        ("package_split", {**TENS, "prior_quantity": "0", "quantity": "5"}, "15"),
        ("package", {**TENS, "quantity": "0", "minimum": "100"}, "100"),
        ("blocks", {"mode": "ALL_TIERS", "tiers": BLOCKS[:2], "quantity": "5325"}, "15"),
        ("blocks", {"mode": "TOP_TIER", "tiers": BLOCKS, "quantity": "101000"}, "101"),
        ("blocks", {"mode": "TOP_TIER", "tiers": BLOCKS, "quantity": "300000"}, "150"),
        ("blocks", {"mode": "ALL_TIERS", "tiers": BLOCKS[:1], "quantity": "199", "already_billed": "1"}, "1"),
        ("percent_of", {"amount": "10.005", "percent": "100", "scale": 2, "mode": "half_up"}, "10.01"),
        ("percent_of", {"amount": "10.5", "percent": "100", "scale": 0, "mode": "half_up"}, "11"),
    ],
)
def test_cases_beside_the_stated_ones_come_out_too(calc: str, given: dict[str, Any], amount: str) -> None:
    """What the same peers' tests say of variants that the file does not hold."""
    assert PRICING[calc](given)["amount"] == Decimal(amount)


@pytest.mark.usefixtures("committed_db")
class TestEventsOfSeveralSources:
    @pytest.mark.parametrize("case", [case for case in read_cases() if case.calc == "dedupe"], ids=lambda case: case.id)
    def test_are_counted_once_by_source_and_id(self, case: Case) -> None:
        CustomerFactory(customer_key="acme")
        metering.define_meter(
            code="units", event_type="case", value_path="data.qty", aggregation="sum", dimensions=[], unit="unit"
        )
        events = [
            metering.UsageEventInput(
                id=one["id"],
                source=one["source"],
                type="case",
                subject="acme",
                time=NOON,
                data={"qty": Decimal(one["qty"])},
            )
            for one in case.given["events"]
        ]

        accepted = sum(metering.ingest_events([event], received_at=NOON).accepted for event in events)
        metering.catch_up_windows(now=NOON)
        counted = queries.windows_between("acme", NOON.replace(minute=0), NOON.replace(hour=13))

        assert accepted == case.expected["accepted"]
        assert sum(window.quantity for window in counted) == Decimal(case.expected["sum"])


class TestHarness:
    """The count itself can fail."""

    def told(self, given: dict[str, Any], expected: dict[str, Any], calc: str = "package") -> Verdict:
        case = Case("test-001", "test", calc, given, expected, "")
        return judge(case, ADAPTERS, decided=decided, elsewhere={"far": "there"}, later={"soon": "then"}).verdict

    def test_tells_a_wrong_figure(self) -> None:
        given = {"package_size": "10", "package_price": "15", "quantity": "11"}

        assert self.told(given, {"amount": "30.00"}) is Verdict.REPRODUCED
        assert self.told(given, {"amount": "30.01"}) is Verdict.FAILED
        assert self.told(given, {"amount": "30", "packages": "2"}) is Verdict.FAILED

    def test_tells_what_it_cannot_read_and_does_not_know(self) -> None:
        assert self.told({"nonsense": True}, {"amount": "1"}) is Verdict.FAILED
        assert self.told({}, {}, calc="unheard of") is Verdict.UNKNOWN
        assert self.told({}, {}, calc="far") is Verdict.ELSEWHERE
        assert self.told({}, {}, calc="soon") is Verdict.LATER

    def test_names_the_decision_only_where_the_figure_differs(self) -> None:
        tiers = [{"up_to": None, "unit_price": "1", "flat": "5"}]

        def told(quantity: str, amount: str) -> Verdict:
            case = Case("test", "volume", "volume", {"tiers": tiers, "quantity": quantity}, {"amount": amount}, "")
            return judge(case, ADAPTERS, decided=decided, elsewhere={}, later={}).verdict

        assert told("-5", "0") is Verdict.DIFFERS
        assert told("-5", "5") is Verdict.REPRODUCED
        assert told("5", "0") is Verdict.FAILED

    @pytest.mark.parametrize(
        ("expected", "actual", "is_same"),
        [
            ("1.50", Decimal("1.5"), True),
            (3, "3", True),
            (["0", "2"], [Decimal(0), Decimal(2)], True),
            (["0", "2"], [Decimal(2), Decimal(0)], False),
            (["0"], [Decimal(0), Decimal(0)], False),
            ({"g1": "0"}, {"g1": Decimal(0), "g2": Decimal(1)}, True),
            ({"g1": "0"}, {}, False),
            (True, 1, False),
            (None, "0", False),
            ("2024-02-29", "2024-02-29", True),
            ("2024-02-29", "2024-02-28", False),
        ],
    )
    def test_compares_by_value(self, expected: Any, actual: Any, is_same: bool) -> None:
        assert agrees(expected, actual) is is_same
