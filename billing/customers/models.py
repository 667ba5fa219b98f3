"""Who pays: a person or a team, known to every other room by its key."""

from django.db import models
from django.db.models import Q


class Customer(models.Model):
    """A person or team that is charged. `customer_key` is the string the lower apps hold; it never changes."""

    class Kind(models.TextChoices):
        INDIVIDUAL = "individual", "Individual"
        TEAM = "team", "Team"
        ENTERPRISE = "enterprise", "Enterprise"

    customer_key = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=200)
    email = models.EmailField()
    kind = models.CharField(max_length=20, choices=Kind)
    currency = models.CharField(max_length=3, help_text="ISO 4217, upper case. All money of this customer is in it.")
    stripe_customer_id = models.CharField(max_length=255, unique=True, null=True, blank=True)
    created_at = models.DateTimeField(help_text="When the customer signed up.")

    class Meta:
        ordering = ("customer_key",)
        constraints = (
            models.CheckConstraint(
                name="billing_customer_key_valid", condition=Q(customer_key__regex=r"^[A-Za-z0-9_.-]{1,64}$")
            ),
            models.CheckConstraint(name="billing_customer_currency_valid", condition=Q(currency__regex=r"^[A-Z]{3}$")),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.customer_key})"
