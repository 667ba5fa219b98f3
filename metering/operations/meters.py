"""Putting meters in force."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from metering.models import Meter
from metering.models.meters import AGGREGATION_CODES


class InvalidMeter(Exception):
    """A meter's definition cannot be aggregated: the text says which part."""


@dataclass(frozen=True, slots=True)
class DefinedMeter:
    """The version of a meter that is in force, and whether this call made it."""

    code: str
    version: int
    created: bool


def define_meter(
    *,
    code: str,
    event_type: str,
    value_path: str,
    aggregation: str,
    dimensions: Sequence[str],
    unit: str,
    filters: Sequence[Mapping[str, Sequence[str]]] = (),
) -> DefinedMeter:
    """Put a meter in force for events recorded from now on. The same definition again changes nothing; another one
    makes a new version, and the former stops counting where the new one starts. Raises InvalidMeter.

    `filters` are alternatives, each an object of path below data → texts allowed there: an event that matches any
    alternative in all its paths counts, once, however many it matches. None: every event of the type counts.
    A version is never changed, and a code keeps its aggregation: what different aggregations say cannot be put together
    over a range. Which events a version counts goes by the database transaction that recorded them, so that it can be
    re-derived.
    """
    _check_meter(code, value_path, aggregation, dimensions)
    alternatives = _checked_filters(code, filters)
    wanted = {
        "event_type": event_type,
        "value_path": value_path,
        "aggregation": aggregation,
        "unit": unit,
        "dimensions": list(dimensions),
        "filters": alternatives,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"metering.define_meter:{code}"])
        latest = Meter.objects.filter(code=code).order_by("-version").first()
        if latest is not None and latest.active and all(getattr(latest, name) == wanted[name] for name in wanted):
            return DefinedMeter(code, latest.version, created=False)
        if latest is not None and latest.aggregation != aggregation:
            raise InvalidMeter(
                f"{code}: its aggregation is {latest.aggregation} and stays; define a meter with another code."
            )
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        (xid,) = cursor.fetchone()
        Meter.objects.filter(code=code, active=True).update(active=False, counts_before_xid=xid)
        version = latest.version + 1 if latest else 1
        Meter.objects.create(code=code, version=version, counts_from_xid=xid, **wanted)
    return DefinedMeter(code, version, created=True)


def _check_meter(code: str, value_path: str, aggregation: str, dimensions: Sequence[str]) -> None:
    if not code:
        raise InvalidMeter("A meter needs a code.")
    if aggregation not in AGGREGATION_CODES:
        raise InvalidMeter(f"{code}: the aggregation is one of {', '.join(AGGREGATION_CODES)}, not {aggregation!r}.")
    steps = value_path.split(".")
    if aggregation != Meter.COUNT and (steps[0] != "data" or len(steps) < 2 or not all(steps)):
        raise InvalidMeter(f"{code}: a {aggregation} needs the path of its value, such as data.input_tokens.")
    if aggregation == Meter.COUNT and value_path:
        raise InvalidMeter(f"{code}: a count has no value path.")
    if len(set(dimensions)) != len(dimensions) or not all(all(name.split(".")) for name in dimensions):
        raise InvalidMeter(f"{code}: dimensions are paths below data, each named once.")


def _checked_filters(code: str, filters: Any) -> list[dict[str, list[str]]]:
    """In one order, so that the same filters written otherwise are the same definition."""
    if isinstance(filters, str | Mapping) or not all(isinstance(each, Mapping) and each for each in filters):
        raise InvalidMeter(
            f"{code}: filters are a list of objects, each of paths below data and the texts allowed there."
        )
    alternatives: list[dict[str, list[str]]] = []
    for alternative in filters:
        for path, allowed in alternative.items():
            if not isinstance(path, str) or not all(path.split(".")):
                raise InvalidMeter(f"{code}: the filter path {path!r} is no path below data, such as model.")
            texts = not isinstance(allowed, str) and all(isinstance(text, str) for text in allowed)
            if not texts or not allowed:
                raise InvalidMeter(f"{code}: the filter on {path} needs a list of texts, numbers in quotes.")
        ordered = {path: sorted(set(allowed)) for path, allowed in sorted(alternative.items())}
        if ordered not in alternatives:
            alternatives.append(ordered)
    return sorted(alternatives, key=repr)
