from django.apps import AppConfig


class BillingConfig(AppConfig):
    name = "billing"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Tell the apps below where billing's pages are, Django what to check, and redriving what has ended."""
        from billing import admin_hooks  # noqa: PLC0415  (it imports modules that need the apps to be loaded)
        from billing.payments import ended  # noqa: PLC0415
        from billing.stripe import checks  # noqa: PLC0415

        admin_hooks.connect()
        checks.install()
        ended.install()
