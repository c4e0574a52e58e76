"""The task that compares candles with trades."""

import asyncio
from datetime import UTC, datetime
from functools import partial

from tapehouse.store import agreement
from tapehouse.store.agreement import Agreement
from tasks.connections import open_database
from tasks.retrying import retried_task


@retried_task(name="compare-candles", run_name="compare from {start:%Y-%m-%d}")
async def compare_candles(
    exchange: str | None, symbol: str | None, start: datetime, end: datetime | None
) -> list[Agreement]:
    """Compare the 1m candles of whole UTC days with the trades; up to now where no end is given."""
    with open_database() as connection:
        compare = partial(agreement.compare_candles, connection, exchange=exchange, symbol=symbol)
        return await asyncio.to_thread(compare, start=start, end=end or datetime.now(UTC))
