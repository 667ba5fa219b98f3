"""Reports that Stripe did not count usage sent to its meters: thin events that do not say what is wrong."""

import logging
from collections.abc import Iterator
from datetime import datetime

from billing.invoicing.metered.sending import record_not_counted
from billing.invoicing.metered.summaries import counted_after_all
from billing.stripe import gateway, inbox
from billing.stripe.errors import StripeRefused
from billing.stripe.gateway import StripeDict
from billing.stripe.handlers import Work
from billing.stripe.inbox import Claim

logger = logging.getLogger(__name__)


def error_report(claim: Claim, now: datetime) -> Work:
    """
    Fetch what each report says, and the meter it is about, and keep both with the event; the events of ours that it
    names do not count, and are known as such from then on, but for those that Stripe's summaries show.

    A report names a few examples; what else does not count the close finds by Stripe's summaries.
    """
    details = {event.pk: _detail(event.said) for event in claim.events if inbox.is_thin(event.said)}
    for event_id, detail in details.items():
        logger.error("Stripe did not count usage: %s %s", event_id, _summary(detail))
    named = {identifier: words for detail in details.values() for identifier, words in _samples(detail)}
    # Somebody else may have sent one of them again, for another customer: nothing could say later that ours counts.
    for identifier in counted_after_all(named):
        logger.error("Stripe's summary shows %s, of which was reported: %s", identifier, named.pop(identifier))

    def work() -> None:
        inbox.note_detail(claim, details)
        record_not_counted(identifiers=named, now=now)

    return work


def _detail(event: StripeDict) -> StripeDict:
    related = event.get("related_object")
    return {
        "event": gateway.retrieve(f"/v2/core/events/{event['id']}"),
        "related_object": _meter(related["url"]) if related else None,
    }


def _meter(path: str) -> StripeDict | None:
    """A meter that is gone meanwhile says nothing any more; the report still does."""
    try:
        return gateway.retrieve(path)
    except StripeRefused:
        return None


def _summary(detail: StripeDict) -> str:
    return str((detail["event"].get("data") or {}).get("developer_message_summary", ""))


def _samples(detail: StripeDict) -> Iterator[tuple[str, str]]:
    """The identifiers that a report names, each with the code and the words of its error."""
    reason = (detail["event"].get("data") or {}).get("reason") or {}
    for kind in reason.get("error_types") or []:
        for sample in kind.get("sample_errors") or []:
            identifier = str((sample.get("request") or {}).get("identifier") or "")
            if identifier:
                yield identifier, f"{kind.get('code')}: {sample.get('error_message')}"
