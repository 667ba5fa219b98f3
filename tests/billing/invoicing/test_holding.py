"""Closes that wait for a person: the gate, the longest wait for usage, and a release beside Stripe's finalisation."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from pytest_django.fixtures import Settings

from billing.invoicing.anomalies import Figures, Limits, NewRate, anomalies
from billing.invoicing.closing import advance_close
from billing.invoicing.holding import ReleaseRefused, release_close
from billing.invoicing.models import Invoice, InvoiceClose, InvoiceLine
from billing.invoicing.release_models import InvoiceCloseRelease
from billing.stripe import gateway
from tests.billing.invoicing.late import OCT_10, assert_reconciled, bill_november
from tests.billing.invoicing.ordering import FINANCE, SUCCESS, people
from tests.billing.thread import SECOND_MONTH, Thread

AN_HOUR_BEFORE = datetime(2026, 10, 31, 23, tzinfo=UTC)
LIMITS = Limits(percent=250, amount=Decimal(100))


def figures(total: int, *earlier: int, usage: int = 0, used: tuple[int, ...] = ()) -> Figures:
    return Figures(
        currency="USD",
        total=Decimal(total),
        usage=Decimal(usage),
        earlier_totals=[Decimal(one) for one in earlier],
        earlier_usage=[Decimal(one) for one in used],
    )


class TestGate:
    @pytest.mark.parametrize(
        ("given", "codes"),
        [
            (figures(500, 200, 200, 200), []),  # just 2.5 times
            (figures(501, 200, 200, 200), ["total"]),
            (figures(501, 200, 200), []),  # two are no habit yet
            (figures(99, 1, 1, 1), []),  # 99 times, and no hundred dollars
            (figures(-1), ["negative_total"]),
            (figures(0, usage=1000, used=(400, 400, 400)), []),
            (figures(0, usage=1001, used=(400, 400, 400)), ["usage"]),
            (figures(0, usage=159, used=(400, 400, 400)), ["usage"]),
            (figures(0, usage=160, used=(400, 400, 400)), []),
        ],
    )
    def test_names_what_is_far_from_the_last_three(self, given: Figures, codes: list[str]) -> None:
        assert [finding.code for finding in anomalies(given, LIMITS)] == codes

    def test_names_a_large_amount_at_a_price_that_is_charged_for_the_first_time(self) -> None:
        new = [NewRate("gpt-5 output", Decimal(100)), NewRate("gpt-5 input", Decimal(99))]
        found = anomalies(Figures(currency="USD", total=Decimal(0), usage=Decimal(0), new_rates=new), LIMITS)
        assert [finding.words for finding in found] == ["100 USD at a price charged for the first time (gpt-5 output)"]

    def test_holds_an_invoice_until_a_person_lets_just_these_findings_pass(
        self, thread: Thread, settings: Settings
    ) -> None:
        """6.00 at the price of output tokens, which Ada was never charged before."""
        settings.BILLING_GATE_AMOUNTS = {"USD": Decimal(5)}
        people()
        thread.subscribe()
        thread.use(1_000_000, at=OCT_10)
        thread.settle()
        thread.sandbox.advance(SECOND_MONTH)
        thread.settle()
        thread.use(400_000, at=datetime(2026, 11, 10, tzinfo=UTC), meter="output_tokens")
        invoice = bill_november(thread)

        close = invoice.close
        assert (invoice.status, close.step) == ("draft", "proved")
        assert close.held_reason.startswith("6.00 USD at a price charged for the first time")
        assert close.findings[0]["figures"] == {"amount": "6.00"}
        assert close.held_at is not None
        for actor, words, why in ((SUCCESS, "x", "permission"), (FINANCE, " ", "Say why")):
            with pytest.raises(ReleaseRefused, match=why):
                release_close(close_id=close.pk, words=words, actor=actor, now=thread.now)
        release_close(close_id=close.pk, words="a new model, as agreed", actor=FINANCE, now=thread.now)
        with pytest.raises(ReleaseRefused, match="not held any more"):
            release_close(close_id=close.pk, words="again", actor=FINANCE, now=thread.now)
        thread.settle()

        invoice.refresh_from_db()
        assert (invoice.status, invoice.total_minor) == ("paid", 2600)
        release = InvoiceCloseRelease.objects.get()
        assert (release.released_by, release.step, release.findings[0]["code"]) == (FINANCE, "proved", "new_rate")


class TestLongestWait:
    @pytest.fixture
    def waiting(self, thread: Thread) -> InvoiceClose:
        """October is over, and its usage is counted only to an hour before its end."""
        people()
        thread.subscribe()
        thread.settle(aggregated_until=AN_HOUR_BEFORE)
        thread.use(1_000_000, at=OCT_10)
        thread.sandbox.advance(SECOND_MONTH)
        thread.settle(aggregated_until=AN_HOUR_BEFORE)
        close = InvoiceClose.objects.get()
        assert (close.step, close.held_reason) == ("started", "")
        thread.now += timedelta(hours=7)
        advance_close(close_id=close.pk, now=thread.now)
        close.refresh_from_db()
        return close

    def test_holds_the_close_and_says_what_is_late(self, thread: Thread, waiting: InvoiceClose) -> None:
        assert "usage is counted only through 2026-10-31 23:00:00 UTC" in waiting.held_reason
        assert "1:00:00 more" in waiting.held_reason
        release_close(close_id=waiting.pk, words="the rest comes later", actor=FINANCE, now=thread.now)
        assert advance_close(close_id=waiting.pk, now=thread.now) == "accrued"
        thread.settle()
        assert Invoice.objects.get(billing_reason="subscription_cycle").status == "paid"

    def test_a_release_takes_the_draft_back_from_stripes_own_finalisation(
        self, thread: Thread, waiting: InvoiceClose
    ) -> None:
        """Somebody turned it on again at Stripe: an hour later the draft would go out without its usage."""
        invoice_id = waiting.invoice.stripe_invoice_id
        gateway.request("post", f"/v1/invoices/{invoice_id}", {"auto_advance": True})
        thread.aggregate()
        release_close(close_id=waiting.pk, words="go on", actor=FINANCE, now=thread.now)
        assert advance_close(close_id=waiting.pk, now=thread.now) == "accrued"
        assert gateway.retrieve(f"/v1/invoices/{invoice_id}")["auto_advance"] is False
        thread.sandbox.advance(SECOND_MONTH + timedelta(hours=3))
        assert gateway.retrieve(f"/v1/invoices/{invoice_id}")["status"] == "draft"
        thread.settle()
        invoice = Invoice.objects.get(billing_reason="subscription_cycle")
        assert (invoice.status, invoice.total_minor) == ("paid", 2300)

    def test_a_release_of_what_stripe_finalised_meanwhile_writes_no_line_that_nobody_would_charge(
        self, thread: Thread, waiting: InvoiceClose
    ) -> None:
        invoice_id = waiting.invoice.stripe_invoice_id
        gateway.request("post", f"/v1/invoices/{invoice_id}", {"auto_advance": True})
        thread.sandbox.advance(SECOND_MONTH + timedelta(hours=3))
        # No event came here yet: the row still says draft, so the close itself has to ask.
        release_close(close_id=waiting.pk, words="go on", actor=FINANCE, now=thread.now)
        assert advance_close(close_id=waiting.pk, now=thread.now) == "started"
        waiting.refresh_from_db()
        assert "somebody else finalised it" in waiting.held_reason
        assert not InvoiceLine.objects.filter(kind="usage").exists()
        thread.settle()
        with pytest.raises(ReleaseRefused, match="takes no lines any more"):
            release_close(close_id=waiting.pk, words="go on", actor=FINANCE, now=thread.now)
        assert bill_november(thread).total_minor == 2300
        assert_reconciled(thread)
