"""Backfill: long ranges of history of several exchanges side by side, interrupted and started again at will.

It is an ingest with another plan: where a series begins is searched for rather than walked to, and what
was long past when it was fetched is not asked for again.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from tapehouse.errors import ExchangeError, UnknownTimeframe
from tapehouse.exchange import Exchange
from tapehouse.ingest.batch import Outcome, Watcher, run_all
from tapehouse.ingest.chunks import IngestedSeries
from tapehouse.ingest.pages import finish_in_thread
from tapehouse.ingest.plan import IngestPlan
from tapehouse.ingest.run import Progress, SeriesRequest, ingest_plan, plan_range
from tapehouse.store.batch import record_begin
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import CandleSeries
from tapehouse.store.ledger import begin_of
from tapehouse.store.retention import require_kept
from tapehouse.timeframe import aware_range, timeframe

# What was that old when it was fetched, exchanges no longer correct.
_SETTLED_AFTER: Final = timedelta(days=1)
# No trade is older than the first candle that was made of one.
_CANDLES_OF_TRADES: Final = timeframe("1m")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backfill:
    """What to fetch of one exchange: different series."""

    exchange_id: str
    requests: Sequence[SeriesRequest]


def backfill(
    backfills: Sequence[Backfill],
    *,
    database_url: str,
    base_url: str | None,
    watcher: Watcher,
    force: bool = False,
) -> list[Outcome]:
    """Fetch what is missing of each series, the newest chunk first, and give an outcome for each in the order asked.

    The exchanges are different ones. `force` fetches what retention would drop at its next run, too. Raises as
    `tapehouse.ingest.batch.run_all` does; refreshing what is derived is the caller's.
    """

    async def fetch(
        exchange: Exchange, connection: Connection, series: IngestedSeries, request: SeriesRequest, progress: Progress
    ) -> None:
        plan = await plan_backfill(exchange, connection, series, request.start, request.end, force=force)
        await ingest_plan(exchange, connection, series, plan, progress=progress)

    asked = {one.exchange_id: one.requests for one in backfills}
    return run_all(asked, fetch, database_url=database_url, base_url=base_url, watcher=watcher)


async def plan_backfill(
    exchange: Exchange,
    connection: Connection,
    series: IngestedSeries,
    start: datetime,
    end: datetime | None = None,
    *,
    force: bool = False,
) -> IngestPlan:
    """Plan what is missing of [start, end), the exchange's now if `end` is None, and of what the exchange has at all.

    What lies before the first candle is noted as having nothing. Raises BeyondRetention unless `force`
    is given or all of it would stay, and else as `plan_range` does.
    """
    now = await exchange.now()
    start, end = aware_range(start, end or now)
    require_kept(connection, series, start, force=force)
    # Read before the search writes: nothing was fetched later than this.
    _, _, written_at = begin_of(connection, series)
    await _find_begin(exchange, connection, series, start, min(end, now))
    plan = plan_range(connection, series, start, end, now=now, settled_before=written_at - _SETTLED_AFTER)
    begins_at, _, _ = begin_of(connection, series)
    return replace(plan, begins_at=begins_at)


async def _find_begin(
    exchange: Exchange, connection: Connection, series: IngestedSeries, start: datetime, stop: datetime
) -> None:
    """Note where the series begins, if that is not known and what is wanted may lie before."""
    begins_at, covered_from, _ = begin_of(connection, series)
    if covered_from is not None and covered_from <= start:
        return
    if begins_at is None:
        begins_at = await _searched_begin(exchange, series)
    if begins_at is None or (covered_from is not None and covered_from < begins_at):
        # What was fetched from before shows that the search was wrong.
        return
    before = start, min(begins_at, stop)
    covered = before if before[0] < before[1] else None
    await finish_in_thread(lambda: record_begin(connection, series, begins_at, covered))


async def _searched_begin(exchange: Exchange, series: IngestedSeries) -> datetime | None:
    length = series.timeframe if isinstance(series, CandleSeries) else _CANDLES_OF_TRADES
    try:
        return await exchange.first_candle_time(series.instrument.symbol, length)
    except (ExchangeError, UnknownTimeframe) as error:
        # It only spares requests, and there need be no 1m candles beside trades.
        _logger.warning("%s: where it begins could not be found: %s", series, error)
        return None
