"""Which discount of Stripe's took how much off which line."""

from django.db import models
from django.db.models import Q


class InvoiceLineDiscount(models.Model):
    """
    What one discount took off one line of a finalised invoice, in minor units with the line's sign.

    The parts of a line come to its `discount_minor`. An invoice of before this table has none.
    """

    line = models.ForeignKey("billing.InvoiceLine", on_delete=models.PROTECT, related_name="discounts")
    stripe_discount_id = models.CharField(max_length=255)
    coupon = models.CharField(max_length=255, blank=True, help_text="Stripe's id of its coupon, where it was told.")
    amount_minor = models.BigIntegerField()

    class Meta:
        ordering = ("line_id", "id")
        constraints = (
            models.UniqueConstraint(name="billing_linediscount_once", fields=("line", "stripe_discount_id")),
            models.CheckConstraint(
                name="billing_linediscount_takes", condition=~Q(amount_minor=0) & ~Q(stripe_discount_id="")
            ),
        )

    def __str__(self) -> str:
        return self.coupon or self.stripe_discount_id
