"""
What answers look like. Quantities are decimal strings with every place they have; instants are RFC 3339 in UTC.
`metering/api/usage_schema.py` describes the same shapes.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from metering import queries

Body = dict[str, Any]


def instant_text(instant: datetime | None) -> str | None:
    """Such as 2026-10-03T12:00:00.123456Z; whole seconds have no places."""
    return None if instant is None else instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def quantity_text(quantity: Decimal | None) -> str | None:
    """Without the zeros that say nothing: 12 and 0.5, never 1E+1."""
    if quantity is None:
        return None
    text = format(quantity, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def meter_body(meter: queries.MeterVersion) -> Body:
    return {
        "code": meter.code,
        "version": meter.version,
        "active": meter.active,
        "event_type": meter.event_type,
        "aggregation": meter.aggregation,
        "value_path": meter.value_path,
        "filters": meter.filters,
        "dimensions": meter.dimensions,
        "unit": meter.unit,
        "defined_at": instant_text(meter.defined_at),
    }


def usage_row_body(row: queries.UsageRow) -> Body:
    return {
        "from": instant_text(row.start),
        "to": instant_text(row.end),
        "dimensions": row.dimensions,
        "quantity": quantity_text(row.quantity),
        "events": row.event_count,
    }


def pair_body(pair: queries.EventPair) -> Body:
    return {
        "meter": pair.meter_code,
        "version": pair.meter_version,
        "unit": pair.unit,
        "window_start": instant_text(pair.window_start),
        "dimensions": pair.dimensions,
        "quantity": quantity_text(pair.quantity),
        "excluded": pair.reason or None,
    }


def event_body(event: queries.EventRow, *, url: str) -> Body:
    return {
        "key": event.key,
        "source": event.source,
        "id": event.event_id,
        "type": event.event_type,
        "subject": event.customer_key,
        "time": instant_text(event.event_time),
        "received_at": instant_text(event.received_at),
        "state": event.state,
        "meters": [pair_body(pair) for pair in event.pairs],
        "url": url,
    }


def life_body(life: queries.EventLife, *, url: str, stages: Sequence[Sequence[queries.LifeStage]]) -> Body:
    """`stages` are those of each pair which the reader may see."""
    return {
        **event_body(life.event, url=url),
        "data": msgspec.Raw(life.data_json.encode()),
        "import": None if life.import_id is None else {"id": life.import_id, "file": life.import_file},
        "sent_again": [
            {
                "received_at": instant_text(again.received_at),
                "type": again.event_type,
                "subject": again.customer_key,
                "time": instant_text(again.event_time),
                "data": msgspec.Raw(again.data_json.encode()),
            }
            for again in life.sent_again
        ],
        "corrections": [
            {
                "correction": of.correction_id,
                "kind": of.kind,
                "role": of.role,
                "reason": of.reason,
                "why": of.why,
                "by": of.drafted_by,
                "at": instant_text(of.at),
                "other_event": of.other_key or None,
            }
            for of in life.corrections
        ],
        "meters": [_living_body(living, seen) for living, seen in zip(life.pairs, stages, strict=True)],
    }


def _living_body(living: queries.LivingPair, stages: Sequence[queries.LifeStage]) -> Body:
    window = living.window
    return {
        **pair_body(living.pair),
        "window": None
        if window is None
        else {
            "quantity": quantity_text(window.quantity),
            "events": window.event_count,
            "updated_at": instant_text(window.updated_at),
        },
        "stages": [
            {"at": instant_text(stage.at), "title": stage.title, "text": stage.text, "url": stage.url or None}
            for stage in stages
        ],
    }
