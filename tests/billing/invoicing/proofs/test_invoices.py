"""Invoices as they come about: late usage, cut periods, several of one period, corrections, nothing at all."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction

from billing.catalog.models import Rate
from billing.invoicing.closing import advance_close
from billing.invoicing.models import Invoice, InvoiceClose, InvoiceLine
from billing.invoicing.proofs.models import InvoiceProof
from billing.invoicing.proofs.operations import (
    NothingToVerify,
    ProofFailed,
    document_of,
    prove_afterwards,
    prove_invoice,
    verify_invoice,
)
from billing.invoicing.proofs.queries import figures
from billing.invoicing.proofs.tasks import task_verify_invoices
from billing.rating.operations import accrue_period
from billing.subscriptions.splitting import split_period
from config import clock
from metering import operations as metering
from metering.operations import UsageEventInput
from tests.billing import usage
from tests.billing.invoicing.proofs.proving import Held, bundle_of, draft, finalise, invoice_of, late_invoice_of
from tests.billing.usage import AFTER_OCTOBER, october_of, send, use_dollars
from tests.billing.voiding import take_out
from tests.factories import (
    ACTOR,
    NOVEMBER,
    OCTOBER,
    BillingPeriodFactory,
    CreditGrantFactory,
    CustomerFactory,
    PlanVersionFactory,
    RateCardFactory,
    RateFactory,
    SubscriptionFactory,
)

DAY, HOUR, US = timedelta(days=1), timedelta(hours=1), timedelta(microseconds=1)
LATER = NOVEMBER + 3 * DAY


@pytest.fixture(autouse=True)
def _meters(committed_db: None) -> None:
    usage.define_token_meters()


def assert_proved(invoice: Invoice, *, now: datetime = LATER) -> InvoiceProof:
    """By the tables, by verify_invoice, and by the bundle."""
    proof = prove_invoice(invoice=invoice, now=now)
    finalise(invoice, now=now)
    assert verify_invoice(invoice=invoice, actor=ACTOR, now=now).differences == []
    assert Held(bundle_of(proof)).differences() == []
    return proof


def exact_of(invoice: Invoice) -> list[Decimal]:
    return list(invoice.lines.filter(kind="usage").order_by("position").values_list("exact_amount", flat=True))


def test_nothing_used_is_proved_too() -> None:
    proof = assert_proved(invoice_of(october_of("acme")))
    assert (proof.line_count, proof.window_count, proof.is_afterwards) == (0, 0, False)
    document, _ = document_of(proof)
    assert [period["revision"] for period in document["periods"]] == [0]


def test_a_second_one_of_an_open_period_is_what_the_first_left() -> None:
    """As when usage reaches an amount within the period."""
    period = october_of("acme", included="1")
    use_dollars("acme", OCTOBER + DAY, "4")
    accrue_period(period_id=period.pk, now=OCTOBER + 2 * DAY)
    first = late_invoice_of(period, now=OCTOBER + 2 * DAY)
    assert_proved(first, now=OCTOBER + 2 * DAY)
    use_dollars("acme", OCTOBER + 3 * DAY, "2.005")

    second = invoice_of(period)

    assert (exact_of(first), exact_of(second)) == ([3], [Decimal("2.005")])
    assert_proved(second)
    document, _ = document_of(second.proof)
    assert [row["amount"] for row in document["periods"][0]["settled"]] == ["3"]
    # What came after it takes nothing from the proof of the first.
    assert verify_invoice(invoice=first, actor=ACTOR, now=LATER).differences == []


def test_late_and_voided_usage_is_below_zero_on_the_next() -> None:
    """And the proof of the invoice before stands, though its windows are others now."""
    period = october_of("acme", included="0")
    CreditGrantFactory(customer_key="acme", amount=Decimal(1))
    use_dollars("acme", OCTOBER + DAY, "4")
    use_dollars("acme", OCTOBER + DAY + US, "3")
    first = invoice_of(period)
    assert_proved(first, now=AFTER_OCTOBER)
    take_out("acme", at=OCTOBER + DAY, now=LATER)
    send("acme", OCTOBER + DAY + 2 * US, input_tokens=200_000)
    metering.catch_up_windows(now=LATER)
    accrue_period(period_id=period.pk, now=LATER)

    second = late_invoice_of(period, now=LATER)

    assert (exact_of(first), exact_of(second)) == ([6], [-3])
    assert_proved(second)
    assert verify_invoice(invoice=first, actor=ACTOR, now=LATER).differences == []
    assert Held(bundle_of(first.proof)).differences() == []


def test_usage_that_arrives_between_the_lines_and_the_proof_is_not_in_it() -> None:
    period = october_of("acme", included="0")
    use_dollars("acme", OCTOBER + DAY, "4")
    invoice = invoice_of(period)
    use_dollars("acme", OCTOBER + DAY + US, "3")
    use_dollars("acme", OCTOBER + 9 * DAY, "3")

    proof = assert_proved(invoice)

    assert (proof.window_count, exact_of(invoice)) == (1, [4])


def test_what_a_void_invoice_had_is_asked_for_again() -> None:
    period = october_of("acme", included="0")
    use_dollars("acme", OCTOBER + DAY, "4")
    void = invoice_of(period)
    assert_proved(void)
    Invoice.objects.filter(pk=void.pk).update(status="void", voided_at=LATER)

    again = late_invoice_of(period, now=LATER)

    assert exact_of(again) == [4]
    proof = assert_proved(again)
    document, _ = document_of(proof)
    assert [row["invoice"] for row in document["periods"][0]["void"]] == [void.stripe_invoice_id]
    assert verify_invoice(invoice=void, actor=ACTOR, now=LATER).is_proved


def test_a_period_that_is_cut_within_an_hour_with_one_grant_over_both_parts() -> None:
    cut = OCTOBER + 9 * DAY + timedelta(minutes=20, seconds=3, microseconds=7)
    period = october_of("acme", included="2")
    CreditGrantFactory(customer_key="acme", amount=Decimal("3.5"))
    for at in (cut - US, cut, cut + HOUR):
        use_dollars("acme", at, "4")
    version = PlanVersionFactory(rate_card=usage.rate_card(), included_amount=Decimal(1))
    subscription = period.subscription
    subscription.plan_version = version
    subscription.save()
    with transaction.atomic():
        rest = split_period(period, subscription=subscription, at=cut, now=cut + HOUR)

    invoice = invoice_of(rest)

    document, _ = document_of(assert_proved(invoice))
    assert len(document["periods"]) == 2
    taken = [[one for one in row["paid"] if one[1] == "grant"] for row in document["periods"]]
    assert sum(Decimal(one[3]) for of_period in taken for one in of_period) == Decimal("3.5")


def test_boundaries_within_an_hour() -> None:
    starts_at = datetime(2026, 10, 3, 12, 34, 56, tzinfo=UTC)
    version = PlanVersionFactory(rate_card=usage.rate_card(), included_amount=Decimal(0))
    customer = CustomerFactory(customer_key="acme", created_at=starts_at)
    subscription = SubscriptionFactory(customer=customer, plan_version=version, starts_at=starts_at)
    period = subscription.periods.get()
    for at in (starts_at - US, starts_at, period.ends_at - US, period.ends_at):
        use_dollars("acme", at, "1")
    BillingPeriodFactory(subscription=subscription)

    invoice = invoice_of(period, now=period.ends_at + HOUR)

    assert exact_of(invoice) == [2]
    assert_proved(invoice, now=period.ends_at + HOUR)


def test_every_aggregation_filters_and_values_that_are_only_counted() -> None:
    kinds = ("sum", "count", "max", "min", "last", "unique_count", "time_weighted_average", "window_max")
    card = RateCardFactory()
    for kind in kinds:
        metering.define_meter(
            code=kind,
            event_type="job",
            value_path="" if kind == "count" else "data.size.bytes",
            aggregation=kind,
            filters=[{"state": ["done", "true"]}],
            dimensions=["by.team", "state"],
            unit="x",
        )
        RateFactory(rate_card=card, meter_code=kind, dimensions={}, unit_price=Decimal("0.5"), unit_size=1)
    period = october_of("acme", version=PlanVersionFactory(rate_card=card, included_amount=Decimal(0)))
    for number, (value, state) in enumerate((("1.50", "done"), (2, True), (Decimal("0.25"), "done"), (9, "open"))):
        at = OCTOBER + DAY + number * timedelta(minutes=7, microseconds=number)
        data = {"size": {"bytes": value}, "by": {"team": "é" * 3}, "state": state, "secret": "not to be exported"}
        event = UsageEventInput(id=f"job-{number}", source="äther", type="job", subject="acme", time=at, data=data)
        assert metering.ingest_events([event], received_at=at).accepted == 1
    metering.catch_up_windows(now=AFTER_OCTOBER)

    proof = assert_proved(invoice_of(period))

    events = bundle_of(proof)["events.jsonl"].decode()
    assert proof.window_count == 2 * len(kinds)
    assert "keys" in events
    assert "not to be exported" not in events


def test_a_line_that_is_not_what_the_windows_say_holds_the_close() -> None:
    period = october_of("acme", included="0")
    use_dollars("acme", OCTOBER + DAY, "4")
    invoice = invoice_of(period)
    wrong = InvoiceLine.objects.get(invoice=invoice, kind="usage")
    other = draft(period)
    InvoiceLine.objects.create(
        invoice=other, kind="usage", position=1, period=period, rate=wrong.rate, accrual=wrong.accrual,
        description="wrong", quantity=0, exact_amount=Decimal("0.5"), amount_minor=50, rounding=0,
    )  # fmt: skip

    with pytest.raises(ProofFailed, match=r"line \d+ \(rate \d+\): 0 is left to invoice, it says 0.5 \(\+0.5\)"):
        prove_invoice(invoice=other, now=LATER)

    close = InvoiceClose.objects.create(invoice=other, step="verified", next_attempt_at=NOVEMBER)
    assert advance_close(close_id=close.pk, now=LATER) == "verified"
    close.refresh_from_db()
    assert close.held_reason.startswith("not proved: line")
    assert InvoiceProof.objects.count() == 0


def test_two_workers_make_one_proof() -> None:
    period = october_of("acme", included="0")
    use_dollars("acme", OCTOBER + DAY, "4")
    invoice = invoice_of(period)

    def work(_: int) -> int:
        try:
            return prove_invoice(invoice=Invoice.objects.get(pk=invoice.pk), now=LATER).pk
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(work, range(2)))) == 1


def test_one_that_was_finalised_elsewhere_is_proved_afterwards_and_says_so() -> None:
    period = october_of("acme", included="0")
    use_dollars("acme", OCTOBER + DAY, "4")
    invoice = finalise(invoice_of(period), now=AFTER_OCTOBER)
    with pytest.raises(NothingToVerify):
        verify_invoice(invoice=invoice, actor=ACTOR, now=LATER)

    assert prove_afterwards(invoice=invoice, actor=ACTOR, now=LATER).is_afterwards
    assert verify_invoice(invoice=invoice, actor=ACTOR, now=LATER).is_proved
    assert prove_afterwards(invoice=invoice, actor=ACTOR, now=LATER).pk == invoice.proof.pk


def test_a_sample_of_yesterday_is_verified_daily(monkeypatch: pytest.MonkeyPatch) -> None:
    period = october_of("acme", included="0")
    use_dollars("acme", OCTOBER + DAY, "4")
    assert_proved(invoice_of(period))
    monkeypatch.setattr(clock, "now", lambda: LATER + DAY)
    assert task_verify_invoices() == 0
    day = LATER.replace(hour=0)
    found = figures(start=day, end=day + DAY)
    assert (found.finalised, found.proved, found.verified, found.failed) == (1, 1, 1, 0)


def test_a_thousand_lines_from_the_bundle() -> None:
    """A thousand prices with usage: verified within seconds, compact enough to keep."""
    card = RateCardFactory()
    Rate.objects.bulk_create(
        RateFactory.build(rate_card=card, model=f"m{number}", unit_price=Decimal("0.000123"), unit_size=1)
        for number in range(1000)
    )
    period = october_of("acme", version=PlanVersionFactory(rate_card=card, included_amount=Decimal(0)))
    metering.ingest_events(_many(1000), received_at=NOVEMBER)
    metering.catch_up_windows(now=AFTER_OCTOBER)
    invoice = invoice_of(period)

    started = time.monotonic()
    proof = prove_invoice(invoice=invoice, now=LATER)
    made = time.monotonic()
    finalise(invoice)
    held = Held(bundle_of(proof))
    exported = time.monotonic()
    assert held.differences() == []
    verified = time.monotonic()

    assert proof.line_count == 1000
    seconds = f"made in {made - started:.2f} s, exported {exported - made:.2f} s, verified {verified - exported:.2f} s"
    sizes = f"{proof.size_bytes:,} bytes, packed {len(proof.packed):,}, bundle {sum(map(len, held.files.values())):,}"
    print(f"{proof.window_count} windows: {seconds}; {sizes}")
    assert verified - exported <= 5
    assert len(proof.packed) < 300_000


def _many(models: int) -> Sequence[Any]:
    return [
        UsageEventInput(
            id=f"many-{model}",
            source="edge/test",
            type="llm.request",
            subject="acme",
            time=OCTOBER + model % 24 * DAY,
            data={"model": f"m{model}", "input_tokens": 1000 + model},
        )
        for model in range(models)
    ]
