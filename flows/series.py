"""What the flows have in common that fetch ranges of series: exchanges side by side, one task a chunk.

What to fetch, and its form, is each flow's own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from tapehouse.errors import TapehouseError
from tapehouse.exchange import Exchange
from tapehouse.ingest import (
    CandleRequest,
    IngestedSeries,
    IngestPlan,
    IngestResult,
    Report,
    SeriesRequest,
    ingest_each,
    walk_chunks,
)
from tapehouse.ingest.batch import at_work
from tapehouse.moments import moment
from tapehouse.ranges import TimeRange
from tapehouse.store.instruments import Dataset
from tasks.connections import open_exchange, sharing_databases
from tasks.extract import plan_series
from tasks.load import Attempts, ingest_chunk, note_failed
from tasks.report import SeriesReport
from tasks.slots import only_run, slot_name

# The task that finds the series, and what to ask of the exchange.
Plan: TypeAlias = Callable[[Exchange, SeriesRequest], Awaitable[tuple[IngestedSeries, IngestPlan]]]


def asked_range(since: str, until: str | None) -> tuple[datetime, datetime | None]:
    """The range that the form's fields mean; raises InputError and NaiveDatetime."""
    now = datetime.now(UTC)
    return moment(since, now=now), moment(until, now=now) if until else None


def series_reports(asked: Iterable[tuple[str, SeriesRequest]]) -> list[SeriesReport]:
    """A report to be filled in for each series, given with its exchange; none twice."""
    return [SeriesReport(exchange_id, request) for exchange_id, request in dict.fromkeys(asked)]


async def ingest_requests(asked: Iterable[tuple[str, SeriesRequest]], *, max_reject_share: float) -> list[SeriesReport]:
    """Bring each series up to date; a report for each, none twice."""
    reports = series_reports(asked)
    await fetch_series(reports, plan_series, max_reject_share=max_reject_share)
    return reports


async def fetch_series(
    reports: Sequence[SeriesReport],
    plan: Plan,
    *,
    max_reject_share: float,
    tell: Callable[[SeriesReport], None] | None = None,
    of_history: bool = False,
) -> None:
    """Fetch what is planned of each series, and fill in its report; `tell` is called whenever one changed.

    One series that fails does not stop the others: its report has the error. Another run that fetches the same dataset
    of the exchange is waited for; `of_history` are those that take long, which the latest rows don't wait for.
    """
    exchanges: dict[str, list[SeriesReport]] = {}
    for report in reports:
        exchanges.setdefault(report.exchange_id, []).append(report)

    async def fetch(exchange_id: str, of_exchange: Sequence[SeriesReport]) -> None:
        datasets = {_dataset(report.request) for report in of_exchange}
        async with only_run(slot_name(exchange_id, dataset, of_history=of_history) for dataset in datasets):
            await _fetch_of_exchange(exchange_id, of_exchange, plan, max_reject_share, tell or _tell_nobody)

    with at_work(), sharing_databases():
        async with asyncio.TaskGroup() as group:
            for exchange_id, of_exchange in exchanges.items():
                group.create_task(fetch(exchange_id, of_exchange))


def _dataset(request: SeriesRequest) -> Dataset:
    return "ohlcv" if isinstance(request, CandleRequest) else "trade"


async def _fetch_of_exchange(
    exchange_id: str,
    reports: Sequence[SeriesReport],
    plan: Plan,
    max_reject_share: float,
    tell: Callable[[SeriesReport], None],
) -> None:
    """Fetch all series of one exchange, over one connection to it."""
    by_request = {report.request: report for report in reports}

    async def fetch(request: SeriesRequest, opening: asyncio.Lock) -> None:
        report = by_request[request]
        tell(report)
        async with opening:
            series, report.plan = await plan(exchange, request)
        tell(report)

        def progress(result: IngestResult) -> None:
            report.result = result
            tell(report)

        async def fetch_chunk(chunk: TimeRange, progress: Report) -> None:
            await ingest_chunk(exchange, series, chunk, max_reject_share=max_reject_share, attempts=Attempts(progress))

        await walk_chunks(
            series, report.plan.chunks, fetch_chunk, lambda window: note_failed(series, window), progress=progress
        )

    def end(request: SeriesRequest, error: Exception | None) -> None:
        report = by_request[request]
        report.error, report.is_ended = error, True
        tell(report)

    try:
        async with open_exchange(exchange_id) as exchange:
            await ingest_each(list(by_request), fetch, ended=end)
    except TapehouseError as error:
        for request in by_request:
            end(request, error)


def _tell_nobody(report: SeriesReport) -> None:
    """Who reads the reports at the end only."""
