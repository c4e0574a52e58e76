"""What the flows have in common that fetch ranges of series: exchanges side by side, one task a chunk.

What to fetch, and its form, is each flow's own.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from tapehouse.errors import TapehouseError
from tapehouse.ingest import SeriesRequest, ingest_each
from tapehouse.moments import moment
from tasks.connections import open_exchange
from tasks.extract import plan_series
from tasks.load import ingest_chunk
from tasks.report import SeriesReport


def asked_range(since: str, until: str | None) -> tuple[datetime, datetime | None]:
    """The range that the form's fields mean; raises InputError and NaiveDatetime."""
    now = datetime.now(UTC)
    return moment(since, now=now), moment(until, now=now) if until else None


async def ingest_requests(asked: Iterable[tuple[str, SeriesRequest]], *, max_reject_share: float) -> list[SeriesReport]:
    """Fetch what is missing of each series, given with its exchange; a report for each, none twice.

    One series that fails does not stop the others: its report has the error.
    """
    requests: dict[str, dict[SeriesRequest, None]] = {}
    for exchange_id, request in asked:
        requests.setdefault(exchange_id, {})[request] = None
    async with asyncio.TaskGroup() as group:
        exchanges = [
            group.create_task(_ingest_exchange(exchange_id, list(distinct), max_reject_share))
            for exchange_id, distinct in requests.items()
        ]
    return [report for exchange in exchanges for report in exchange.result()]


async def _ingest_exchange(
    exchange_id: str, requests: Sequence[SeriesRequest], max_reject_share: float
) -> list[SeriesReport]:
    """Ingest all series of one exchange, over one connection to it; what comes of each is in its report."""
    reports = {request: SeriesReport(exchange_id, request) for request in requests}

    async def ingest(request: SeriesRequest, opening: asyncio.Lock) -> None:
        async with opening:
            series, plan = await plan_series(exchange, request)
        report = reports[request]
        report.plan = plan
        for chunk in plan.chunks:
            await ingest_chunk(exchange, series, chunk, max_reject_share=max_reject_share, record=report.add)

    def end(request: SeriesRequest, error: Exception | None) -> None:
        reports[request].error = error

    try:
        async with open_exchange(exchange_id) as exchange:
            await ingest_each(requests, ingest, ended=end)
    except TapehouseError as error:
        for report in reports.values():
            report.error = error
    return list(reports.values())
