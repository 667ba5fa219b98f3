"""API keys of services. The key itself is shown once, when it is made; the database keeps its hash."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from rest_framework_api_key.models import AbstractAPIKey

from config.api_keys.scopes import Scope

LIMIT_MAX = 10_000_000


class ApiKey(AbstractAPIKey):
    """One key of one service, with the scopes it was given. Keys are revoked, never deleted."""

    scopes = ArrayField(
        models.CharField(max_length=40, choices=Scope),
        help_text="What the key may be used for. A key without the scope an address asks for is refused there.",
    )
    events_per_second = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="How many usage events a second this key may send in the long run. Empty: what the settings say.",
    )
    events_burst = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="How many usage events it may send at once after a pause. Empty: what the settings say.",
    )

    class Meta(AbstractAPIKey.Meta):
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        permissions = [("manage_apikey", "Can change limits of API keys and revoke them")]
        constraints = [
            models.CheckConstraint(name="api_key_has_known_scopes", condition=Q(scopes__contained_by=Scope.values)),
            models.CheckConstraint(name="api_key_has_a_scope", condition=Q(scopes__len__gt=0)),
            models.CheckConstraint(
                name="api_key_limits_are_possible",
                condition=(Q(events_per_second=None) | Q(events_per_second__range=(1, LIMIT_MAX)))
                & (Q(events_burst=None) | Q(events_burst__range=(1, LIMIT_MAX))),
                violation_error_message=f"A limit is empty, or from 1 to {LIMIT_MAX:,}.",
            ),
        ]

    def allows(self, scope: str) -> bool:
        return scope in self.scopes
