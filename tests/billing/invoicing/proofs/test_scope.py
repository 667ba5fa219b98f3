"""What an invoice asks for of a period, and what it leaves to others: proved, and refused where it may not."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.invoicing.drafting import late_rows, reissued_rows, write_lines, write_threshold_lines
from billing.invoicing.models import Invoice, InvoiceClose, InvoiceLine
from billing.invoicing.orders.models import InvoiceOrder
from billing.invoicing.orders.thresholds import order_threshold_invoices
from billing.invoicing.proofs.operations import ProofFailed, document_of, prove_invoice, verify_invoice
from billing.invoicing.requests import operations as requests
from billing.invoicing.requests import terms
from billing.rating.operations import accrue_period
from billing.subscriptions.models import BillingPeriod
from metering import operations as metering
from promotions.operations import end_grant
from tests.billing import usage
from tests.billing.fixtures import at_sandbox, sandbox_process, thread
from tests.billing.invoicing.late import OCT_10, OCT_20, october
from tests.billing.invoicing.ordering import FINANCE, carry_out_all, invoice_of, people
from tests.billing.invoicing.proofs.proving import Held, bundle_of, draft, fee_of, finalise, late_invoice_of
from tests.billing.invoicing.proofs.proving import invoice_of as closing_invoice_of
from tests.billing.rating.test_every_model import price
from tests.billing.thread import Thread
from tests.billing.usage import AFTER_OCTOBER, october_of, use
from tests.billing.voiding import take_out
from tests.factories import (
    ACTOR,
    NOVEMBER,
    OCTOBER,
    BillingPeriodFactory,
    CreditGrantFactory,
    PlanVersionFactory,
)

__all__ = ["at_sandbox", "sandbox_process", "thread"]

DAY = timedelta(days=1)
FIRST, SECOND = OCTOBER + 3 * DAY, OCTOBER + 6 * DAY


def ordered(period: BillingPeriod, /, **values: object) -> Invoice:
    """A draft of an order."""
    invoice = draft(period, billing_reason="manual", created_at=SECOND)
    given = {"kind": "threshold", "subscription": period.subscription, "period": period} | values
    InvoiceOrder.objects.create(
        customer=invoice.customer,
        currency="USD",
        reason="a test",
        idempotency_key=invoice.stripe_invoice_id,
        ordered_by=ACTOR,
        ordered_at=SECOND,
        next_attempt_at=SECOND,
        state="drafted",
        invoice=invoice,
        finished_at=SECOND,
        **given,
    )
    return invoice


def with_a_decrease(period: BillingPeriod) -> None:
    """Input was billed and then voided; output was used since."""
    use("acme", OCTOBER + DAY, input_tokens=1_000_000)
    accrue_period(period_id=period.pk, now=FIRST)
    first = late_invoice_of(period, now=FIRST)
    prove_invoice(invoice=first, now=FIRST)
    finalise(first, now=FIRST)
    take_out("acme", at=OCTOBER + DAY, now=SECOND)
    use("acme", OCTOBER + 4 * DAY, output_tokens=1_000_000)
    metering.catch_up_windows(now=SECOND)


@pytest.mark.usefixtures("committed_db")
class TestScope:
    @pytest.fixture
    def period(self, committed_db: None) -> BillingPeriod:
        usage.define_token_meters()
        return october_of("acme", included="0")

    def test_a_threshold_invoice_leaves_a_decrease_to_another_and_says_why(self, period: BillingPeriod) -> None:
        with_a_decrease(period)
        invoice = ordered(period)
        (line,) = write_threshold_lines(invoice=invoice, period=period, now=SECOND)

        document, _ = document_of(prove_invoice(invoice=invoice, now=SECOND))

        (row,) = document["periods"]
        assert line.exact_amount == 25
        assert [one[2] for one in row["not_billed"]] == ["-5"]
        assert (row["scope"]["of"], "decreases" in row["scope"]["why"]) == ("increases", True)

    def test_a_decrease_that_an_invoice_forgot_is_refused(self, period: BillingPeriod) -> None:
        """The invoice that ends the period asks for all of it, above and below zero."""
        with_a_decrease(period)
        accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
        invoice = draft(period)
        InvoiceClose.objects.create(invoice=invoice, period=period, step="verified", next_attempt_at=NOVEMBER)
        InvoiceLine.objects.bulk_create(late_rows(invoice=invoice, period=period, after=0, increases_only=True))

        with pytest.raises(ProofFailed, match="-5 USD are left and on no line"):
            prove_invoice(invoice=invoice, now=AFTER_OCTOBER)

    def test_what_is_worth_less_than_half_a_cent_is_a_line_of_a_threshold_invoice(self, period: BillingPeriod) -> None:
        use("acme", OCTOBER + DAY, input_tokens=1_000_000, output_tokens=100)
        invoice = ordered(period)
        write_threshold_lines(invoice=invoice, period=period, now=SECOND)

        prove_invoice(invoice=invoice, now=SECOND)

        lines = invoice.lines.order_by("amount_minor").values_list("amount_minor", "exact_amount", "rounding")
        assert list(lines) == [(0, Decimal("0.0025"), Decimal("-0.0025")), (500, 5, 0)]
        closing = draft(period)
        write_lines(invoice=closing, period=period, now=AFTER_OCTOBER)
        assert not closing.lines.filter(kind="usage").exists()

    def test_nothing_is_written_where_all_of_it_rounds_to_nothing(self, period: BillingPeriod) -> None:
        use("acme", OCTOBER + DAY, output_tokens=100)
        assert write_threshold_lines(invoice=ordered(period), period=period, now=SECOND) == []

    def test_a_re_issue_asks_for_its_own_prices_alone(self, period: BillingPeriod) -> None:
        use("acme", OCTOBER + DAY, input_tokens=1_000_000)
        void = ordered(period)
        write_threshold_lines(invoice=void, period=period, now=FIRST)
        prove_invoice(invoice=void, now=FIRST)
        finalise(void, now=FIRST)
        Invoice.objects.filter(pk=void.pk).update(status="void", voided_at=SECOND)
        use("acme", OCTOBER + 4 * DAY, output_tokens=1_000_000)
        accrue_period(period_id=period.pk, now=SECOND)
        invoice = ordered(period, kind="reissue", period=None, replaces=void)
        (line,) = InvoiceLine.objects.bulk_create(reissued_rows(invoice=invoice, replaces=void, after=0))

        proof = prove_invoice(invoice=invoice, now=SECOND)
        finalise(invoice, now=SECOND)

        document, _ = document_of(proof)
        (row,) = document["periods"]
        assert (row["scope"]["of"], row["scope"]["rates"]) == ("prices", [line.rate_id])
        assert [one[2] for one in row["not_billed"]] == ["25"]
        assert verify_invoice(invoice=invoice, actor=ACTOR, now=SECOND).differences == []
        held = Held(bundle_of(proof))
        assert held.differences() == []
        document["periods"][0]["scope"] = {"of": "all", "why": ""}
        held.write("proof.json", document)
        held.forge()
        assert any("25 USD are left and on no line" in one for one in held.differences())

    def test_a_close_that_forgot_its_last_run_proves_no_period(self) -> None:
        """What the end of the period adds, such as a commitment, follows from its end, and not from that run."""
        usage.define_token_meters()
        card = usage.rate_card()
        price(card, "minimum_commitment", {"amount": "50"})
        period = october_of("other", version=PlanVersionFactory(rate_card=card, included_amount=Decimal(0)))
        use("other", OCTOBER + DAY, input_tokens=1_000_000)
        accrue_period(period_id=period.pk, now=SECOND)
        invoice = draft(period)
        InvoiceClose.objects.create(invoice=invoice, period=period, step="verified", next_attempt_at=NOVEMBER)
        InvoiceLine.objects.bulk_create(late_rows(invoice=invoice, period=period, after=0))

        with pytest.raises(ProofFailed, match="rated is 45 by its windows, the proof says 0"):
            prove_invoice(invoice=invoice, now=AFTER_OCTOBER)

    def test_late_usage_on_a_grant_that_has_ended_is_proved(self, period: BillingPeriod) -> None:
        """Its entry takes the credit out of what was given away, and leaves the grant as it ended."""
        grants = [
            CreditGrantFactory(customer_key="acme", amount=Decimal(2), kind=kind, expires_at=OCTOBER + 5 * DAY)
            for kind in ("promotional", "goodwill")
        ]
        use("acme", OCTOBER + DAY, input_tokens=100_000)
        accrue_period(period_id=period.pk, now=OCTOBER + 2 * DAY)
        for grant in grants:
            end_grant(grant_id=grant.pk, at=OCTOBER + 5 * DAY, actor=ACTOR, reason="expired", recorded_at=SECOND)
        use("acme", OCTOBER + DAY + DAY / 2, input_tokens=600_000)
        invoice = closing_invoice_of(period)

        proof = prove_invoice(invoice=invoice, now=AFTER_OCTOBER)
        finalise(invoice)

        held = Held(bundle_of(proof))
        assert held.differences() == []
        assert "contra:promotions:USD" in held.files["accruals.jsonl"].decode()

    def test_fees_are_those_expected_and_prorations_beside_them(self, period: BillingPeriod) -> None:
        following = BillingPeriodFactory(subscription=period.subscription)
        invoice = closing_invoice_of(period)
        proof = prove_invoice(invoice=invoice, now=AFTER_OCTOBER)
        fee_of(invoice, period, -300)
        finalise(invoice)
        held = Held(bundle_of(proof))
        assert [line["amount_minor"] for line in held.json("finalised.json")["lines"]] == [-300, 2000]
        assert held.differences() == []

        for forged, told in (
            (None, "fees are charged of no period"),
            ("2026-10-31T00:00:00Z", "where no period of the proof ends"),
        ):
            changed = Held(held.files)
            changed.write("proof.json", {**held.json("proof.json"), "fees_from": forged})
            changed.forge()
            assert told in "\n".join(changed.differences()), forged

        finalised = held.json("finalised.json")
        finalised["lines"][1]["amount_minor"] += 500
        finalised["total_minor"] += 500
        key = f"receivable:acme:{following.plan_version.currency}"
        change = {key: 5, "revenue:subscription:USD": -5}
        postings = finalised["entry"]["postings"]
        finalised["entry"]["postings"] = [
            [account, str(Decimal(amount) + change.get(account, 0))] for account, amount in postings
        ]
        held.write("finalised.json", finalised)
        held.forge()
        assert held.differences() == [
            "fees of the following period are 2500 minor units on the invoice, 2000 in the proof"
        ]


def test_at_stripe_a_line_of_nothing_is_taken_and_its_invoice_issued_again(thread: Thread, settings: object) -> None:
    """A threshold invoice of a price worth less than half a cent; void; another price used; issued again and paid."""
    people()
    settings.BILLING_THRESHOLDS = {"USD": Decimal(10)}  # type: ignore[attr-defined]
    thread.subscribe()
    thread.settle()
    thread.use_card("ada", "pm_card_chargeCustomerFail")
    thread.use(4_000_000, at=OCT_10)
    thread.use(100, at=OCT_10, meter="output_tokens")
    thread.sandbox.advance(OCT_20)
    thread.aggregate()
    accrue_period(period_id=october().pk, now=thread.now)
    (order,) = order_threshold_invoices(now=OCT_20)
    carry_out_all(thread)
    first = invoice_of(order)
    assert first.status == "open", InvoiceClose.objects.get(invoice=first).held_reason
    assert sorted(first.lines.values_list("amount_minor", flat=True)) == [0, 1200]

    thread.use(1_000_000, at=OCT_20, meter="cache_read_tokens")
    thread.aggregate()
    accrue_period(period_id=october().pk, now=thread.now)
    thread.use_card("ada", "pm_card_visa")
    asked = terms.void(invoice=first, usage="reissue")
    requests.ask(asked, reason="wrong address", actor=FINANCE, idempotency_key="void", now=thread.now)
    carry_out_all(thread)

    again = invoice_of(InvoiceOrder.objects.get(kind="reissue"))
    assert again.status == "paid", InvoiceClose.objects.get(invoice=again).held_reason
