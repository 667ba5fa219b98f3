"""Putting meters in force."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection, transaction

from metering.models import Meter


class InvalidMeter(Exception):
    """A meter's definition cannot be aggregated: the text says which part."""


@dataclass(frozen=True, slots=True)
class DefinedMeter:
    """The version of a meter that is in force, and whether this call made it."""

    code: str
    version: int
    created: bool


def define_meter(
    *, code: str, event_type: str, value_path: str, aggregation: str, dimensions: Sequence[str], unit: str
) -> DefinedMeter:
    """Put a meter in force for events recorded from now on. The same definition again changes nothing; another one
    makes a new version, and the former stops counting where the new one starts. Raises InvalidMeter.

    Which events a version counts goes by the database transaction that recorded them, so that it can be re-derived.
    """
    _check_meter(code, value_path, aggregation, dimensions)
    wanted = {
        "event_type": event_type,
        "value_path": value_path,
        "aggregation": aggregation,
        "unit": unit,
        "dimensions": list(dimensions),
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"metering.define_meter:{code}"])
        latest = Meter.objects.filter(code=code).order_by("-version").first()
        if latest is not None and latest.active and all(getattr(latest, name) == wanted[name] for name in wanted):
            return DefinedMeter(code, latest.version, created=False)
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        (xid,) = cursor.fetchone()
        Meter.objects.filter(code=code, active=True).update(active=False, counts_before_xid=xid)
        version = latest.version + 1 if latest else 1
        Meter.objects.create(code=code, version=version, counts_from_xid=xid, **wanted)
    return DefinedMeter(code, version, created=True)


def _check_meter(code: str, value_path: str, aggregation: str, dimensions: Sequence[str]) -> None:
    if not code:
        raise InvalidMeter("A meter needs a code.")
    if aggregation not in {Meter.SUM, Meter.COUNT}:
        raise InvalidMeter(f"{code}: the aggregation is sum or count, not {aggregation!r}.")
    steps = value_path.split(".")
    if aggregation == Meter.SUM and (steps[0] != "data" or len(steps) < 2 or not all(steps)):
        raise InvalidMeter(f"{code}: a sum needs the path of its value, such as data.input_tokens.")
    if aggregation == Meter.COUNT and value_path:
        raise InvalidMeter(f"{code}: a count has no value path.")
    if len(set(dimensions)) != len(dimensions) or not all(all(name.split(".")) for name in dimensions):
        raise InvalidMeter(f"{code}: dimensions are paths below data, each named once.")
