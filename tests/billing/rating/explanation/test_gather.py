"""Explanations of lines, accruals and periods: their figures, what they say as more is known, and what they refuse."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.catalog.models import Allowance
from billing.catalog.operations import publish_plan_version
from billing.invoicing.models import InvoiceLine
from billing.rating.explanation.as_json import explanation_body
from billing.rating.explanation.as_text import explanation_text
from billing.rating.explanation.gather import (
    NothingToExplain,
    explain_accrual,
    explain_accrual_line,
    explain_day,
    explain_invoice_line,
    explain_period,
)
from billing.rating.operations import accrue_period
from billing.subscriptions.models import BillingPeriod
from tests.billing.rating.explanation.drafts import draft_of
from tests.billing.usage import AFTER_OCTOBER, MODEL, define_token_meters, october_of, use, use_dollars
from tests.factories import OCTOBER, CreditGrantFactory, PlanVersionFactory, RateCardFactory, RateFactory

AT = OCTOBER + timedelta(days=3, hours=5, minutes=20)
TIERS = [{"up_to": "1000000", "unit_price": "0.000005"}, {"up_to": None, "unit_price": "0.000001"}]
D = Decimal


@pytest.fixture(autouse=True)
def _meters(committed_db: None) -> None:
    define_token_meters()


def used_october() -> BillingPeriod:
    """Four dollars of input: one included, two paid by credit, one to invoice; in two accruals."""
    period = october_of("acme", included="1")
    CreditGrantFactory(customer_key="acme", amount=D(2))
    use_dollars("acme", AT, "1.5")
    accrue_period(period_id=period.pk, now=AT + timedelta(hours=2))
    use_dollars("acme", AT + timedelta(days=1), "2.5")
    accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
    return period


class TestPeriod:
    def test_tells_price_payers_postings_days_and_that_it_was_proved(self) -> None:
        period = used_october()

        explained = explain_period(period.pk, now=AFTER_OCTOBER)

        (price,) = explained.prices
        assert (price.after.quantity, price.after.rated, price.before.rated) == (D(800_000), D(4), D(0))
        assert [(step.text, step.amount) for step in price.steps] == [
            ("800,000 × 5 USD per 1,000,000 = 4 USD", D(4)),
        ]
        assert price.is_followed
        assert [(one.kind, one.name, one.amount) for one in explained.payers] == [
            ("allowance", "Included usage", D(1)),
            ("grant", "Welcome credit", D(2)),
            ("unbilled", "To invoice", D(1)),
        ]
        assert [(one.revision, one.change.rated) for one in explained.postings] == [(1, D("1.5")), (2, D("2.5"))]
        assert all(one.entry_id for one in explained.postings)
        assert price.usage is not None
        assert (price.usage.windows, price.usage.events, price.usage.quantity) == (2, 2, D(800_000))
        assert [(one.at.day, one.amounts.included, one.amounts.unbilled) for one in price.days] == [
            (4, D(1), D(0)),
            (5, D(0), D(1)),
        ]
        assert explained.check.verdict == "agrees"
        assert explained.settled is not None
        assert (explained.settled.billed, explained.settled.left) == (D(0), D(1))

    def test_without_usage_there_is_nothing_to_pay(self) -> None:
        explained = explain_period(october_of("acme").pk, now=AFTER_OCTOBER)

        assert (explained.prices, explained.total.rated, explained.check.verdict) == ((), D(0), "agrees")
        assert "No usage was counted." in explanation_text(explained)

    def test_says_that_more_is_known_now(self) -> None:
        period = used_october()
        use_dollars("acme", AT + timedelta(days=2), "1")

        explained = explain_period(period.pk, now=AFTER_OCTOBER)

        assert explained.check.verdict == "differs"
        assert explained.total.rated == D(4)

    def test_says_why_it_cannot_be_computed_again(self) -> None:
        period = used_october()
        use("acme", AT, model="unheard-of", input_tokens=7)

        explained = explain_period(period.pk, now=AFTER_OCTOBER)

        assert explained.check.verdict == "unknown"
        assert "unheard-of" in explained.check.text
        (price,) = explained.prices
        # A price that needs no more than the quantity is still told step by step.
        assert (price.usage, price.days, price.is_followed) == (None, (), True)
        with pytest.raises(NothingToExplain, match="unheard-of"):
            explain_day(period.pk, price.price.rate_id, AT, now=AFTER_OCTOBER)

    def test_tells_the_tiers_that_were_touched_and_the_price_that_follows(self) -> None:
        card = RateCardFactory()
        RateFactory(rate_card=card, charge_model="graduated", terms={"tiers": TIERS}, unit_price=None, unit_size=None)
        RateFactory(rate_card=card, effective_from=AT + timedelta(days=5))
        version = PlanVersionFactory(rate_card=card, included_amount=D(0), is_draft=True)
        Allowance.objects.create(
            plan_version=version, code="units", name="Free tokens", position=1, measure="units", amount=D(200_000)
        )
        version = publish_plan_version(plan_version_id=version.pk, now=OCTOBER)
        period = october_of("acme", version=version)
        use("acme", AT, input_tokens=1_500_000)
        accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

        (price,) = explain_period(period.pk, now=AFTER_OCTOBER).prices

        assert [(step.text, step.amount) for step in price.steps] == [
            ("Up to 1,000,000: 1,000,000 × 0.000005 USD = 5 USD", D(5)),
            ("Above 1,000,000: 500,000 × 0.000001 USD = 0.5 USD", D("0.5")),
        ]
        assert price.price.effective_until == AT + timedelta(days=5)
        assert [(one.name, one.amount, one.quantity) for one in price.payers] == [
            ("Free tokens", D(1), D(200_000)),
            ("To invoice", D("4.5"), D(0)),
        ]


class TestSpans:
    def test_an_accrual_is_its_change_on_top_of_what_was_before(self) -> None:
        period = used_october()
        second = period.accruals.get(revision=2)

        explained = explain_accrual(second.pk, now=AFTER_OCTOBER)

        (price,) = explained.prices
        assert (price.before.rated, price.change.rated, price.after.rated) == (D("1.5"), D("2.5"), D(4))
        assert [(one.kind, one.amount) for one in price.payers] == [("grant", D("1.5")), ("unbilled", D(1))]
        assert [one.revision for one in explained.postings] == [2]
        line = explain_accrual_line(second.lines.get().pk, now=AFTER_OCTOBER)
        assert (line.prices, line.total) == (explained.prices, explained.total)

    def test_an_invoice_line_is_all_since_the_last_invoice_and_rounded_once(self) -> None:
        period = october_of("acme", included="0")
        use("acme", AT, input_tokens=3_001)
        first = draft_of(period, at=AFTER_OCTOBER)
        use("acme", AT, input_tokens=2_000)
        later = draft_of(period, at=AFTER_OCTOBER + timedelta(days=1))

        one = explain_invoice_line(first.lines.get(kind="usage").pk, now=AFTER_OCTOBER)
        two = explain_invoice_line(later.lines.get(kind="usage").pk, now=AFTER_OCTOBER + timedelta(days=2))

        assert one.charged is not None
        assert two.charged is not None
        assert (one.charged.exact, one.charged.rounding, one.charged.minor) == (D("0.015005"), D("0.004995"), 2)
        assert (one.total.unbilled, two.total.unbilled) == (D("0.015005"), D("0.01"))
        assert (two.prices[0].before.quantity, two.prices[0].after.quantity) == (D(3_001), D(5_001))
        assert two.charged.exact == two.total.unbilled

    def test_a_line_of_coverage_is_the_whole_period(self) -> None:
        period = used_october()
        invoice = draft_of(period, at=AFTER_OCTOBER)
        coverage = invoice.lines.filter(kind="coverage").first()
        assert coverage is not None

        explained = explain_invoice_line(coverage.pk, now=AFTER_OCTOBER)

        assert explained.total.rated == D(4)
        assert [one.kind for one in explained.payers] == ["allowance", "grant", "unbilled"]


class TestRefusals:
    def test_there_is_no_such_row(self) -> None:
        for explain in (explain_period, explain_accrual, explain_accrual_line, explain_invoice_line):
            with pytest.raises(NothingToExplain, match="There is no"):
                explain(10**30, now=AFTER_OCTOBER)

    def test_a_fee_is_no_usage(self) -> None:
        invoice = draft_of(used_october(), at=AFTER_OCTOBER)
        fee = InvoiceLine.objects.create(
            invoice=invoice,
            kind="fee",
            position=99,
            description="Pro, October",
            quantity=1,
            exact_amount=20,
            amount_minor=2000,
            rounding=0,
        )

        with pytest.raises(NothingToExplain, match=r"no usage \(subscription fee\): Pro, October"):
            explain_invoice_line(fee.pk, now=AFTER_OCTOBER)


TEXT = f"""\
How this line of your invoice comes about
=========================================

