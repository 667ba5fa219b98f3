"""Up to how much one person may move alone, for each currency: a setting, because every company has its own."""

from decimal import Decimal

from django.conf import settings


def limit_of(currency: str) -> Decimal | None:
    """
    What one person may move by hand for one customer on one day (UTC), in currency units.

    None: the currency has no limit, and so every manual entry needs a second person.
    """
    limits: dict[str, Decimal] = settings.MANUAL_ENTRY_LIMITS
    return limits.get(currency)
