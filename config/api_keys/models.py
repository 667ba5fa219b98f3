"""API keys of services. The key itself is shown once, when it is made; the database keeps its hash."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from rest_framework_api_key.models import AbstractAPIKey

from config.api_keys.scopes import Scope


class ApiKey(AbstractAPIKey):
    """One key of one service, with the scopes it was given. Keys are revoked, never deleted."""

    scopes = ArrayField(
        models.CharField(max_length=40, choices=Scope),
        help_text="What the key may be used for. A key without the scope an address asks for is refused there.",
    )

    class Meta(AbstractAPIKey.Meta):
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        constraints = [
            models.CheckConstraint(name="api_key_has_known_scopes", condition=Q(scopes__contained_by=Scope.values)),
            models.CheckConstraint(name="api_key_has_a_scope", condition=Q(scopes__len__gt=0)),
        ]

    def allows(self, scope: str) -> bool:
        return scope in self.scopes
