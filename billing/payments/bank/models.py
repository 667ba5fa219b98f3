"""
What the bank says, line by line, and which payouts of Stripe's its lines are.

Everything here is a fact and only added: a match that was wrong is undone by a row that says so. Which match of a line
or payout counts is its one that was not undone (migrations/sql/0024_bank.sql sees to it that there is at most one).
"""

from django.db import models
from django.db.models import F, Q


class BankAccount(models.Model):
    """
    An account at a bank, in one currency, whose statements are imported.

    How its lines are told apart is settled with the first import, or an import with other columns would take the same
    lines twice: by the bank's own id, or by day, amount and the text of these columns.
    """

    class ToldApartBy(models.TextChoices):
        BANK_ID = "bank_id", "The bank's id of a line"
        CONTENT = "content", "Day, amount and reference, counted"

    name = models.CharField(max_length=100, unique=True)
    currency = models.CharField(max_length=3)
    told_apart_by = models.CharField(max_length=20, choices=ToldApartBy)
    reference_columns = models.JSONField(help_text="The columns of the reference, where lines are told apart by it.")
    opened_at = models.DateTimeField(help_text="When its first statement was imported.")
    opened_by = models.CharField(max_length=200)

    class Meta:
        ordering = ("name",)
        constraints = (
            models.CheckConstraint(
                name="billing_bankaccount_is_named",
                condition=~Q(name="") & ~Q(opened_by="") & Q(currency__regex="^[A-Z]{3}$"),
            ),
        )

    def __str__(self) -> str:
        return self.name


class BankAccountClosing(models.Model):
    """
    That an account was closed at the bank, with its last day; or, without a day, that it is open after all.

    The latest word counts. No line of a later day is taken of a closed account.
    """

    account = models.ForeignKey(BankAccount, on_delete=models.PROTECT, related_name="closings")
    closed_on = models.DateField(null=True, help_text="Its last day; empty: it is open.")
    reason = models.CharField(max_length=500)
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=200)

    class Meta:
        ordering = ("id",)
        permissions = (("close_bankaccount", "Can say that a bank account was closed"),)
        constraints = (
            models.CheckConstraint(
                name="billing_bankaccountclosing_says_why", condition=~Q(reason="") & ~Q(recorded_by="")
            ),
        )

    def __str__(self) -> str:
        return "Open" if self.closed_on is None else f"Closed on {self.closed_on:%d %b %Y}"


class BankStatement(models.Model):
    """A file that was imported, whole. Amounts in minor units of the account's currency."""

    account = models.ForeignKey(BankAccount, on_delete=models.PROTECT, related_name="statements")
    file_name = models.CharField(max_length=255)
    file_digest = models.CharField(max_length=64, help_text="SHA-256 of the file.")
    rules = models.JSONField(help_text="How the file was read: columns, dates, decimals.")
    rules_digest = models.CharField(max_length=64)
    line_count = models.PositiveIntegerField()
    new_count = models.PositiveIntegerField(help_text="Lines that no statement before had.")
    first_day = models.DateField()
    last_day = models.DateField()
    opening_minor = models.BigIntegerField(
        null=True, help_text="The balance before its first line, where it was given."
    )
    closing_minor = models.BigIntegerField(null=True, help_text="The balance after its last line, where it was given.")
    imported_at = models.DateTimeField()
    imported_by = models.CharField(max_length=200)

    class Meta:
        ordering = ("-imported_at", "-id")
        permissions = (("import_bankstatement", "Can import statements of a bank account"),)
        constraints = (
            models.UniqueConstraint(
                name="billing_bankstatement_once", fields=("account", "file_digest", "rules_digest")
            ),
            models.CheckConstraint(
                name="billing_bankstatement_in_order",
                condition=Q(first_day__lte=F("last_day"), new_count__lte=F("line_count"), line_count__gt=0),
            ),
            models.CheckConstraint(name="billing_bankstatement_by_somebody", condition=~Q(imported_by="")),
        )

    def __str__(self) -> str:
        return f"{self.account}, {self.first_day:%d %b %Y} to {self.last_day:%d %b %Y}"


class BankLine(models.Model):
    """One line of the account: money that came in (above zero) or went out. Kept once, whatever is imported again."""

    account = models.ForeignKey(BankAccount, on_delete=models.PROTECT, related_name="lines")
    statement = models.ForeignKey(BankStatement, on_delete=models.PROTECT, related_name="lines")
    line_number = models.PositiveIntegerField(help_text="In the file that brought it first.")
    booked_on = models.DateField()
    value_on = models.DateField(null=True)
    amount_minor = models.BigIntegerField(help_text="Minor units of the currency; below zero it left the account.")
    currency = models.CharField(max_length=3)
    reference = models.CharField(max_length=1000, blank=True)
    bank_id = models.CharField(max_length=200, blank=True)
    identity = models.CharField(max_length=64, help_text="SHA-256 of what tells it apart.")
    number = models.PositiveIntegerField(help_text="Of lines that are equal in this, in one file: which.")

    class Meta:
        ordering = ("-booked_on", "-id")
        permissions = (("match_bankline", "Can say which payout a bank line is, or that it is none"),)
        indexes = (models.Index(name="billing_bankline_amount", fields=("currency", "amount_minor")),)
        constraints = (
            models.UniqueConstraint(name="billing_bankline_once", fields=("account", "identity", "number")),
            models.CheckConstraint(name="billing_bankline_counted", condition=Q(number__gt=0)),
        )

    def __str__(self) -> str:
        return f"Bank line {self.pk}"


