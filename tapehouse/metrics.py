"""What `tapehouse.status` knows as Prometheus metrics, served over HTTP. Importing it needs the extra `metrics`.

All are gauges, since what is stored can be deleted. However often they are scraped, the database is read rarely.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from types import FrameType
from typing import Any, Final, Self

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tapehouse.errors import ServiceError, StoreError
from tapehouse.status import Finding, Limits, Status, find_problems, read_status
from tapehouse.store.connection import connect

Value = float | datetime | None


@dataclass(frozen=True, slots=True)
class _Gauge:
    """A metric of each record of a kind; there is no sample where it has no value."""

    name: str
    text: str
    value: Callable[[Any], Value]


_SERIES_LABELS: Final = ("exchange", "symbol", "dataset", "timeframe")
_SERIES: Final = (
    _Gauge("series_rows", "Rows stored.", lambda one: one.rows),
    _Gauge("series_covered_until_timestamp_seconds", "Until when it is fetched.", lambda one: one.covered_until),
    _Gauge("series_lag_seconds", "How long ago what is fetched ends.", lambda one: one.lag_s),
    _Gauge(
        "series_expected_lag_seconds", "The lag right before a run that is on time.", lambda one: one.expected_lag_s
    ),
    _Gauge(
        "series_asked_timestamp_seconds", "When a run last set out to bring it up to date.", lambda one: one.asked_at
    ),
    _Gauge("series_gaps", "Open gaps: those that a repair may close.", lambda one: one.gaps),
    _Gauge("series_longest_gap_seconds", "The longest of them.", lambda one: one.longest_gap_s),
    _Gauge("series_failed_ranges", "Ranges asked for in vain.", lambda one: one.failed),
    _Gauge("series_rejected_rows", "Rows in quarantine.", lambda one: one.rejected),
    _Gauge("series_rejected_rows_24h", "Rows of the last 24 hours in quarantine.", lambda one: one.rejected_24h),
    _Gauge("series_rejected_ratio_24h", "Their share of what came.", lambda one: one.reject_share_24h),
)
_TABLES: Final = (
    _Gauge("table_bytes", "Space taken.", lambda one: one.bytes),
    _Gauge("table_chunks", "Chunks.", lambda one: one.chunks),
    _Gauge("table_compressed_chunks", "Chunks that are compressed.", lambda one: one.compressed),
    _Gauge("table_due_chunks", "Chunks that should be compressed and are not.", lambda one: one.due),
    _Gauge("table_compression_saved_ratio", "The share of space that compression saves.", lambda one: one.saved),
)
_ROLLUPS: Final = (
    _Gauge("rollup_computed_until_timestamp_seconds", "Until when it is computed.", lambda one: one.watermark),
    _Gauge("rollup_stale_notes", "Notes of writes since the last refresh.", lambda one: one.stale),
    _Gauge("rollup_waiting_seconds", "How long a refresh has been due.", lambda one: one.waiting_s),
)
_RETENTION: Final = (
    _Gauge("retention_kept_since_timestamp_seconds", "From when on rows are kept.", lambda one: one.kept_since),
    _Gauge("retention_overdue_chunks", "Chunks that should have been dropped.", lambda one: one.overdue),
)
_JOBS: Final = (
    _Gauge("job_succeeded_timestamp_seconds", "When it last went well.", lambda one: one.succeeded_at),
    _Gauge("job_due_timestamp_seconds", "When it is due.", lambda one: one.due_at),
    _Gauge("job_failures", "Failures since it went well.", lambda one: one.failed_in_a_row),
)
_DATABASE: Final = (
    _Gauge("database_bytes", "The size of the whole database.", lambda one: one.bytes),
    _Gauge("database_growth_bytes_per_day", "The mean of the last 30 days.", lambda one: one.grown_bytes_per_day),
)
_DISK: Final = (
    _Gauge("disk_bytes", "The volume that the database's files are on.", lambda one: one.total_bytes),
    _Gauge("disk_free_bytes", "What is left of it.", lambda one: one.free_bytes),
)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A status, what of it needs a person, and what it took; or neither, where the database could not be read."""

    at_s: float
    took_s: float
    status: Status | None
    findings: tuple[Finding, ...]


