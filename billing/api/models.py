"""Which request a caller's key stands for."""

from django.db import models

PATH_CHARS_MAX = 1000


class ApiWrite(models.Model):
    """The first request that a caller sent under an idempotency key. Another one under it is refused. Only added."""

    actor = models.CharField(max_length=200, help_text="service:NAME or user:NAME.")
    key = models.CharField(max_length=100, help_text="The header Idempotency-Key.")
    path = models.CharField(max_length=PATH_CHARS_MAX)
    body_sha256 = models.CharField(max_length=64)
    recorded_at = models.DateTimeField()

    class Meta:
        constraints = (models.UniqueConstraint(name="billing_apiwrite_once", fields=("actor", "key")),)

    def __str__(self) -> str:
        return f"{self.key} of {self.actor}"
