"""How an invoice of our making is taxed and collected: as the one that Stripe made for the same customer was."""

from collections.abc import Mapping
from typing import Any

from billing.stripe import readers

DAY_SECONDS = 86_400


def terms_of(stripe_invoice: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that make another invoice be taxed and collected as this one, just fetched, was."""
    terms: dict[str, Any] = {}
    rates = [readers.id_of(rate) for rate in stripe_invoice.get("default_tax_rates") or []]
    if rates:
        terms["default_tax_rates"] = rates
    if (stripe_invoice.get("automatic_tax") or {}).get("enabled"):
        terms["automatic_tax"] = {"enabled": True}
    if stripe_invoice["collection_method"] == "send_invoice":
        open_for = (stripe_invoice.get("due_date") or stripe_invoice["created"]) - stripe_invoice["created"]
        terms |= {"collection_method": "send_invoice", "days_until_due": max(open_for // DAY_SECONDS, 1)}
    return terms
