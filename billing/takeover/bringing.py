"""
Bringing in one object after the other, each whole or not at all. Reads of Stripe come before the transaction.

The projections are the ordinary ones: they know the cut (`cut.py`) and say of each fact what of it the opening holds.
What is here already is not touched again, so a run that was broken off goes on where it stopped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from billing.accounting.chart import system_account_specs
from billing.catalog.models import Alignment, Plan, PlanVersion
from billing.customers.models import Customer
from billing.customers.operations import create_customer, lock_customer
from billing.invoicing.models import Invoice
from billing.invoicing.operations import project_invoice
from billing.payments.disputes import held_minor, project_disputes
from billing.payments.models import Payment
from billing.payments.old_charges import (
    enter_disputes_of_nobody,
    enter_payment_of_nobody,
    enter_refunds_of_nobody,
)
from billing.payments.operations import project_payment, record_customer_balance_transactions
from billing.payments.payouts import project_payout
from billing.payments.recovery.operations import follow_invoice, follow_payment
from billing.payments.refunds import project_refunds, promised_by
from billing.stripe import gateway, readers
from billing.stripe.readers import id_of
from billing.subscriptions.change_models import SubscriptionEvent
from billing.subscriptions.changes import terms_text
from billing.subscriptions.history import record
from billing.subscriptions.models import BillingPeriod, Subscription, SubscriptionAddOn
from billing.subscriptions.opening import cadence_of, open_period
from billing.subscriptions.operations import project_subscription
from billing.takeover.cut import is_before, is_second_before
from billing.takeover.deciding import WantedCustomer, WantedSubscription
from billing.takeover.finding import ENDED
from billing.takeover.models import TakenOver, Takeover
from billing.takeover.opening import open_account
from ledger.operations import open_accounts

Kind, Outcome = TakenOver.Kind, TakenOver.Outcome
StripeDict = dict[str, Any]
SENT = Subscription.CollectionMethod.SEND_INVOICE
UNDECIDED = ("needs_response", "under_review", "warning_needs_response", "warning_under_review")


@dataclass(frozen=True, slots=True)
class Job:
    """On whose behalf things are brought in, and when."""

    takeover: Takeover
    actor: str
    now: datetime


def bring_prices(prices: dict[int, StripeDict]) -> int:
    """Let versions take on the prices at Stripe that the map names for them; return how many did."""
    taken = 0
    with transaction.atomic():
        for version_id, price in prices.items():
            rows = PlanVersion.objects.filter(pk=version_id, stripe_price_id=None)
            taken += rows.update(stripe_price_id=price["id"])
            plans = Plan.objects.filter(versions=version_id, stripe_product_id=None)
            plans.update(stripe_product_id=id_of(price["product"]))
    return taken


def bring_customer(wanted: WantedCustomer, *, job: Job) -> bool:
    """
    Create the customer, bound to Stripe's, with what its balance held at the cut and what moved it since: events about
    who is not known here say nothing. Return whether it is new here.
    """
    if _is_taken(Kind.CUSTOMER, wanted.stripe_id):
        return False
    balance_minor, moved_since = _balance_at_cut(wanted.stripe_id, wanted.new.currency, job.takeover.as_of)
    with transaction.atomic():
        customer = Customer.objects.filter(customer_key=wanted.new.customer_key).first()
        if customer is None:
            new = wanted.new
            customer = create_customer(
                customer_key=new.customer_key, name=new.name, email=new.email, kind=new.kind, currency=new.currency,
                created_at=new.created_at, actor=job.actor,
            )  # fmt: skip
        lock_customer(customer_id=customer.pk)
        Customer.objects.filter(pk=customer.pk, stripe_customer_id=None).update(stripe_customer_id=wanted.stripe_id)
        open_account(
            "balance", debit_minor=balance_minor, currency=customer.currency, stripe_id=wanted.stripe_id,
            customer=customer, cause={"customer": wanted.stripe_id}, memo="Customer balance at the takeover",
            now=job.now,
        )  # fmt: skip
        record_customer_balance_transactions(moved_since, customer=customer, now=job.now)
        _take(Kind.CUSTOMER, wanted.stripe_id, customer=customer, amount_minor=balance_minor,
              currency=customer.currency, job=job)  # fmt: skip
    return True


def _balance_at_cut(stripe_customer_id: str, currency: str, as_of: datetime) -> tuple[int, list[StripeDict]]:
    """
    Stripe's customer balance in a currency after its last movement by the cut, in minor units (above zero the customer
    owes), and its movements since, oldest first.
    """
    moved_since: list[StripeDict] = []
    for movement in gateway.listed(f"/v1/customers/{stripe_customer_id}/balance_transactions"):
        if movement["currency"].upper() != currency:
            continue
        if is_second_before(movement["created"], as_of):
            return int(movement["ending_balance"]), moved_since[::-1]
        moved_since.append(movement)
    return 0, moved_since[::-1]


def bring_subscription(wanted: WantedSubscription, *, theirs: StripeDict, reading: int, job: Job) -> bool:
    """Agree on here what runs at Stripe, with its first period of ours, and follow it from there."""
    if _is_taken(Kind.SUBSCRIPTION, theirs["id"]):
        return False
    with transaction.atomic():
        customer = Customer.objects.get(stripe_customer_id=id_of(theirs["customer"]))
        lock_customer(customer_id=customer.pk)
        if Subscription.objects.filter(stripe_subscription_id=theirs["id"]).exists():
            return False
        subscription = _subscription(wanted, theirs, customer)
        SubscriptionAddOn.objects.bulk_create(
            SubscriptionAddOn(subscription=subscription, plan_version=version, seats=seats, added_at=wanted.starts_at)
            for version, seats in wanted.add_ons
        )
        open_period(
            subscription, starts_at=wanted.starts_at, ends_at=wanted.ends_at, kind=wanted.kind,
            counted_from=_counted_from(wanted, theirs, subscription),
        )  # fmt: skip
        record(
            subscription, SubscriptionEvent.Kind.CREATED, after=terms_text(subscription, at=wanted.starts_at),
            effective_at=wanted.starts_at, now=job.now, actor=job.actor,
            reason=f"Taken over from Stripe: {theirs['id']}",
        )  # fmt: skip
        project_subscription(theirs, now=job.now, reading=reading)
        _take(Kind.SUBSCRIPTION, theirs["id"], customer=customer, currency=customer.currency,
              amount_minor=wanted.seats, job=job)  # fmt: skip
    return True


def _counted_from(wanted: WantedSubscription, theirs: StripeDict, subscription: Subscription) -> datetime:
    """When the period began whose rest is our first: at a boundary, with the subscription, or after its trial."""
    began = [_instant(said) for said in (theirs["start_date"], theirs.get("trial_end")) if said is not None]
    whole_from, _ = cadence_of(subscription).containing(wanted.starts_at)
    return max([whole_from, *(at for at in began if at <= wanted.starts_at)])


def _subscription(wanted: WantedSubscription, theirs: StripeDict, customer: Customer) -> Subscription:
    is_sent = theirs.get("collection_method") == SENT
    is_trial = wanted.kind == BillingPeriod.Kind.TRIAL
    is_paused = bool(theirs.get("pause_collection"))
    return Subscription.objects.create(
        customer=customer,
        plan_version=wanted.plan,
        seats=wanted.seats,
        status=Subscription.Status.ACTIVE if theirs["status"] in ENDED else theirs["status"],
        started_at=wanted.starts_at,
        anchor_at=_instant(theirs["billing_cycle_anchor"])
        if wanted.plan.alignment == Alignment.ANCHOR
        else wanted.starts_at,
        trial_ends_at=wanted.ends_at if is_trial else None,
        collection_method=theirs.get("collection_method") or Subscription.CollectionMethod.CHARGE_AUTOMATICALLY,
        days_until_due=int(theirs.get("days_until_due") or 0) if is_sent else None,
        paused_from=wanted.starts_at if is_paused else None,
        stripe_subscription_id=theirs["id"],
    )


def bring_invoice(listed: StripeDict, *, job: Job) -> bool:
    """Project an invoice that Stripe made by the cut, with its lines, credit notes, and what the balance settled."""
    if not is_second_before(listed["created"], job.takeover.as_of) or _is_taken(Kind.INVOICE, listed["id"]):
        return False
    is_settled = is_second_before(listed["status_transitions"]["paid_at"], job.takeover.as_of)
    path = f"/v1/invoices/{listed['id']}"
    fetched = listed if is_settled else gateway.retrieve(path, expand=(readers.PAID_OFF_STRIPE,))
    is_finalized = fetched["status"] != "draft"
    lines = readers.all_lines(fetched) if is_finalized else []
    notes = readers.credit_notes_of(fetched) if is_finalized else []
    payments = [] if is_settled else readers.payments_after_giving_up(fetched)
    movements = [] if is_settled else _movements_of(fetched, job.takeover.as_of)
    stripe_subscription_id = readers.subscription_of_invoice(fetched)
    subscription = Subscription.objects.filter(stripe_subscription_id=stripe_subscription_id or None).first()
    with transaction.atomic():
        lock_customer(customer_id=Customer.objects.get(stripe_customer_id=id_of(fetched["customer"])).pk)
        invoice = Invoice.objects.select_related("customer").filter(stripe_invoice_id=fetched["id"]).first()
        if invoice is None:  # else an event of after the cut was quicker, and knows more
            invoice = project_invoice(
                fetched, lines=lines, notes=notes, payments=payments, subscription=subscription, now=job.now
            )
        record_customer_balance_transactions(movements, customer=invoice.customer, now=job.now)
        follow_invoice(invoice, now=job.now)
        outcome = Outcome.HISTORY if invoice.taken_over == Invoice.TakenOver.SETTLED else Outcome.BROUGHT_IN
        _take(Kind.INVOICE, fetched["id"], outcome=outcome, customer=invoice.customer,
              amount_minor=fetched["total"], currency=invoice.currency, job=job)  # fmt: skip
    return True


def _movements_of(invoice: StripeDict, as_of: datetime) -> list[StripeDict]:
    """What the customer's balance settled of an invoice by the cut, oldest first; asked where there may be some."""
    # Credit notes lower what is due as well, so that alone does not tell that nothing was applied.
    is_balance_moved = invoice["starting_balance"] != (invoice["ending_balance"] or 0)
    if invoice["status"] == "draft" or not (is_balance_moved or invoice["total"] != invoice["amount_due"]):
        return []
    found = gateway.listed(f"/v1/customers/{id_of(invoice['customer'])}/balance_transactions")
    of_invoice = [one for one in found if id_of(one.get("invoice")) == invoice["id"]]
    return [one for one in of_invoice if is_second_before(one["created"], as_of)][::-1]


