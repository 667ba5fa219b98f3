"""Weeks of usage in the hourly figures, and everything out of order at once."""

from datetime import datetime, timedelta
from decimal import Decimal

from metering.models import MeterHour, ObservationCursor, SeenValue, SourceHour

HOUR = timedelta(hours=1)
ALL_MINUTES = (1 << 60) - 1


def weeks_of_usage(until: datetime, *, source: str = "edge/us-east-1", meter: str = "input_tokens") -> None:
    """Five steady weeks before `until`, a whole hour: 60 arrivals and 1,000 events an hour."""
    hours = [until - HOUR * number for number in range(1, 5 * 168)]
    SourceHour.objects.bulk_create(
        SourceHour(
            hour=hour,
            source=source,
            event_type="llm.request",
            events=1000,
            minutes=ALL_MINUTES,
            last_received_at=hour + timedelta(minutes=59),
        )
        for hour in hours
    )
    MeterHour.objects.bulk_create(
        MeterHour(hour=hour, meter_code=meter, events=1000, quantity=Decimal(100_000)) for hour in hours
    )
    SeenValue.objects.bulk_create(
        SeenValue(name=name, value=value, first_seen_at=hours[-1])
        for name, value in (("source", source), (f"{meter}.model", "claude-sonnet-5"))
    )
    ObservationCursor.objects.create(id=1, last_advance=0)
