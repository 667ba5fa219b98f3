"""The demo's last line, its identities, and the options it takes from the environment."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billing.reconciliation.figures import Figures
from config.demo.options import BadOption, read_options
from config.demo.summary import Outcome, Proved, as_json, failures, money

FIGURES = Figures(
    events=1_000,
    conflicts=5,
    quarantined=4,
    windows=300,
    rated=Decimal("100.000000000001"),
    included=Decimal(60),
    credited=Decimal("10.5"),
    billed=Decimal("29.500000000001"),
    invoiced=Decimal("129.50"),
    collected=Decimal(100),
    open=Decimal(29),
    moved_to_balance=Decimal("0.50"),
    credit_notes=Decimal(0),
    written_off=Decimal(0),
)
OUTCOME = Outcome(
    figures=FIGURES,
    acknowledged=1_000,
    duplicates=12,
    entries=50,
    out_of_balance=0,
    checked=2_000,
    discrepancies=0,
    proved=Proved(customers=9, pays_now=Decimal("180.5"), would_pay=Decimal(200), failures=0, not_as_posted=0),
    seconds={"usage": 1.5},
)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


class TestFailures:
    def test_there_are_none_when_everything_adds_up(self) -> None:
        assert failures(OUTCOME) == []

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("rated", "rated 100.000000000002 is not included"),
            ("included", "which is 100.000000000002"),
            ("billed", "which is 100.000000000002"),
            ("credited", "which is 100.000000000002"),
        ],
    )
    def test_a_millionth_of_a_millionth_breaks_the_first_identity(self, name: str, said: str) -> None:
        parted = replace(FIGURES, **{name: getattr(FIGURES, name) + Decimal("0.000000000001")})

        (sentence,) = failures(replace(OUTCOME, figures=parted))

        assert said in sentence

    @pytest.mark.parametrize(
        "name", ["invoiced", "collected", "open", "moved_to_balance", "credit_notes", "written_off"]
    )
    def test_a_cent_breaks_the_second_identity(self, name: str) -> None:
        parted = replace(FIGURES, **{name: getattr(FIGURES, name) + Decimal("0.01")})

        (sentence,) = failures(replace(OUTCOME, figures=parted))

        assert "is not collected + open + moved_to_balance + credit_notes + written_off" in sentence

    def test_an_acknowledged_event_that_is_not_stored_is_a_failure(self) -> None:
        assert failures(replace(OUTCOME, acknowledged=1_001)) == ["1001 events were acknowledged, 1000 are stored."]

    def test_reconciliation_and_ledger_are_asked(self) -> None:
        sentences = failures(replace(OUTCOME, discrepancies=2, out_of_balance=1))

        assert [sentence.split()[0:2] for sentence in sentences] == [["1", "journal"], ["Reconciliation", "found"]]

    def test_the_backtest_is_asked(self) -> None:
        parted = replace(OUTCOME.proved, failures=3, not_as_posted=2)

        assert failures(replace(OUTCOME, proved=parted)) == [
            "The backtest could not compare 3 periods, and rates 2 otherwise than accrual did."
        ]


class TestLastLine:
    def test_has_exactly_the_keys_people_rely_on(self) -> None:
        line = as_json(OUTCOME)

        assert "\n" not in line
        assert json.loads(line) == {
            "events": {"accepted": 1_000, "duplicates": 12, "conflicts": 5, "quarantined": 4},
            "windows": 300,
            "rated": "100.000000000001",
            "included": "60.00",
            "credited": "10.50",
            "billed": "29.500000000001",
            "invoiced": "129.50",
            "collected": "100.00",
            "open": "29.00",
            "moved_to_balance": "0.50",
            "credit_notes": "0.00",
            "written_off": "0.00",
            "ledger": {"entries": 50, "out_of_balance": 0},
            "reconciliation": {"checked": 2_000, "discrepancies": 0},
            "seconds": {"usage": 1.5},
        }

    @pytest.mark.parametrize(
        ("amount", "text"),
        [
            ("0", "0.00"),
            ("-0.1", "-0.10"),
            ("1E+3", "1000.00"),
            ("12.340000000000", "12.34"),
            ("0.000000000001", "0.000000000001"),
        ],
    )
    def test_money_is_text_without_exponent(self, amount: str, text: str) -> None:
        assert money(Decimal(amount)) == text


class TestOptions:
    def test_the_defaults_are_the_last_complete_month_and_staying_up(self) -> None:
        options = read_options({}, now=NOW)

        assert (options.once, options.seed, options.port, str(options.month)) == (False, 1, None, "2026-10")

    def test_reads_what_is_set(self) -> None:
        environment = {"ONCE": "1", "SEED": "7", "CUSTOMERS": "30", "MONTH": "2026-02", "PORT": "9000"}

        options = read_options(environment, now=NOW)

        assert (options.once, options.seed, options.customers, options.port) == (True, 7, 30, 9000)
        assert str(options.month) == "2026-02"

    @pytest.mark.parametrize("name", ["SEED", "CUSTOMERS", "PORT"])
    @pytest.mark.parametrize("text", ["many", "-1", "1.5", "９", "99999999999"])
    def test_a_bad_number_is_refused_by_name(self, name: str, text: str) -> None:
        with pytest.raises(BadOption, match=f"^{name} must be a whole number"):
            read_options({name: text}, now=NOW)

    @pytest.mark.parametrize("month", ["2026-11", "2027-01"])
    def test_a_month_that_is_not_over_is_refused(self, month: str) -> None:
        with pytest.raises(BadOption, match=r"is not over yet.*Choose 2026-10"):
            read_options({"MONTH": month}, now=NOW)

    @pytest.mark.parametrize("base", ["", "http://127.0.0.1:9"])
    @pytest.mark.parametrize("key", ["sk_live_abc", "rk_live_abc"])
    def test_a_live_key_is_refused_wherever_it_would_go(self, key: str, base: str) -> None:
        with pytest.raises(BadOption, match="live key") as refused:
            read_options({"STRIPE_SECRET_KEY": key, "STRIPE_API_BASE": base}, now=NOW)

        assert key not in str(refused.value)

    def test_a_test_key_alone_is_refused_because_it_means_stripe_itself(self) -> None:
        with pytest.raises(BadOption, match="STRIPE_API_BASE is not"):
            read_options({"STRIPE_SECRET_KEY": "sk_test_abc"}, now=NOW)

    def test_a_test_key_may_go_to_a_sandbox(self) -> None:
        environment = {"STRIPE_SECRET_KEY": "sk_test_abc", "STRIPE_API_BASE": "http://127.0.0.1:4010"}

        options = read_options(environment, now=NOW)

        assert (options.stripe_secret_key, options.stripe_api_base) == ("sk_test_abc", "http://127.0.0.1:4010")
