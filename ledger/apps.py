from django.apps import AppConfig
from django.urls import reverse

from ledger.causes import cause_links


def _entry_page(entry_id: str) -> str | None:
    return reverse("admin:ledger_journalentry_change", args=[entry_id]) if entry_id.isdecimal() else None


class LedgerConfig(AppConfig):
    name = "ledger"
    verbose_name = "Ledger"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # A correction in the open period names the entry of the closed one.
        cause_links["corrects"] = _entry_page
