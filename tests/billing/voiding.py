"""Taking usage out again, as a person with the right to correct it does."""

from datetime import datetime, timedelta
from itertools import count

from metering.operations import corrections
from metering.operations.corrections import Asked, Selection

_keys = count(1)


def take_out(customer_key: str, *, at: datetime, now: datetime) -> None:
    """Void every event of a customer at this instant; windows change with the next advance."""
    asked = Asked(
        reason_code="wrong_values", reason="a test", actor="user:tester", idempotency_key=f"void-{next(_keys)}"
    )
    selection = Selection(customer_key=customer_key, start=at, end=at + timedelta(microseconds=1))
    drafted = corrections.draft_void(selection, asked, now=now)
    preview = drafted.previews.latest("number")
    corrections.apply_correction(drafted.pk, digest=preview.digest, actor="user:tester", now=now)
