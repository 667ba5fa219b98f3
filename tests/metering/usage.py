"""What the metering tests begin from: the four token meters, two customers, and events to send."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from metering import operations
from metering.operations import IngestResult, UsageEventInput, WindowAdvance
from tests.settled import wait_until_settled

NOW = datetime(2026, 10, 20, 12, 0, tzinfo=UTC)
MORNING = datetime(2026, 10, 3, 10, 0, tzinfo=UTC)
OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
TOKEN_METERS = ("input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens")


def prepare() -> None:
    """Register acme and beta, and define the token meters."""
    operations.register_subjects(["acme", "beta"])
    for code in TOKEN_METERS:
        operations.define_meter(
            code=code,
            event_type="llm.request",
            value_path=f"data.{code}",
            aggregation="sum",
            dimensions=["model"],
            unit="token",
        )


def event(event_id: str = "e1", **changes: Any) -> UsageEventInput:
    """A good event; `changes` replace its fields, and a dict given as `data` is merged into its data."""
    data = {"model": "claude-sonnet-5", "input_tokens": 100, "output_tokens": 10, "cache_write_tokens": 0}
    fields: dict[str, Any] = {
        "id": event_id,
        "source": "edge/us-east-1",
        "type": "llm.request",
        "subject": "acme",
        "time": MORNING,
    }
    given = changes.pop("data", {})
    return UsageEventInput(**{**fields, **changes}, data={**data, **given} if isinstance(given, dict) else given)


def as_json(*events: UsageEventInput) -> bytes:
    """The events as a batch body."""
    return _encoder.encode(list(events))


def ingest(*events: UsageEventInput, received_at: datetime = NOW) -> IngestResult:
    return operations.ingest_events(events, received_at=received_at)


def advance(*, now: datetime = NOW, **options: int) -> WindowAdvance:
    """One advance that takes what was recorded before, whoever had a transaction open meanwhile (tests/settled.py)."""
    wait_until_settled()
    return operations.advance_windows(now=now, **options)


def hours(count: int) -> timedelta:
    return timedelta(hours=count)


_encoder = msgspec.json.Encoder(decimal_format="number")
