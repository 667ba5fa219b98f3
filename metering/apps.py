"""Metering: how much was used. Knows nothing of money."""

from django.apps import AppConfig


class MeteringConfig(AppConfig):
    name = "metering"
    label = "metering"
    verbose_name = "Usage"
    default_auto_field = "django.db.models.BigAutoField"
