"""
Recovery of what could not be collected: the declared policy, a case per invoice, and what was done about it.

A case is a summary that moves forward; its steps are facts and only added. E-mails to customers are intents of their
own, each sent at most once.
"""

from django.db import models
from django.db.models import F, Q

from billing.payments.two_people import AskedFor, DecidedOn, decision_constraints, request_constraints


class RecoveryPolicy(models.Model):
    """A version of a declared policy (policy.py reads `terms`). Other terms are another version; nothing changes."""

    code = models.CharField(max_length=64)
    version = models.PositiveIntegerField()
    name = models.CharField(max_length=200)
    terms = models.JSONField(help_text="Whose retries, on which days, reminders, grace, restriction, write-off.")
    declared_at = models.DateTimeField()
    declared_by = models.CharField(max_length=200)

    class Meta:
        verbose_name_plural = "recovery policies"
        ordering = ("code", "-version")
        constraints = (
            models.UniqueConstraint(name="billing_recoverypolicy_version", fields=("code", "version")),
            models.CheckConstraint(
                name="billing_recoverypolicy_named", condition=~Q(code="") & ~Q(name="") & ~Q(declared_by="")
            ),
        )

    def __str__(self) -> str:
        return f"{self.name}, version {self.version}"


class RecoveryPolicyChoice(models.Model):
    """From when on a policy holds: for one customer (its contract), for a plan, or for everybody. The latest counts."""

    policy = models.ForeignKey(RecoveryPolicy, on_delete=models.PROTECT, related_name="choices")
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, null=True, related_name="+")
    plan = models.ForeignKey("billing.Plan", on_delete=models.PROTECT, null=True, related_name="+")
    chosen_at = models.DateTimeField()
    chosen_by = models.CharField(max_length=200)
    reason = models.CharField(max_length=500)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                name="billing_recoverypolicychoice_one_scope", condition=Q(customer=None) | Q(plan=None)
            ),
            models.CheckConstraint(
                name="billing_recoverypolicychoice_says_why", condition=~Q(reason="") & ~Q(chosen_by="")
            ),
        )

    def __str__(self) -> str:
        return f"{self.policy} since {self.chosen_at:%d %b %Y}"


class RecoveryCase(models.Model):
    """
    One invoice that could not be collected, from the first failure to its end.

    The dates are worked out from the policy when it is opened and stay. `next_step_at` is when the task looks at it
    again: while one worker is at it, when its turn ends.
    """

    class State(models.TextChoices):
        OPEN = "open", "Open"
        WRITTEN_OFF = "written_off", "Written off"
        CLOSED = "closed", "Closed"

    class Outcome(models.TextChoices):
        PAID = "paid", "Paid"
        PAID_ELSEWHERE = "paid_elsewhere", "Paid outside Stripe"
        CREDITED = "credited", "Credited in full"
        VOID = "void", "Invoice void"

    invoice = models.OneToOneField("billing.Invoice", on_delete=models.PROTECT, related_name="recovery_case")
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="recovery_cases")
    policy = models.ForeignKey(RecoveryPolicy, on_delete=models.PROTECT, related_name="cases")
    currency = models.CharField(max_length=3)
    amount_minor = models.BigIntegerField(help_text="What was asked for when it was opened, in minor units.")
    failed_at = models.DateTimeField(help_text="The first failure, or the due date: all days are counted from it.")
    opened_at = models.DateTimeField()
    grace_ends_at = models.DateTimeField()
    restricts_at = models.DateTimeField(null=True, help_text="From then on service is restricted; empty: never.")
    state = models.CharField(max_length=20, choices=State, default=State.OPEN)
    outcome = models.CharField(max_length=20, choices=Outcome, blank=True)
    closed_at = models.DateTimeField(null=True)
    next_step_at = models.DateTimeField(null=True, help_text="When the task looks at it again; empty: no more.")

    class Meta:
        ordering = ("-opened_at", "-id")
        indexes = (
            models.Index(
                name="billing_recoverycase_due", fields=("next_step_at",), condition=Q(next_step_at__isnull=False)
            ),
            models.Index(name="billing_recoverycase_live", fields=("customer",), condition=~Q(state="closed")),
        )
        constraints = (
            models.CheckConstraint(
                name="billing_recoverycase_ends_once",
                condition=Q(state="closed", closed_at__isnull=False, next_step_at=None) & ~Q(outcome="")
                | Q(closed_at=None, outcome="") & ~Q(state="closed"),
            ),
            models.CheckConstraint(
                name="billing_recoverycase_in_order",
                condition=Q(grace_ends_at__gte=F("failed_at"))
                & (Q(restricts_at=None) | Q(restricts_at__gte=F("grace_ends_at"))),
            ),
        )

    def __str__(self) -> str:
        return f"Recovery of {self.invoice}"


