"""The recorded session of Binance, streamed at many times its speed: stored whole, whatever happens meanwhile."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from tapehouse.sandbox import ReplayClock, Sandbox, recorded_trading
from tapehouse.store.connection import Connection, connect
from tapehouse.store.migrate import migrate
from tapehouse.stream import Flushing, StreamRequest, StreamStatistics, stream
from tests.stream.conftest import DEPTH, SYMBOLS, Session

SPEED: Final = 60


def stored_trades(connection: Connection, symbol: str) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select trade_id, (extract(epoch from time) * 1000)::bigint, price, amount, side from trade_view "
        "where exchange = 'binance' and symbol = %s order by trade_id::bigint",
        (symbol,),
    ).fetchall()


def test_x(store_url: str, recorded_folder: Path, sessions: dict[str, Session], tmp_path: Path):
    start_ms = min(session.trades[0][1] for session in sessions.values()) - 5000
    end_ms = max(session.trades[-1][1] for session in sessions.values())
    clock = ReplayClock(start_ms, speed=SPEED, waits_for=4)
    statistics = StreamStatistics()

    async def run(url: str) -> None:
        request = StreamRequest("binance", list(SYMBOLS), ["trade", "order_book"], depth=DEPTH)
        streaming = asyncio.create_task(
            stream(
                request,
                database_url=store_url,
                spill_folder=tmp_path,
                base_url=url,
                flushing=Flushing(every=timedelta(seconds=1)),
                statistics=statistics,
            )
        )
        while clock() < end_ms + 5000 * SPEED / 20 and not streaming.done():
            await asyncio.sleep(0.1)
        streaming.cancel()
        with suppress(asyncio.CancelledError):
            await streaming

    with Sandbox(recorded_trading(recorded_folder), clock_ms=clock) as sandbox:
        asyncio.run(run(sandbox.url))
    print(statistics.as_json())
    with connect(store_url) as connection:
        for symbol, session in sessions.items():
            got = stored_trades(connection, symbol)
            print(
                symbol,
                len(got),
                len(session.trades),
                connection.execute("select count(*) from order_book_view where symbol=%s", (symbol,)).fetchone(),
            )
            print(
                connection.execute(
                    "select * from coverage join series using (series_id) join instrument using (instrument_id) where exchange='binance' and symbol=%s",
                    (symbol,),
                ).fetchall()
            )
            print(connection.execute("select reasons, count(*) from quarantine group by 1").fetchall())
            assert got == session.trades
