"""What the templates of the admin need to show money, quantities, states and links."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing import admin_links, money_text

register = template.Library()

# Words of all rooms, in the colour of what they ask of the reader: nothing, patience, or to act.
_TONES: Mapping[str, str] = {
    **dict.fromkeys(
        ("paid", "succeeded", "active", "done", "finalized", "closed", "within_limit", "approved", "settled"), "good"
    ),
    **dict.fromkeys(
        ("draft", "processing", "received", "intended", "trialing", "pending", "requires_action", "waiting"), "waiting"
    ),
    **dict.fromkeys(("found", "correcting"), "waiting"),
    **dict.fromkeys(("agreed", "sending"), "waiting"),
    **dict.fromkeys(("sent",), "good"),
    "written_off": "bad",
    **dict.fromkeys(("published", "completed", "told"), "good"),
    **dict.fromkeys(("running", "telling"), "waiting"),
    **dict.fromkeys(("halted", "rolled_back"), "bad"),
    "decision": "bad",
    **dict.fromkeys(
        (
            "decision",
            "past_due",
            "failed",
            "dead",
            "refused",
            "rejected",
            "unpaid",
            "uncollectible",
            "held",
            "incomplete",
            "not_counted",
        ),
        "bad",
    ),
}


@register.filter
def minor(amount_minor: int | None, currency: str) -> str:
    return admin_links.NOTHING if amount_minor is None else money_text.minor_text(amount_minor, currency)


@register.filter
def exact(amount: Decimal | None, currency: str) -> str:
    return admin_links.NOTHING if amount is None else money_text.exact_text(amount, currency)


@register.filter
def exact_figure(amount: Decimal, currency: str) -> SafeString:
    """As `exact`, for a large figure: what lies beyond the second decimal place is small beside it."""
    text = money_text.exact_text(amount, currency)
    cut = text.index(".") + 3
    return format_html('{}<small class="bb-fine">{}</small>', text[:cut], text[cut:])


@register.filter
def quantity(amount: Decimal | int | None) -> str:
    return admin_links.NOTHING if amount is None else money_text.quantity_text(Decimal(amount))


@register.filter
def moment(at: datetime | None) -> SafeString | str:
    """An instant in UTC to the minute; the second and the zone are in its tooltip."""
    if at is None:
        return admin_links.NOTHING
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        at.isoformat(),
        f"{at:%Y-%m-%d %H:%M:%S}",
        f"{at:%d %b %Y %H:%M}",
    )


@register.simple_tag
def badge(code: str, label: str = "") -> SafeString:
    """A state as a coloured word."""
    return format_html('<span class="bb-badge bb-{}">{}</span>', tone(code), label or code.replace("_", " "))


@register.simple_tag
def page_of(model: str, key: object) -> str:
    return admin_links.page_url(model, key)


@register.simple_tag
def list_of(model: str, **filters: object) -> str:
    return admin_links.list_url(model, **filters)


def tone(code: str) -> str:
    return _TONES.get(code, "plain")