def bring_payment(
    intent: StripeDict,
    *,
    invoice_id: str,
    refunds: Sequence[StripeDict],
    disputes: Sequence[StripeDict],
    closed_at: dict[str, datetime],
    job: Job,
) -> bool:
    """
    Project a payment that was begun by the cut, with its refunds and disputes; False also for one that nobody tried.

    `closed_at`: which disputes were decided after the cut, and when.
    """
    if not is_second_before(intent["created"], job.takeover.as_of) or _is_taken(Kind.PAYMENT, intent["id"]):
        return False
    customer = Customer.objects.filter(stripe_customer_id=id_of(intent.get("customer")) or None).first()
    invoice = Invoice.objects.select_related("customer").filter(stripe_invoice_id=invoice_id or None).first()
    customer = customer or (invoice.customer if invoice is not None else None)
    if customer is None:
        if not id_of(intent.get("customer")) and not invoice_id:
            _bring_movements_of_nobody(intent, refunds, disputes, closed_at=closed_at, job=job)
        leave_out([(Kind.PAYMENT, intent["id"], "its customer is not known here")], job=job)
        return False
    # An invoice of after the cut comes by its events, and this payment's part of it then, too.
    with transaction.atomic():
        payment = project_payment(intent, customer=customer, invoice=invoice, now=job.now)
        if payment is None:
            leave_out([(Kind.PAYMENT, intent["id"], "nobody has tried to pay it")], job=job)
            return False
        project_refunds(refunds, payment=payment, now=job.now)
        if payment.is_taken_over:
            _open_what_is_due(payment, job=job)
        for dispute in disputes:
            _open_dispute(dispute, customer=customer, closed_at=closed_at, job=job)
        project_disputes(disputes, payment=payment, closed_at=closed_at, now=job.now)
        follow_payment(payment, now=job.now)
        outcome = Outcome.HISTORY if payment.is_taken_over else Outcome.BROUGHT_IN
        _take(Kind.PAYMENT, intent["id"], outcome=outcome, customer=customer,
              amount_minor=payment.amount_minor, currency=payment.currency, job=job)  # fmt: skip
    return True


