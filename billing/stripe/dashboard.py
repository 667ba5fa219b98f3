"""Where an object is to be seen at Stripe. Only real Stripe has a dashboard: a stand-in's ids get no link."""

from django.conf import settings
from django.utils.html import format_html

_NOTHING = "–"


def object_url(section: str, stripe_id: str) -> str:
    """
    Address of an object in Stripe's dashboard, such as object_url("invoices", "in_1").

    Empty where no object, no key, or another address than Stripe's own is configured.
    """
    if not stripe_id or not settings.STRIPE_SECRET_KEY or settings.STRIPE_API_BASE:
        return ""
    mode = "" if settings.STRIPE_LIVE_MODE else "test/"
    return f"https://dashboard.stripe.com/{mode}{section}/{stripe_id}"


def object_text(section: str, stripe_id: str | None) -> str:
    """The id, as a link where there is a dashboard to look into."""
    if not stripe_id:
        return _NOTHING
    url = object_url(section, stripe_id)
    if not url:
        return stripe_id
    return format_html('<a class="bb-link" href="{}" rel="noopener noreferrer" target="_blank">{}</a>', url, stripe_id)
