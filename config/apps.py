"""The Django app that carries settings, API keys and the project's Celery application."""

from django.apps import AppConfig


class PlatformConfig(AppConfig):
    name = "config"
    verbose_name = "Platform"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Make the project's Celery application the one that `shared_task` binds to in every process."""
        from config import celery  # noqa: F401, PLC0415  (earlier, the stack's launcher would load Celery as well)
