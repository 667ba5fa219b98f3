"""Usage of many customers, each over a span of their own, is what each span holds when it is asked for alone."""

from collections import defaultdict
from datetime import timedelta
from decimal import Decimal

import pytest

from metering import operations
from metering.queries import CustomerSpan, Window, hours_of_spans, sums_of_spans, windows_between
from tests.metering.test_usage import LATER, NIGHT, sampled, send
from tests.metering.usage_model import Sent

__all__ = ["sampled"]
MINUTE = timedelta(minutes=1)
# Of every kind of end: on the hour, inside of it, both in one hour, nothing but parts of two hours.
SPANS = [
    CustomerSpan(f"span-{number}", NIGHT + start * MINUTE, NIGHT + end * MINUTE)
    for number, (start, end) in enumerate([(0, 180), (17, 133), (60, 139), (7, 120), (62, 99), (50, 70), (179, 181)])
]


@pytest.mark.usefixtures("sampled")
def test_every_kind_of_meter_over_every_kind_of_span() -> None:
    operations.register_subjects([span.customer_key for span in SPANS])
    for place, span in enumerate(SPANS):
        times = [NIGHT + (13 * number + place) * MINUTE for number in range(15)]
        # The first instant is inside, the last one is not.
        times += [span.start, span.end, span.end - timedelta(microseconds=1)]
        send(span.customer_key, [Sent(at, f"{number}", "s", f"{number % 4}", "ax") for number, at in enumerate(times)])
    operations.catch_up_windows(now=LATER)

    hourly, summed = hours_of_spans(SPANS), sums_of_spans(SPANS)

    for span in SPANS:
        alone = windows_between(span.customer_key, span.start, span.end)
        assert hourly.get(span.customer_key, []) == alone
        assert _sums(summed.get(span.customer_key, [])) == _sums(alone)
    assert sum(len(windows) for windows in hourly.values()) > 50


def test_a_customer_has_one_span(committed_db: None) -> None:
    with pytest.raises(ValueError, match="twice"):
        hours_of_spans([SPANS[0], SPANS[0]])


def _sums(windows: list[Window]) -> dict[tuple[str, str], Decimal]:
    found: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for window in windows:
        found[window.meter_code, repr(window.dimensions)] += window.quantity
    return found
