"""
Usage that reaches Stripe through its meters: what each price is metered as, every event that was sent, and what
Stripe's own summaries said. Events are only added; of one it is learned whether it counts.
"""

from django.db import models
from django.db.models import Q


class MeteredPrice(models.Model):
    """
    One rate of a plan version as Stripe meters it: a meter of its own and a price whose unit is one chargeable
    increment of the currency. What is sent is the net amount to charge, counted in these.
    """

    plan_version = models.ForeignKey("billing.PlanVersion", on_delete=models.PROTECT, related_name="metered_prices")
    rate = models.ForeignKey("billing.Rate", on_delete=models.PROTECT, related_name="+")
    unit_minor = models.PositiveIntegerField(help_text="One chargeable increment, in minor units (JPY 1, KWD 10).")
    event_name = models.CharField(max_length=100, unique=True)
    stripe_meter_id = models.CharField(max_length=255, unique=True)
    stripe_price_id = models.CharField(max_length=255, unique=True)
    made_at = models.DateTimeField()

    class Meta:
        ordering = ("plan_version_id", "id")
        constraints = (
            models.UniqueConstraint(name="billing_meteredprice_once", fields=("plan_version", "rate")),
            models.CheckConstraint(name="billing_meteredprice_unit", condition=Q(unit_minor__gte=1)),
        )

    def __str__(self) -> str:
        return self.event_name


class MeteredEvent(models.Model):
    """
    A change of what the usage of one rate in one period comes to, as it was sent to Stripe's meter, of either sign.

    No two of a period and price have the same minute, so that Stripe's summary of that minute says whether this one
    counts: it cannot be fetched by its identifier, which Stripe forgets after a day.
    """

    class State(models.TextChoices):
        INTENDED = "intended", "Under way"
        ACCEPTED = "accepted", "Taken by Stripe"
        NOT_COUNTED = "not_counted", "Does not count"

    period = models.ForeignKey("billing.BillingPeriod", on_delete=models.PROTECT, related_name="metered_events")
    price = models.ForeignKey(MeteredPrice, on_delete=models.PROTECT, related_name="events")
    number = models.PositiveIntegerField(help_text="1, 2, 3 … within the period and price.")
    identifier = models.CharField(max_length=100, unique=True)
    units = models.BigIntegerField(help_text="Chargeable increments, of either sign.")
    total_units = models.BigIntegerField(help_text="What the period comes to with it, of all that count.")
    minute_at = models.DateTimeField(help_text="Its time at Stripe: a whole minute within the period.")
    again_of = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, related_name="sent_again", help_text="One that did not count."
    )
    state = models.CharField(max_length=12, choices=State, default=State.INTENDED)
    error = models.CharField(max_length=500, blank=True, help_text="Why it does not count, as Stripe says.")
    made_at = models.DateTimeField()
    made_by = models.CharField(max_length=200, help_text="A task of ours, a service or a person.")
    reason = models.CharField(max_length=500, blank=True, help_text="Why a person had it sent.")
    answered_at = models.DateTimeField(null=True, help_text="When Stripe took or refused it.")

    class Meta:
        ordering = ("-id",)
        verbose_name = "meter event"
        permissions = (("resend_meteredevent", "Can have usage sent to Stripe's meters again"),)
        constraints = (
            models.UniqueConstraint(name="billing_meteredevent_number", fields=("period", "price", "number")),
            models.UniqueConstraint(name="billing_meteredevent_minute", fields=("period", "price", "minute_at")),
            # What is under way is settled before the next is worked out.
            models.UniqueConstraint(
                name="billing_meteredevent_one_under_way", fields=("period", "price"), condition=Q(state="intended")
            ),
            models.CheckConstraint(name="billing_meteredevent_not_zero", condition=~Q(units=0)),
            models.CheckConstraint(name="billing_meteredevent_total", condition=Q(total_units__gte=0)),
            models.CheckConstraint(
                name="billing_meteredevent_says_why", condition=~Q(state="not_counted") | ~Q(error="")
            ),
            models.CheckConstraint(
                name="billing_meteredevent_answered", condition=Q(state="intended") ^ Q(answered_at__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return self.identifier


class MeteredWithdrawal(models.Model):
    """A period whose usage goes onto its invoice as lines after all: from then on its meters are brought to nothing."""

    period = models.OneToOneField("billing.BillingPeriod", on_delete=models.PROTECT, related_name="withdrawal")
    reason = models.CharField(max_length=500)
    recorded_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = (models.CheckConstraint(name="billing_meteredwithdrawal_reason", condition=~Q(reason="")),)

    def __str__(self) -> str:
        return self.reason


class MeteredSummary(models.Model):
    """What Stripe's summary said of one price in one period, beside what counts by our events."""

    period = models.ForeignKey("billing.BillingPeriod", on_delete=models.PROTECT, related_name="metered_summaries")
    price = models.ForeignKey(MeteredPrice, on_delete=models.PROTECT, related_name="summaries")
    stripe_units = models.BigIntegerField(help_text="Chargeable increments, by Stripe's summary of the period.")
    our_units = models.BigIntegerField(help_text="The same by the events that count.")
    read_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "metered summaries"

    def __str__(self) -> str:
        return f"{self.stripe_units} of {self.our_units}"

    @property
    def agrees(self) -> bool:
        """Whether both are the same."""
        return self.stripe_units == self.our_units


class MeteredShortfall(models.Model):
    """
    An event of which Stripe said only after its close was compared that it does not count. While the invoice is a
    draft the close is held, and what is missing can be sent again; what Stripe finalised without it is for a person.
    """

    event = models.OneToOneField(MeteredEvent, on_delete=models.PROTECT, related_name="shortfall")
    close = models.ForeignKey("billing.InvoiceClose", on_delete=models.PROTECT, related_name="metered_shortfalls")
    amount_minor = models.BigIntegerField(help_text="What Stripe's meter lacks by it, in minor units, of either sign.")
    found_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        verbose_name = "shortfall"
        verbose_name_plural = "usage left off invoices"
        permissions = (("decide_meteredshortfall", "Can decide about usage that Stripe left off an invoice"),)
        constraints = (models.CheckConstraint(name="billing_meteredshortfall_amount", condition=~Q(amount_minor=0)),)

    def __str__(self) -> str:
        return f"Left off by Stripe: {self.event}"


class MeteredShortfallDecision(models.Model):
    """What became of usage that Stripe left off an invoice: the first word about it, and the last."""

    class Way(models.TextChoices):
        SENT_AGAIN = "sent_again", "Sent again, and on its invoice"
        NEXT_INVOICE = "next_invoice", "On the next invoice"
        DOCUMENT = "document", "A credit note, or an invoice of its own"
        ABSORB = "absorb", "Absorbed"

    shortfall = models.OneToOneField(MeteredShortfall, on_delete=models.PROTECT, related_name="decision")
    way = models.CharField(max_length=12, choices=Way)
    reason = models.CharField(max_length=500)
    decided_by = models.CharField(max_length=200, help_text="A task of ours, a service or a person.")
    decided_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                name="billing_meteredshortfalldecision_says_why", condition=~Q(reason="") & ~Q(decided_by="")
            ),
        )

    def __str__(self) -> str:
        return self.get_way_display()


__all__ = [
    "MeteredEvent",
    "MeteredPrice",
    "MeteredShortfall",
    "MeteredShortfallDecision",
    "MeteredSummary",
    "MeteredWithdrawal",
]
