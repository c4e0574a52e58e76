"""Tasks that find out what to ask an exchange for."""

from tapehouse.exchange import Exchange
from tapehouse.ingest import CandlePlan, SeriesRequest, open_series
from tapehouse.ingest import plan_candles as plan
from tapehouse.store.instruments import Series
from tasks.connections import open_database
from tasks.retrying import retried_task


@retried_task(name="plan-candles", run_name="plan {exchange.exchange_id} {request.symbol} {request.timeframe}")
async def plan_candles(exchange: Exchange, request: SeriesRequest) -> tuple[Series, CandlePlan]:
    """The series, known to the store from then on, and the chunks of it that are missing."""
    with open_database() as connection:
        series = await open_series(exchange, connection, request.symbol, request.timeframe)
        now = await exchange.now()
        return series, plan(connection, series, request.start, request.end or now, now=now)
