"""`python -m benchmarks.bare_stream_process SANDBOX TRADES`: receive that many with bare ccxt.pro, print what it took.

As JSON, and on one core, as `stream_process` does; nothing is checked, and nothing is stored.
"""

import asyncio
import json
import sys
import time
from typing import Any

import ccxt.pro as ccxt_pro

from benchmarks.sandbox_process import EXCHANGE_ID
from benchmarks.stream_process import SYMBOLS, use_one_core
from tapehouse.exchange import route_through


async def _receive(url: str, trades: int) -> dict[str, float]:
    # What comes while nobody asks for it would be thrown away beyond a thousand.
    exchange: Any = getattr(ccxt_pro, EXCHANGE_ID)({"options": {"tradesLimit": 10 * trades}})
    route_through(exchange, url)
    exchange.has["fetchCurrencies"] = False
    exchange.options["fetchMarkets"]["types"] = ["spot"]
    received = began_s = cpu_s = 0

    async def watch(symbol: str) -> None:
        nonlocal received, began_s, cpu_s
        while True:
            told = await exchange.watch_trades(symbol, params={"name": "aggTrade"})
            if not received:
                began_s, cpu_s = time.perf_counter(), time.process_time()
            received += len(told)

    try:
        watching = [asyncio.create_task(watch(symbol)) for symbol in SYMBOLS]
        while received < trades:
            await asyncio.wait(watching, timeout=0.02)
        taken = {"seconds": time.perf_counter() - began_s, "cpu_seconds": time.process_time() - cpu_s}
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    finally:
        await exchange.close()
    return {**taken, "stored": float(received)}


if __name__ == "__main__":
    use_one_core()
    print(json.dumps(asyncio.run(_receive(sys.argv[1], int(sys.argv[2])))))
