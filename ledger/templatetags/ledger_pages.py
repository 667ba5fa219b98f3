"""What the templates of the ledger need to show amounts, instants and showing."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ledger import showing

if TYPE_CHECKING:  # Django reads tag libraries before it has models
    from ledger.queries import SpanLine

register = template.Library()
LATE_AFTER = timedelta(days=1)


@register.filter
def amount(value: Decimal | None) -> str:
    """With every digit that counts; an empty cell for what is not there."""
    return showing.shown(value)


@register.filter
def aligned(value: Decimal | None, places: int) -> str:
    """As `amount`, in a column whose longest amount has so many places."""
    return showing.aligned(value, places)


@register.filter
def aligned_or_empty(value: Decimal | None, places: int) -> str:
    """The same with an empty cell for zero, as in a trial balance."""
    return showing.aligned(value, places) if value else ""


@register.filter
def side(value: Decimal) -> str:
    """A change as a debit or a credit, as a column without sides needs it: 2.50 debit."""
    return f"{showing.shown(value.copy_abs())} {'debit' if value > 0 else 'credit'}"


@register.filter
def figure(value: Decimal) -> SafeString:
    """As `amount`, for a large figure: what lies beyond the second decimal place is small beside it."""
    text = showing.shown(value)
    cut = text.index(".") + 3
    return format_html('{}<small class="bb-fine">{}</small>', text[:cut], text[cut:])


@register.filter
def moment(at: datetime | None) -> SafeString | str:
    """An instant in UTC to the minute; all of it is in its tooltip."""
    if at is None:
        return showing.NOTHING
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>', at.isoformat(), showing.moment(at), f"{at.day} {at:%b %Y %H:%M}"
    )


@register.filter
def exact_moment(at: datetime | None) -> SafeString | str:
    """An instant in UTC with everything it has."""
    if at is None:
        return showing.NOTHING
    return format_html('<time datetime="{}">{} UTC</time>', at.isoformat(), showing.moment(at))


@register.filter
def instant_of(text: str) -> datetime:
    """An instant as the ledger writes it into a cause."""
    return datetime.fromisoformat(text)


@register.filter
def is_late(line: "SpanLine") -> bool:
    """Whether it was written down so long after it happened that a report made in between did not have it."""
    return line.recorded_at - line.effective_at > LATE_AFTER


@register.filter
def iso_utc(at: datetime) -> str:
    """An instant in UTC as it stands in an address."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat()


@register.filter
def words(name: str) -> str:
    """A kind or a cause as people say it."""
    return name.replace("_", " ")


@register.simple_tag(takes_context=True)
def causes(context: Mapping[str, Any], cause: Mapping[str, str]) -> SafeString | str:
    return showing.cause_text(cause, may=context["request"].user.has_perm)


@register.simple_tag(takes_context=True)
def entry_link(context: Mapping[str, Any], entry_id: int) -> SafeString | str:
    return showing.entry_link(entry_id, may=context["request"].user.has_perm)


@register.simple_tag(takes_context=True)
def account_link(context: Mapping[str, Any], account_id: int, code: str) -> SafeString | str:
    return showing.account_link(account_id, code, may=context["request"].user.has_perm)


@register.simple_tag(takes_context=True)
def customer_link(context: Mapping[str, Any], customer_key: str) -> SafeString | str:
    return showing.customer_link(customer_key, may=context["request"].user.has_perm)
