"""Tasks that find out what to ask an exchange for."""

from tapehouse import ingest
from tapehouse.exchange import Exchange
from tapehouse.ingest import IngestedSeries, IngestPlan, SeriesRequest
from tasks.connections import open_database
from tasks.retrying import retried_task


@retried_task(name="plan-series", run_name="plan {exchange.exchange_id} {request}")
async def plan_series(exchange: Exchange, request: SeriesRequest) -> tuple[IngestedSeries, IngestPlan]:
    """The series, known to the store from then on, and the chunks of it that are missing."""
    with open_database() as connection:
        series = await ingest.open_series(exchange, connection, request)
        now = await exchange.now()
        return series, ingest.plan_series(connection, series, request.start, request.end or now, now=now)


@retried_task(name="plan-backfill", run_name="plan {exchange.exchange_id} {request}")
async def plan_backfill(
    exchange: Exchange, request: SeriesRequest, *, force: bool
) -> tuple[IngestedSeries, IngestPlan]:
    """The series, known to the store from then on, and the chunks of it that are missing and that the exchange has."""
    with open_database() as connection:
        series = await ingest.open_series(exchange, connection, request)
        return series, await ingest.plan_backfill(exchange, connection, series, request.start, request.end, force=force)
