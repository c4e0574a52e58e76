"""`python -m benchmarks.stream_process DATABASE SANDBOX TRADES|SECONDSs`: stream so many, print what it took as JSON.

All of it on one core of the machine. With a number of seconds, the memory at the beginning and the end counts.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from benchmarks.sandbox_process import EXCHANGE_ID
from tapehouse.stream import Flushing, StreamRequest, StreamStatistics, stream

SYMBOLS = ("BTC/USDT", "ETH/USDT")
_LOOK_S = 0.02
# Until then buffers are filled for the first time.
_SETTLED_SHARE = 0.2


def rss_mb() -> float:
    """The resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def use_one_core() -> None:
    """Run on the first of the cores that this process may use."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


async def _stream(url: str, sandbox: str, *, trades: int | None, seconds: float | None) -> dict[str, float]:
    statistics = StreamStatistics()
    with tempfile.TemporaryDirectory() as folder:
        streaming = asyncio.create_task(
            stream(
                StreamRequest(EXCHANGE_ID, SYMBOLS, ["trade"]),
                database_url=url,
                spill_folder=Path(folder),
                base_url=sandbox,
                flushing=Flushing(every=timedelta(seconds=1)),
                statistics=statistics,
            )
        )
        try:
            while not statistics.received:
                await _look(streaming)
            began_s, cpu_s, memory_mb = time.perf_counter(), time.process_time(), 0.0
            while not _is_over(statistics, trades, seconds, began_s):
                await _look(streaming)
                if not memory_mb and seconds and time.perf_counter() - began_s > _SETTLED_SHARE * seconds:
                    memory_mb = rss_mb()
            taken_s, used_s = time.perf_counter() - began_s, time.process_time() - cpu_s
            return {
                "seconds": taken_s,
                "cpu_seconds": used_s,
                "stored": statistics.inserted,
                "lag_ms": statistics.lag_percentile_ms(99) or 0.0,
                "first_mb": memory_mb,
                "last_mb": rss_mb(),
            }
        finally:
            streaming.cancel()
            with suppress(asyncio.CancelledError):
                await streaming


def _is_over(statistics: StreamStatistics, trades: int | None, seconds: float | None, began_s: float) -> bool:
    if trades is not None:
        return statistics.inserted >= trades
    return time.perf_counter() - began_s >= (seconds or 0)


async def _look(streaming: "asyncio.Task[None]") -> None:
    await asyncio.wait([streaming], timeout=_LOOK_S)
    if streaming.done():
        streaming.result()


if __name__ == "__main__":
    use_one_core()
    amount = sys.argv[3]
    trades = None if amount.endswith("s") else int(amount)
    seconds = float(amount[:-1]) if amount.endswith("s") else None
    print(json.dumps(asyncio.run(_stream(sys.argv[1], sys.argv[2], trades=trades, seconds=seconds))))