def _bring_movements_of_nobody(
    intent: StripeDict, refunds: Sequence[StripeDict], disputes: Sequence[StripeDict], *,
    closed_at: dict[str, datetime], job: Job,
) -> None:  # fmt: skip
    """Of a payment that names no customer: what was held back of it at the cut, and what has moved since."""
    with transaction.atomic():
        enter_payment_of_nobody(intent, now=job.now)
        for dispute in disputes:
            _open_dispute(dispute, customer=None, closed_at=closed_at, job=job)
        enter_refunds_of_nobody(refunds, now=job.now)
        enter_disputes_of_nobody(disputes, closed_at=closed_at, now=job.now)


def _open_what_is_due(payment: Payment, *, job: Job) -> None:
    """What the customer was owed at the cut: what refunds had promised by then, less what had left and stayed away."""
    as_of = job.takeover.as_of
    left = [one for one in payment.refunds.all() if is_before(one.sent_at, as_of)]
    away_minor = sum(one.amount_minor for one in left if not is_before(one.returned_at, as_of))
    due_minor = promised_by(payment, cut_at=as_of) - away_minor
    open_account(
        "refund_due", debit_minor=-due_minor, currency=payment.currency, stripe_id=payment.stripe_charge_id,
        customer=payment.customer, cause={"charge": payment.stripe_charge_id}, memo="Owed back at the takeover",
        now=job.now,
    )  # fmt: skip


