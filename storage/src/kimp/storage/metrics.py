"""The collector's figures for Prometheus, read off the running parts at the moment of each scrape."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kimp.storage.collectors.program import Collecting

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Figures(Collector):
    """Turns the state of one collector into metric families; keeps nothing itself."""

    def __init__(self, collecting: Collecting) -> None:
        self._collecting = collecting

    def collect(self) -> Iterable[Metric]:
        """All families, as they are now."""
        yield from self._feeds()
        yield from self._writer()
        yield from self._units()
        yield from self._gaps()

    def _feeds(self) -> Iterable[Metric]:
        now = self._collecting.clock.now()
        age = GaugeMetricFamily("kimp_feed_age_seconds", "Age of the newest data of a stream.", labels=["feed"])
        stale = GaugeMetricFamily("kimp_feed_stale", "1 while a stream is older than it may be.", labels=["feed"])
        messages = CounterMetricFamily("kimp_feed_messages", "Data received by a stream.", labels=["feed"])
        for name, health in self._collecting.pulses.facts(now).items():
            if health.age_ms is not None:
                age.add_metric([name], health.age_ms / 1_000)
            stale.add_metric([name], float(health.state in ("stale", "waiting")))
            messages.add_metric([name], health.messages)
        yield from (age, stale, messages)

    def _writer(self) -> Iterable[Metric]:
        writer = self._collecting.writer
        rows = CounterMetricFamily("kimp_writer_rows", "Rows by what became of them.", labels=["outcome"])
        for name, value in asdict(writer.counters).items():
            rows.add_metric([name], value)
        yield rows
        yield _gauge("kimp_writer_queue_rows", "Rows taken and not yet safe.", writer.backlog)
        yield _gauge("kimp_spool_bytes", "Rows on the disk that wait for the database.", writer.spool_bytes)

    def _units(self) -> Iterable[Metric]:
        restarts = CounterMetricFamily("kimp_collector_restarts", "Deaths of a collector.", labels=["collector"])
        running = GaugeMetricFamily("kimp_collector_running", "1 while a collector runs.", labels=["collector"])
        for name, state in self._collecting.supervisor.states.items():
            restarts.add_metric([name], state.restarts)
            running.add_metric([name], float(state.state == "running"))
        yield from (restarts, running)
        courier = self._collecting.courier
        yield _counter("kimp_history_requests", "Questions asked to repair history.", courier.requests)
        yield _counter("kimp_history_refusals", "Questions the venues refused.", courier.refusals)

    def _gaps(self) -> Iterable[Metric]:
        gaps = GaugeMetricFamily("kimp_gap_rows", "Missing rows that are looked after.", labels=["series", "reason"])
        for series, missing in self._collecting.keeper.missing.items():
            for reason, count in missing.items():
                gaps.add_metric([series, reason], count)
        refused = CounterMetricFamily("kimp_premium_faults", "Why premiums could not be relied on.", labels=["reason"])
        for reason, count in self._collecting.premium.refused.items():
            refused.add_metric([reason], count)
        yield from (gaps, refused)
        settings = self._collecting.settings.collect
        yield _gauge("kimp_premium_period_seconds", "How often a premium is due.", settings.premium_s)


def exposition(collecting: Collecting) -> bytes:
    """What ``/metrics`` answers."""
    registry = CollectorRegistry()
    registry.register(Figures(collecting))
    return generate_latest(registry)


def _gauge(name: str, about: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, about)
    family.add_metric([], value)
    return family


def _counter(name: str, about: str, value: float) -> Metric:
    family = CounterMetricFamily(name, about)
    family.add_metric([], value)
    return family