class StatusCollector(Collector):
    """The metrics of one database, which is read at most every `fresh_s`; a database that is gone is `up` 0.

    `tell` is given a line when the database can't be read, and when it can be again.
    """

    def __init__(self, database_url: str, *, fresh_s: float, tell: Callable[[str], None]) -> None:
        self._database_url = database_url
        self._fresh_s = fresh_s
        self._tell = tell
        self._lock = threading.Lock()
        self._last: _Reading | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All metrics, of the last reading or a new one."""
        # Scrapes at the same time share one.
        with self._lock:
            if self._last is None or time.monotonic() - self._last.at_s >= self._fresh_s:
                self._last = self._read()
            reading = self._last
        yield from metrics(reading.status, reading.findings)
        yield _family("status_read_seconds", "What reading the status took.", reading.took_s)

    def _read(self) -> _Reading:
        started_s = time.monotonic()
        was_up = self._last is None or self._last.status is not None
        try:
            with connect(self._database_url) as connection:
                status = read_status(connection)
        except StoreError as error:
            if was_up:
                self._tell(str(error))
            return _Reading(time.monotonic(), time.monotonic() - started_s, None, ())
        if not was_up:
            self._tell("The database answers again.")
        found = tuple(find_problems(status, Limits()))
        return _Reading(time.monotonic(), time.monotonic() - started_s, status, found)


class MetricsServer:
    """An HTTP server with a database's metrics at `/metrics`, for the block."""

    def __init__(self, collector: Collector, *, host: str, port: int) -> None:
        registry = CollectorRegistry()
        registry.register(collector)
        try:
            self._server, self._thread = start_http_server(port, addr=host, registry=registry)
        except OSError as error:
            raise ServiceError(
                f"Can't listen on port {port} of {host} ({error.strerror}): choose another one."
            ) from error
        self.url = f"http://{host}:{self._server.server_port}/metrics"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def metrics(status: Status | None, findings: Iterable[Finding]) -> Iterator[GaugeMetricFamily]:
    """A status and what of it needs a person as metrics."""
    yield _family("up", "Whether the database could be read.", 0.0 if status is None else 1.0)
    if status is None:
        return
    yield _family(
        "status_timestamp_seconds", "When the status was read, by the server's clock.", status.read_at.timestamp()
    )
    series = [((one.exchange, one.symbol, one.dataset, one.timeframe or ""), one) for one in status.series]
    yield from _families(_SERIES, _SERIES_LABELS, series)
    yield from _families(_TABLES, ("table",), [((one.name,), one) for one in status.tables])
    yield from _families(_ROLLUPS, ("rollup",), [((one.name,), one) for one in status.rollups])
    yield from _families(_RETENTION, ("dataset",), [((one.dataset,), one) for one in status.retention])
    yield from _families(_JOBS, ("job",), [((f"{one.job_id} {one.name}",), one) for one in status.jobs])
    yield from _families(_DATABASE, (), [((), status.database)])
    yield from _families(_DISK, (), [((), status.disk)] if status.disk else [])
    yield _counted(findings)


def serve(database_url: str, *, host: str, port: int, fresh_s: float, tell: Callable[[str], None]) -> None:
    """Serve the metrics of a database until Ctrl-C or SIGTERM; `tell` is given the address, and what happens later."""
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    collector = StatusCollector(database_url, fresh_s=fresh_s, tell=tell)
    with MetricsServer(collector, host=host, port=port) as server:
        tell(f"Metrics at {server.url} (Ctrl-C stops).")
        stopped.wait()


def _families(
    gauges: Iterable[_Gauge], labels: tuple[str, ...], records: Iterable[tuple[tuple[str, ...], Any]]
) -> Iterator[GaugeMetricFamily]:
    named = list(records)
    for gauge in gauges:
        family = GaugeMetricFamily(f"tapehouse_{gauge.name}", gauge.text, labels=labels)
        for values, record in named:
            value = gauge.value(record)
            if value is not None:
                family.add_metric(values, value.timestamp() if isinstance(value, datetime) else float(value))
        yield family


def _family(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tapehouse_{name}", text, value=value)


def _counted(findings: Iterable[Finding]) -> GaugeMetricFamily:
    family = GaugeMetricFamily("tapehouse_findings", "What needs a person.", labels=("kind", "severity"))
    keys = sorted((one.kind, one.severity) for one in findings)
    for key, group in groupby(keys):
        family.add_metric(key, len(list(group)))
    return family
