"""What the templates of metering need to show instants, quantities and states."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from django import template
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from metering import page_links, showing

register = template.Library()


@register.filter
def instant(at: datetime | None, zone: ZoneInfo) -> SafeString | str:
    """To the microsecond, in the reader's zone and, where that is another one, in UTC below it."""
    if at is None:
        return showing.NOTHING
    in_utc = at.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
    if zone.key == "UTC":
        return format_html('<time datetime="{}" title="UTC">{}</time>', at.isoformat(), in_utc)
    local = at.astimezone(zone)
    return format_html(
        '<time datetime="{}" title="{}">{}</time><br><span class="bb-dim mt-utc">{} UTC</span>',
        at.isoformat(),
        f"{zone.key}, {local:%Z}",
        local.replace(tzinfo=None).isoformat(sep=" "),
        in_utc,
    )


@register.filter
def moment(at: datetime | None) -> SafeString | str:
    """An instant in UTC to the second; all of it is in its tooltip."""
    if at is None:
        return showing.NOTHING
    at = at.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        at.isoformat(),
        at.replace(tzinfo=None).isoformat(sep=" "),
        f"{at.day} {at:%b %Y %H:%M:%S}",
    )


@register.filter
def quantity(value: Decimal | int | None) -> str:
    return showing.NOTHING if value is None else showing.quantity_text(Decimal(value))


@register.filter
def dimensions(values: Mapping[str, str | None]) -> str:
    return showing.dimensions_text(values)


@register.filter
def reason(code: str) -> str:
    return showing.reason_text(code)


@register.simple_tag
def state_badge(state: str) -> SafeString:
    word, tone = showing.STATES[state]  # type: ignore[index]
    return format_html('<span class="bb-badge bb-{}">{}</span>', tone, word)


@register.simple_tag
def customer_link(customer_key: str) -> SafeString | str:
    url = page_links.customer(customer_key)
    return format_html('<a class="bb-link" href="{}">{}</a>', url, customer_key) if url else customer_key


@register.simple_tag
def event_url(key: str) -> str:
    return reverse("admin:metering_usageevent_change", args=[key])


@register.filter
def words(name: str) -> str:
    """A code as people say it."""
    return name.replace("_", " ")
