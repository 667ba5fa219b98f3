"""Metering's figures for Prometheus. Each scrape asks a fixed number of questions, however much there is."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from metering import queries
from metering.freshness import PERCENTILES
from metering.queries import Conservation, MonthOfEvents

LAG_OVER = timedelta(minutes=10)
"""Percentiles are of what a stage had done with in this time."""
MONTH_STATES = ("here", "due", "archived", "verified", "dropped", "restored")


class UsageCollector(Collector):
    """Reads the figures of one instant."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def collect(self) -> Iterator[Metric]:
        yield _gauge("lag_seconds", "How far windows lag behind acknowledged events.", self._lag())
        yield from self._freshness()
        yield from _conserved(queries.conservation())
        yield _counted("events", "Events sent, by what became of them.", "outcome", {**queries.outcome_totals()})
        yield _labelled("alarms_open", "Alarms that are open, by kind.", "kind", {**queries.open_alarms()})
        yield from self._months(queries.months_of_events(self._now))

    def _lag(self) -> float:
        return queries.ingest_lag_seconds(self._now)

    def _freshness(self) -> Iterator[Metric]:
        age = GaugeMetricFamily(
            "usage_freshness_seconds",
            "Age of events when a stage had done with them, in the last ten minutes; within five per cent, 1 is exact.",
            labels=["stage", "quantile"],
        )
        number = GaugeMetricFamily(
            "usage_freshness_events", "Events a stage had done with in the last ten minutes.", labels=["stage"]
        )
        for stage, lag in queries.lags(self._now - LAG_OVER, self._now + timedelta(minutes=1)).items():
            number.add_metric([stage], lag.events)
            values = (lag.p50, lag.p90, lag.p99, lag.longest)
            for percent, value in zip((*PERCENTILES, 100), values, strict=True):
                if value is not None:
                    age.add_metric([stage, f"{percent / 100:g}"], value)
        yield age
        yield number

    def _months(self, months: list[MonthOfEvents]) -> Iterator[Metric]:
        states = dict.fromkeys(MONTH_STATES, 0)
        for month in months:
            states[month.state] += 1
        yield _labelled("months", "Months of events, by where they are.", "state", states)
        yield _gauge("months_ahead", "Months to come that have their partition.", queries.months_ahead(self._now))
        size = sum(month.size_bytes for month in months)
        yield _gauge("events_bytes", "Size of the event table with its indexes.", size)


def _conserved(figures: Conservation) -> Iterator[Metric]:
    pairs = {"counted": figures.counted, **{f"excluded_{reason}": n for reason, n in figures.excluded.items()}}
    yield _counted("pairs", "Pairs of an event and a meter, by what became of them.", "outcome", pairs)
    ratio = sum(pairs.values()) / figures.pairs if figures.pairs else 1.0
    yield _gauge("conservation_ratio", "Pairs counted or excluded with a reason, to all pairs. Must be 1.", ratio)
    without = CounterMetricFamily("usage_events_without_meter", "Events that no meter took.")
    without.add_metric([], figures.events_without_meter)
    yield without


def _gauge(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(f"usage_{name}", told, value=value)


def _labelled(name: str, told: str, label: str, values: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(f"usage_{name}", told, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _counted(name: str, told: str, label: str, values: dict[str, int]) -> Metric:
    family = CounterMetricFamily(f"usage_{name}", told, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def exposition(now: datetime) -> bytes:
    """The figures in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(UsageCollector(now))
    return generate_latest(registry)
