"""Reports of meter events that do not count, as thin events: one for each meter, and one for those of no meter.

Stripe gathers the errors of ten seconds into a report; here a report holds those of one request.
"""

from collections.abc import Sequence

from tests.sandbox.billing.prices.meter_intake import Fault
from tests.sandbox.billing.prices.thin_events import emit_thin, moment_text
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

WINDOW_SECONDS = 10
SAMPLES_MAX = 5


def report_faults(world: World, faults: Sequence[Fault]) -> None:
    by_meter: dict[str | None, list[Fault]] = {}
    for fault in faults:
        by_meter.setdefault(fault.meter["id"] if fault.meter else None, []).append(fault)
    for meter_id, found in by_meter.items():
        if meter_id is None:
            emit_thin(world, "v1.billing.meter.no_meter_found", None, _report(world, found))
        else:
            related = {"id": meter_id, "type": "billing.meter", "url": f"/v1/billing/meters/{meter_id}"}
            emit_thin(world, "v1.billing.meter.error_report_triggered", related, _report(world, found))


def _report(world: World, faults: list[Fault]) -> StripeObject:
    count = len(faults)
    by_code: dict[str, list[Fault]] = {}
    for fault in faults:
        by_code.setdefault(fault.code, []).append(fault)
    return {
        "developer_message_summary": f"There is {count} invalid event"
        if count == 1
        else f"There are {count} invalid events",
        "reason": {
            "error_count": count,
            "error_types": [
                {
                    "code": code,
                    "error_count": len(found),
                    "sample_errors": [
                        {"error_message": fault.message, "request": {"identifier": fault.identifier}}
                        for fault in found[:SAMPLES_MAX]
                    ],
                }
                for code, found in by_code.items()
            ],
        },
        "validation_end": moment_text(world.now - world.now % WINDOW_SECONDS + WINDOW_SECONDS),
        "validation_start": moment_text(world.now - world.now % WINDOW_SECONDS),
    }
