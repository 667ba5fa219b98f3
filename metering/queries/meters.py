"""Meters, as they were defined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from metering.models import Meter, Subject


@dataclass(frozen=True, slots=True)
class MeterVersion:
    """One version of a meter. It counts what was recorded from `defined_at` on; `active` until a next one followed."""

    code: str
    version: int
    event_type: str
    aggregation: str
    value_path: str
    filters: Sequence[Mapping[str, Sequence[str]]]
    dimensions: tuple[str, ...]
    unit: str
    active: bool
    defined_at: datetime


@dataclass(frozen=True, slots=True)
class MeterInUse:
    """A meter over all its versions: `dimensions` are those of any of them, the rest is of the latest."""

    code: str
    event_type: str
    aggregation: str
    dimensions: tuple[str, ...]
    unit: str


def meter_versions(code: str | None = None) -> list[MeterVersion]:
    """Every version of this meter or of all, by code, the latest version first."""
    found = Meter.objects.order_by("code", "-version")
    return [
        MeterVersion(
            code=meter.code,
            version=meter.version,
            event_type=meter.event_type,
            aggregation=meter.aggregation,
            value_path=meter.value_path,
            filters=meter.filters,
            dimensions=tuple(meter.dimensions),
            unit=meter.unit,
            active=meter.active,
            defined_at=meter.defined_at,
        )
        for meter in (found if code is None else found.filter(code=code))
    ]


def meters_in_use() -> dict[str, MeterInUse]:
    """Every meter by its code, in order."""
    by_code = dict[str, list[MeterVersion]]()
    for version in meter_versions():
        by_code.setdefault(version.code, []).append(version)
    return {
        code: MeterInUse(
            code,
            versions[0].event_type,
            versions[0].aggregation,
            tuple(dict.fromkeys(name for version in versions for name in version.dimensions)),
            versions[0].unit,
        )
        for code, versions in by_code.items()
    }


def is_subject(customer_key: str) -> bool:
    """Whether usage may be recorded for this customer."""
    return Subject.objects.filter(customer_key=customer_key).exists()
