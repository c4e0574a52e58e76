"""`python -m benchmarks.ingest_process DATABASE SANDBOX CANDLES`: ingest that many and print the peak memory in MB."""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from benchmarks.sandbox_process import EXCHANGE_ID, FIRST_CANDLE, SYMBOL
from benchmarks.series import new_candle_series
from tapehouse.exchange import open_exchange
from tapehouse.ingest import ingest_candles
from tapehouse.store.connection import connect


def peak_rss_mb() -> float:
    """The peak resident memory of this process."""
    # Not ru_maxrss: across fork and exec that keeps the peak of the process which started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


async def _ingest(url: str, sandbox: str, candles: int) -> None:
    with connect(url) as connection:
        series = new_candle_series(connection, symbol=SYMBOL)
        async with open_exchange(EXCHANGE_ID, base_url=sandbox) as exchange:
            exchange._connection.ccxt.enableRateLimit = False  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            end = FIRST_CANDLE + timedelta(minutes=candles)
            result = await ingest_candles(exchange, connection, series, FIRST_CANDLE, end)
    assert result.fetched == candles


if __name__ == "__main__":
    asyncio.run(_ingest(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    print(peak_rss_mb())
