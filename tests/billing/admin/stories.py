"""One row of everything the admin shows, for as many customers as a test wants. Each story has prices of its own."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction

from billing.accounting.models import ManualEntry
from billing.catalog.models import PlanVersion, Rate
from billing.customers.models import Customer
from billing.invoicing.late_models import AbsorbedUsage
from billing.invoicing.models import (
    CreditNote,
    CreditNoteLine,
    Invoice,
    InvoiceClose,
    InvoiceCloseStep,
    InvoiceLine,
)
from billing.payments.models import BalanceTransaction, CustomerBalanceTransaction, Dispute, Payment, Payout, Refund
from billing.rating.models import AllowanceDrawdown, GrantDrawdown, LateUsage, UsageAccrual, UsageAccrualLine
from billing.reconciliation.models import Discrepancy, ReconciliationRun
from billing.rollouts.backtests.operations import request_backtest
from billing.rollouts.models.shadow import ShadowPeriod
from billing.rollouts.shadow.operations import start_shadow
from billing.stripe.models import InboxEvent, OutboxIntent
from billing.subscriptions.models import BillingPeriod, Subscription
from promotions.models import CreditGrant
from tests.billing.rollouts.rows import half_way
from tests.factories import (
    NOVEMBER,
    OCTOBER,
    CreditGrantFactory,
    CustomerFactory,
    PlanVersionFactory,
    RateFactory,
    SubscriptionFactory,
)

ACCRUED_AT = datetime.fromisoformat("2026-10-20T12:00:00+00:00")


@dataclass(frozen=True, slots=True)
class Story:
    """Usage of 30 dollars: 20 included, 4 paid by a grant, 6 on an invoice that was declined."""

    customer: Customer
    subscription: Subscription
    period: BillingPeriod
    rate: Rate
    grant: CreditGrant
    accrual: UsageAccrual
    invoice: Invoice
    payment: Payment
    event: InboxEvent
    run: ReconciliationRun


def tell_story(number: int, **of_customer: Any) -> Story:
    """Make the rows of one customer; `number` tells the stories of one test apart."""
    customer: Customer = CustomerFactory(customer_key=f"customer_{number}", **of_customer)
    rate = RateFactory()
    version = PlanVersionFactory(rate_card=rate.rate_card)
    subscription = SubscriptionFactory(customer=customer, plan_version=version, status="past_due")
    period = subscription.periods.get()
    grant = CreditGrantFactory(customer_key=customer.customer_key, amount=Decimal(10))
    accrual = _accrue(period, rate, grant)
    invoice = _invoice(number, subscription, period, rate, accrual)
    payment = _decline(number, invoice)
    _movements(number, customer)
    _credit(number, invoice, accrual)
    _give_back(number, customer)
    _ask_by_hand(number, customer)
    half_way(subscription, now=NOVEMBER)
    _try_terms(number, version)
    _shadow(period, version)
    return Story(
        customer=customer,
        subscription=subscription,
        period=period,
        rate=rate,
        grant=grant,
        accrual=accrual,
        invoice=invoice,
        payment=payment,
        event=_webhook(number, invoice),
        run=_reconcile(customer),
    )


def _late(accrual: UsageAccrual) -> None:
    LateUsage.objects.create(
        accrual=accrual,
        policy="absorb",
        rated_before=Decimal(24),
        unbilled_before=Decimal(0),
        events=2,
        voided=1,
        restored=0,
        first_received_at=NOVEMBER,
        last_received_at=NOVEMBER,
        first_window=OCTOBER,
        last_window=OCTOBER,
        windows=1,
        state="decision",
        outcome="6 USD of late usage is more than the 5 USD the contract absorbs",
    )


def _accrue(period: BillingPeriod, rate: Rate, grant: CreditGrant) -> UsageAccrual:
    figures = {"rated": Decimal(30), "included": Decimal(20), "credited": Decimal(4), "unbilled": Decimal(6)}
    with transaction.atomic():
        accrual = UsageAccrual.objects.create(
            period=period, revision=1, aggregated_through=ACCRUED_AT, recorded_at=ACCRUED_AT, **figures
        )
        UsageAccrualLine.objects.create(accrual=accrual, rate=rate, quantity=Decimal(6_000_000), **figures)
        allowance = period.allowances.get()
        AllowanceDrawdown.objects.create(accrual=accrual, rate=rate, allowance=allowance, amount=Decimal(20))
        GrantDrawdown.objects.create(accrual=accrual, rate=rate, grant=grant, amount=Decimal(4))
    _late(accrual)
    return accrual


def _invoice(
    number: int, subscription: Subscription, period: BillingPeriod, rate: Rate, accrual: UsageAccrual
) -> Invoice:
    invoice = Invoice.objects.create(
        stripe_invoice_id=f"in_{number}",
        customer=subscription.customer,
        subscription=subscription,
        number=f"BB-{number:04}",
        billing_reason="subscription_cycle",
        status=Invoice.Status.OPEN,
        currency="USD",
        total_minor=600,
        amount_due_minor=600,
        amount_paid_minor=0,
        amount_remaining_minor=600,
        starting_balance_minor=0,
        ending_balance_minor=0,
        attempt_count=1,
        created_at=NOVEMBER,
        finalized_at=NOVEMBER + timedelta(hours=1),
        projected_at=NOVEMBER + timedelta(hours=1),
    )
    charged = {"quantity": Decimal(6_000_000), "exact_amount": Decimal(6), "amount_minor": 600, "rounding": Decimal(0)}
    InvoiceLine.objects.create(
        invoice=invoice,
        kind=InvoiceLine.Kind.USAGE,
        position=1,
        period=period,
        rate=rate,
        accrual=accrual,
        description=f"{rate} usage",
        **charged,
    )
    InvoiceLine.objects.create(
        invoice=invoice,
        kind=InvoiceLine.Kind.COVERAGE,
        position=2,
        period=period,
        description="Included in the plan",
        quantity=Decimal(1),
        exact_amount=Decimal(0),
        amount_minor=0,
        rounding=Decimal(0),
    )
    close = InvoiceClose.objects.create(
        invoice=invoice,
        period=period,
        step=InvoiceClose.Step.ACCRUED,
        held_reason="Twice the usage of last month",
        next_attempt_at=NOVEMBER,
    )
    InvoiceCloseStep.objects.create(close=close, step=InvoiceClose.Step.STARTED, recorded_at=NOVEMBER)
    return invoice


def _decline(number: int, invoice: Invoice) -> Payment:
    return Payment.objects.create(
        stripe_payment_intent_id=f"pi_{number}",
        customer=invoice.customer,
        invoice=invoice,
        status=Payment.Status.FAILED,
        amount_minor=600,
        currency="USD",
        failure_code="card_declined",
        failure_message="Your card has insufficient funds.",
        occurred_at=NOVEMBER + timedelta(hours=1),
        projected_at=NOVEMBER + timedelta(hours=1),
    )


def _movements(number: int, customer: Customer) -> None:
    BalanceTransaction.objects.create(
        stripe_id=f"txn_{number}",
        type="charge",
        currency="USD",
        amount_minor=2000,
        fee_minor=88,
        net_minor=1912,
        occurred_at=OCTOBER,
        journal_entry_id=1_000_000 + number,
    )
    CustomerBalanceTransaction.objects.create(
        stripe_id=f"cbtxn_{number}",
        customer=customer,
        type="adjustment",
        currency="USD",
        amount_minor=-100,
        ending_balance_minor=-100,
        occurred_at=OCTOBER,
        journal_entry_id=2_000_000 + number,
    )


def _credit(number: int, invoice: Invoice, accrual: UsageAccrual) -> None:
    """A credit note over a part of the usage, and more of it that nobody is asked for."""
    line = invoice.lines.get(kind=InvoiceLine.Kind.USAGE)
    assert line.rate is not None
    note = CreditNote.objects.create(
        stripe_credit_note_id=f"cn_{number}",
        invoice=invoice,
        number=f"BB-{number:04}-CN-1",
        status=CreditNote.Status.ISSUED,
        reason="product_unsatisfactory",
        memo="Two hours down",
        currency="USD",
        total_minor=120,
        pre_payment_minor=100,
        to_balance_minor=20,
        refunded_minor=0,
        out_of_band_minor=0,
        issued_at=NOVEMBER + timedelta(days=1),
        journal_entry_id=3_000_000 + number,
        projected_at=NOVEMBER + timedelta(days=1),
    )
    CreditNoteLine.objects.create(
        credit_note=note,
        position=1,
        invoice_line=line,
        description=line.description,
        amount_minor=100,
        discount_minor=0,
        exclusive_tax_minor=20,
        inclusive_tax_minor=0,
        stripe_line_id=f"cnli_{number}",
    )
    AbsorbedUsage.objects.create(
        idempotency_key=f"outage-{number}",
        period=accrual.period,
        rate=line.rate,
        accrual=accrual,
        quantity=Decimal(1_000),
        amount=Decimal("0.001234"),
        reason="Counted while the service was down",
        absorbed_by="user:tester",
        recorded_at=NOVEMBER,
        journal_entry_id=4_000_000 + number,
    )


def _give_back(number: int, customer: Customer) -> None:
    """A payment of last month, of which a part was refunded and another is disputed; and a payout that failed."""
    money = {"currency": "USD", "occurred_at": OCTOBER + timedelta(days=3), "projected_at": OCTOBER + timedelta(days=4)}
    payment = Payment.objects.create(
        stripe_payment_intent_id=f"pi_last_month_{number}",
        stripe_charge_id=f"ch_last_month_{number}",
        customer=customer,
        status=Payment.Status.SUCCEEDED,
        amount_minor=2000,
        **money,
    )
    of_charge = {"payment": payment, "stripe_charge_id": payment.stripe_charge_id, **money}
    Refund.objects.create(
        stripe_refund_id=f"re_{number}",
        status=Refund.Status.FAILED,
        amount_minor=500,
        reason="requested_by_customer",
        failure_reason="expired_or_canceled_card",
        sent_at=OCTOBER + timedelta(days=3),
        returned_at=OCTOBER + timedelta(days=4),
        **of_charge,
    )
    Dispute.objects.create(
        stripe_dispute_id=f"du_{number}",
        status=Dispute.Status.NEEDS_RESPONSE,
        amount_minor=1500,
        reason="product_not_received",
        respond_by=OCTOBER + timedelta(days=12),
        **of_charge,
    )
    Payout.objects.create(
        stripe_payout_id=f"po_{number}",
        status=Payout.Status.FAILED,
        amount_minor=123_456,
        is_automatic=True,
        failure_code="account_closed",
        failure_message="The bank account has been closed.",
        expected_at=OCTOBER + timedelta(days=5),
        returned_at=OCTOBER + timedelta(days=6),
        **money,
    )


def _ask_by_hand(number: int, customer: Customer) -> None:
    ManualEntry.objects.create(
        kind=ManualEntry.Kind.ADJUSTMENT,
        reason_code="refund_promised",
        reason="Two hours down",
        reference=f"SUP-{number}",
        customer=customer,
        currency="USD",
        amount=Decimal(300),
        debit_account="contra:refunds:USD",
        credit_account=f"refund_due:{customer.customer_key}:USD",
        effective_at=NOVEMBER,
        limit_amount=Decimal(250),
        alone_total=Decimal(300),
        needs_second_person=True,
        requested_by="user:tester",
        requested_at=NOVEMBER,
        idempotency_key=f"by-hand:{number}",
    )


def _shadow(period: BillingPeriod, version: PlanVersion) -> None:
    """The terms beside themselves: 20 of fee and 6 of usage on both sides."""
    shadow = start_shadow(candidate_id=version.pk, reason="a story", actor="user:tester", now=OCTOBER)
    figures = {"fee": 20, "rated": 30, "included": 20, "credited": 4, "unbilled": 6}
    sides = {f"{side}_{name}": amount for side in ("current", "candidate") for name, amount in figures.items()}
    ShadowPeriod.objects.create(shadow=shadow, period=period, is_due=False, computed_at=ACCRUED_AT, **sides)


def _try_terms(number: int, version: PlanVersion) -> None:
    """A backtest that waits to begin."""
    request_backtest(
        candidate_id=version.pk,
        starts_at=OCTOBER,
        ends_at=NOVEMBER,
        idempotency_key=f"story:{number}",
        actor="user:tester",
        now=NOVEMBER,
    )


def _webhook(number: int, invoice: Invoice) -> InboxEvent:
    OutboxIntent.objects.create(
        purpose=f"close:{number}:finalize",
        operation="invoices.finalize",
        target=invoice.stripe_invoice_id,
        params={"auto_advance": False},
        state=OutboxIntent.State.REFUSED,
        created_at=NOVEMBER,
        error="invoice_no_customer_line_items",
    )
    return InboxEvent.objects.create(
        event_id=f"evt_{number}",
        type="invoice.payment_failed",
        livemode=False,
        object_id=invoice.stripe_invoice_id,
        payload={"id": f"evt_{number}", "data": {"object": {"id": invoice.stripe_invoice_id}}},
        stripe_created_at=NOVEMBER,
        received_at=NOVEMBER,
        source="webhook",
        state=InboxEvent.State.DEAD,
        attempts=12,
        next_attempt_at=NOVEMBER,
        error="ProjectionRefused: a line of unknown kind",
    )


def _reconcile(customer: Customer) -> ReconciliationRun:
    run = ReconciliationRun.objects.create(
        range_start=OCTOBER,
        range_end=NOVEMBER,
        started_at=NOVEMBER,
        finished_at=NOVEMBER,
        checked=12,
        discrepancy_count=1,
        actor="user:tester",
    )
    Discrepancy.objects.create(
        run=run,
        check_code="events_windows",
        subject="window 2026-10-20 12:00",
        customer_key=customer.customer_key,
        left_name="events",
        left_value="5",
        right_name="window",
        right_value="6",
        explanation="A raw event was altered.",
    )
    return run