class RecoveryStep(models.Model):
    """One thing that was done or happened in a case, once. `due_at` is when it was to happen. Only added."""

    class Kind(models.TextChoices):
        OPENED = "opened", "Could not be collected"
        TAKEN_OVER = "taken_over", "Retries are ours now"
        ATTEMPT = "attempt", "Payment tried again"
        REMINDER = "reminder", "Reminder"
        ACTION_REQUIRED = "action_required", "Customer has to confirm the payment"
        GRACE_ENDED = "grace_ended", "Grace ended"
        RESTRICTED = "restricted", "Service restricted"
        WRITE_OFF_PROPOSED = "write_off_proposed", "Proposed for write-off"
        WRITTEN_OFF = "written_off", "Written off"
        CLOSED = "closed", "Closed"

    case = models.ForeignKey(RecoveryCase, on_delete=models.PROTECT, related_name="steps")
    kind = models.CharField(max_length=20, choices=Kind)
    number = models.PositiveIntegerField(default=0, help_text="Of attempts and reminders: 1 first, as the policy says.")
    due_at = models.DateTimeField()
    recorded_at = models.DateTimeField()
    result = models.CharField(max_length=40, help_text="done, declined, paid, skipped, missed …")
    detail = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ("id",)
        constraints = (models.UniqueConstraint(name="billing_recoverystep_once", fields=("case", "kind", "number")),)

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.number or ''}".strip()


class WriteOffRequest(AskedFor):
    """A person asks to give up what an invoice still asks for. The money is not moved by us: Stripe marks it."""

    case = models.ForeignKey(RecoveryCase, on_delete=models.PROTECT, related_name="write_off_requests")
    done_at = models.DateTimeField(null=True, help_text="When Stripe was told.")
    error = models.CharField(max_length=500, blank=True, help_text="Why Stripe refused.")

    class Meta:
        ordering = ("-requested_at", "-id")
        permissions = (("decide_writeoff", "Can ask to give up a debt, and decide about what somebody else asked"),)
        constraints = request_constraints("billing_writeoffrequest")

    def __str__(self) -> str:
        return f"Write-off of {self.case.invoice}"


class WriteOffDecision(DecidedOn):
    request = models.OneToOneField(WriteOffRequest, on_delete=models.PROTECT, related_name="decision")

    class Meta:
        constraints = decision_constraints("billing_writeoffdecision")

    def __str__(self) -> str:
        return f"{self.get_outcome_display()} by {self.decided_by.removeprefix('user:')}"


class Message(models.Model):
    """
    An e-mail that is to be sent: committed with the fact it tells, sent by a task, at most once.

    `context` holds what the text names (amounts as text, a link), no card number and no secret. In `sending` the mail
    server may or may not have it: such a message is never sent again by itself.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        SENDING = "sending", "Handed over, outcome not known"
        SENT = "sent", "Sent"
        FAILED = "failed", "Failed"

    purpose = models.CharField(max_length=200, unique=True, help_text="Such as recovery:7:reminder:2; once for each.")
    text = models.CharField(max_length=60, help_text="Name of the text (templates/email/).")
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, null=True, related_name="messages")
    case = models.ForeignKey(RecoveryCase, on_delete=models.PROTECT, null=True, related_name="messages")
    to = models.EmailField()
    context = models.JSONField()
    state = models.CharField(max_length=12, choices=State, default=State.WAITING)
    created_at = models.DateTimeField()
    next_attempt_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0, help_text="How often the mail server was asked for.")
    sent_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        verbose_name = "e-mail"
        ordering = ("-created_at", "-id")
        indexes = (
            models.Index(name="billing_message_waiting", fields=("next_attempt_at",), condition=Q(state="waiting")),
        )
        constraints = (
            models.CheckConstraint(
                name="billing_message_sent_at",
                condition=Q(state="sent", sent_at__isnull=False) | Q(sent_at=None) & ~Q(state="sent"),
            ),
        )

    def __str__(self) -> str:
        return f"{self.text.replace('_', ' ').capitalize()} to {self.to}"


class PaymentCard(models.Model):
    """A customer's card as Stripe last told: brand, last four digits, expiry, and nothing else of it."""

    stripe_payment_method_id = models.CharField(max_length=255, unique=True)
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="cards")
    brand = models.CharField(max_length=40)
    last4 = models.CharField(max_length=4)
    exp_month = models.PositiveSmallIntegerField()
    exp_year = models.PositiveSmallIntegerField()
    is_default = models.BooleanField(default=False, help_text="It pays what is charged automatically.")
    detached_at = models.DateTimeField(null=True)
    projected_at = models.DateTimeField()

    class Meta:
        ordering = ("-is_default", "-id")
        constraints = (
            models.CheckConstraint(name="billing_paymentcard_only_its_end", condition=Q(last4__regex=r"^[0-9]{4}$")),
            models.CheckConstraint(name="billing_paymentcard_expiry", condition=Q(exp_month__gte=1, exp_month__lte=12)),
            models.UniqueConstraint(
                name="billing_paymentcard_one_default", fields=("customer",), condition=Q(is_default=True)
            ),
        )

    def __str__(self) -> str:
        return f"{self.brand} ending in {self.last4}, {self.exp_month:02}/{self.exp_year}"