class Leg(models.TextChoices):
    """A payout's way at the bank: it arrives, and where the bank refuses it after that, it leaves again."""

    ARRIVED = "arrived", "Arrived"
    RETURNED = "returned", "Went back"


class BankMatch(models.Model):
    """That these lines are these payouts: one line and one payout, or, by a person, one of the one and several of the
    other."""

    class Kind(models.TextChoices):
        EXACT = "exact", "By the rule"
        BY_HAND = "by_hand", "By a person"

    kind = models.CharField(max_length=20, choices=Kind)
    currency = models.CharField(max_length=3)
    difference_minor = models.BigIntegerField(help_text="The lines less the payouts; only a person accepts one.")
    why = models.CharField(max_length=500)
    matched_at = models.DateTimeField()
    matched_by = models.CharField(max_length=200, help_text="A person, or the task of the rule.")

    class Meta:
        verbose_name_plural = "bank matches"
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                name="billing_bankmatch_by_whom",
                condition=Q(kind="exact", matched_by="task:match_bank_lines", difference_minor=0)
                | Q(kind="by_hand", matched_by__startswith="user:"),
            ),
            models.CheckConstraint(name="billing_bankmatch_says_why", condition=~Q(why="")),
        )

    def __str__(self) -> str:
        return f"Match {self.pk}"


class BankMatchLine(models.Model):
    match = models.ForeignKey(BankMatch, on_delete=models.PROTECT, related_name="lines")
    line = models.ForeignKey(BankLine, on_delete=models.PROTECT, related_name="matches")
    number = models.PositiveIntegerField(help_text="Which match of this line it is; every earlier one was undone.")

    class Meta:
        ordering = ("id",)
        constraints = (models.UniqueConstraint(name="billing_bankmatchline_once", fields=("line", "number")),)

    def __str__(self) -> str:
        return f"{self.line} in match {self.match_id}"


class BankMatchPayout(models.Model):
    match = models.ForeignKey(BankMatch, on_delete=models.PROTECT, related_name="payouts")
    payout = models.ForeignKey("billing.Payout", on_delete=models.PROTECT, related_name="bank_matches")
    leg = models.CharField(max_length=10, choices=Leg)
    number = models.PositiveIntegerField(help_text="Which match of this it is; every earlier one was undone.")

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(name="billing_bankmatchpayout_once", fields=("payout", "leg", "number")),
            models.CheckConstraint(name="billing_bankmatchpayout_leg", condition=Q(leg__in=Leg.values)),
        )

    def __str__(self) -> str:
        return f"{self.payout} in match {self.match_id}"


class BankMatchUndoing(models.Model):
    """That a match does not count any more."""

    match = models.OneToOneField(BankMatch, on_delete=models.PROTECT, related_name="undoing")
    why = models.CharField(max_length=500)
    undone_at = models.DateTimeField()
    undone_by = models.CharField(max_length=200, help_text="A person, or the task of the rule.")

    class Meta:
        constraints = (
            models.CheckConstraint(name="billing_bankmatchundoing_says_why", condition=~Q(why="") & ~Q(undone_by="")),
        )

    def __str__(self) -> str:
        return f"{self.match} undone"


class BankLineDecision(models.Model):
    """Whether a line is Stripe's, by a person. The latest counts; without one its reference decides."""

    line = models.ForeignKey(BankLine, on_delete=models.PROTECT, related_name="decisions")
    is_stripes = models.BooleanField()
    why = models.CharField(max_length=500)
    decided_at = models.DateTimeField()
    decided_by = models.CharField(max_length=200)

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(
                name="billing_banklinedecision_says_why", condition=~Q(why="") & Q(decided_by__startswith="user:")
            ),
        )

    def __str__(self) -> str:
        return f"{self.line} is {'' if self.is_stripes else 'not '}Stripe's"


class PayoutMovement(models.Model):
    """That an automatic payout paid out this movement on our balance at Stripe, as Stripe lists it. Each once."""

    payout = models.ForeignKey("billing.Payout", on_delete=models.PROTECT, related_name="movements")
    balance_transaction = models.OneToOneField(
        "billing.BalanceTransaction", on_delete=models.PROTECT, related_name="paid_out_by"
    )

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.balance_transaction} in {self.payout}"