def _open_dispute(dispute: StripeDict, *, customer: Customer | None, closed_at: dict[str, datetime], job: Job) -> None:
    """
    What a bank held back at the cut of a dispute that was not decided then: in the dispute's own currency, in which its
    end is entered, also where Stripe took it in another.
    """
    if _is_taken(Kind.DISPUTE, dispute["id"]):
        return  # a payment of nobody is read by every run, and Stripe tells for 30 days only when a dispute was decided
    movements = dispute.get("balance_transactions") or []
    moved_later = any(not is_second_before(one["created"], job.takeover.as_of) for one in movements)
    was_open = dispute["status"] in UNDECIDED or dispute["id"] in closed_at or moved_later
    currency = dispute["currency"].upper()
    if was_open:
        open_accounts(system_account_specs(currency))
        open_account(
            "disputes", debit_minor=held_minor(dispute, until=job.takeover.as_of), currency=currency,
            stripe_id=dispute["id"], cause={"dispute": dispute["id"], "charge": id_of(dispute["charge"])},
            memo="Held back at the takeover", now=job.now,
        )  # fmt: skip
    outcome = Outcome.BROUGHT_IN if was_open else Outcome.HISTORY
    _take(Kind.DISPUTE, dispute["id"], outcome=outcome, customer=customer,
          amount_minor=dispute["amount"], currency=currency, job=job)  # fmt: skip


def bring_payout(fetched: StripeDict, *, job: Job) -> bool:
    """Project a payout that Stripe made by the cut; one that was under way then gets its opening entry."""
    if not is_second_before(fetched["created"], job.takeover.as_of) or _is_taken(Kind.PAYOUT, fetched["id"]):
        return False
    with transaction.atomic():
        project_payout(fetched, now=job.now)
        is_opened = job.takeover.entries.filter(account_kind="payout:in_transit", stripe_id=fetched["id"]).exists()
        outcome = Outcome.BROUGHT_IN if is_opened else Outcome.HISTORY
        _take(Kind.PAYOUT, fetched["id"], outcome=outcome, amount_minor=fetched["amount"],
              currency=fetched["currency"].upper(), job=job)  # fmt: skip
    return True


def leave_out(named: Iterable[tuple[str, str, str]], *, job: Job) -> None:
    """Write down what is left out: kind, Stripe's id, and why."""
    for kind, stripe_id, reason in named:
        _take(kind, stripe_id, outcome=Outcome.LEFT_OUT, reason=reason, job=job)


def _is_taken(kind: str, stripe_id: str) -> bool:
    return TakenOver.objects.filter(kind=kind, stripe_id=stripe_id).exclude(outcome=Outcome.LEFT_OUT).exists()


def _take(
    kind: str,
    stripe_id: str,
    *,
    outcome: str = Outcome.BROUGHT_IN,
    customer: Customer | None = None,
    amount_minor: int | None = None,
    currency: str = "",
    reason: str = "",
    job: Job,
) -> None:
    TakenOver.objects.get_or_create(
        kind=kind,
        stripe_id=stripe_id,
        outcome=outcome,
        defaults={
            "takeover": job.takeover,
            "customer": customer,
            "amount_minor": amount_minor,
            "currency": currency,
            "reason": reason,
            "recorded_at": job.now,
            "recorded_by": job.actor,
        },
    )


def _instant(second: int) -> datetime:
    return datetime.fromtimestamp(second, tz=UTC)