Customer  Acme
Period    01 Oct 2026 00:00 to 01 Nov 2026 00:00 UTC
Plan      TERMS
Invoice   in_draft_1
Line      LINE

{MODEL} input tokens
----------------------------
  Used: 800,000 input tokens, in 2 events of 2 hours, 04 Oct 2026 05:00 to 05
  Oct 2026 05:00 UTC

  Price (per unit, since 01 Jan 2020)
  800,000 × 5 USD per 1,000,000 = 4 USD                                  $4.00
  Price of the usage                                                     $4.00
  Included in your plan (“Included usage”)                              −$1.00
  Paid by the credit “Welcome credit”                                   −$2.00
  To pay                                                                 $1.00

On the invoice
--------------
  Exact amount                                                           $1.00
  Charged, before discount and tax                                       $1.00
"""


def test_the_text_for_a_customer_is_this() -> None:
    period = used_october()
    line = draft_of(period, at=AFTER_OCTOBER, number=1).lines.get(kind="usage")

    text = explanation_text(explain_invoice_line(line.pk, now=AFTER_OCTOBER))

    told = text.splitlines()
    assert all(len(one) <= 78 for one in told)
    found = [one for one in told if one.startswith("Line ")]
    plan = [one for one in told if one.startswith("Plan ")]
    start = told.index(found[0])
    end = told.index("", start)
    told[start:end] = ["Line      LINE"]
    told[told.index(plan[0])] = "Plan      TERMS"
    assert "\n".join(told) + "\n" == TEXT


def test_the_json_says_amounts_as_text_and_keeps_its_shape() -> None:
    period = used_october()
    line = draft_of(period, at=AFTER_OCTOBER).lines.get(kind="usage")

    body = explanation_body(explain_invoice_line(line.pk, now=AFTER_OCTOBER))

    assert body["schema"] == "billing.explanation/1"
    assert list(body) == [
        "schema",
        "subject",
        "currency",
        "period",
        "total",
        "payers",
        "prices",
        "postings",
        "invoice_line",
        "settled",
        "check",
    ]
    assert body["total"] == {
        "quantity": "800000",
        "rated": "4",
        "included": "1",
        "credited": "2",
        "unbilled": "1",
    }
    assert (body["invoice_line"]["exact_amount"], body["invoice_line"]["amount_minor"]) == ("1", 100)
    assert body["period"]["starts_at"] == "2026-10-01T00:00:00Z"
