"""What a stream has missed is asked for, also where the database was away meanwhile."""

import asyncio
from contextlib import suppress
from datetime import timedelta

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tapehouse.exchange import open_exchange
from tapehouse.ingest.run import open_instrument
from tapehouse.sandbox import Sandbox
from tapehouse.store.connection import connect
from tapehouse.store.instruments import ensure_trade_series
from tapehouse.stream.holes import HoleFiller
from tapehouse.stream.statistics import StreamStatistics
from tapehouse.stream.trade_lane import TradeLane
from tapehouse.timeframe import to_ms
from tests.query.relay import Relay


async def test_holes_that_were_found_before_an_outage_are_filled_after_it(
    server_url: str, schema_url: str, sandbox: Sandbox
):
    statistics = StreamStatistics()
    async with open_exchange("binance", base_url=sandbox.url) as exchange:
        with connect(schema_url) as connection:
            series = ensure_trade_series(connection, await open_instrument(exchange, connection, "BTC/USDT"))
        lane = TradeLane(series, counts_trades=False, known_until_ms=None)
        now = await exchange.now()
        # They can be asked for in a second.
        for link, seconds in enumerate((1.0, 1.1)):
            lane.add((to_ms(now + timedelta(seconds=seconds)), str(link), "buy", 1.0, 1.0, {}), link, now_s=0.0)
        with Relay(server_url) as relay:
            url = make_conninfo(relay.url, options=conninfo_to_dict(schema_url)["options"])
            filling = asyncio.create_task(HoleFiller(exchange, url, [lane], statistics).run())
            async with asyncio.timeout(20):
                while not statistics.holes:  # noqa: ASYNC110 -- counted as they are taken
                    await asyncio.sleep(0.01)
            relay.go_away()
            await asyncio.sleep(1.5)
            assert lane.has_holes
            relay.come_back()
            async with asyncio.timeout(20):
                while lane.has_holes:  # noqa: ASYNC110 -- told to nobody
                    await asyncio.sleep(0.05)
            filling.cancel()
            with suppress(asyncio.CancelledError):
                await filling
    assert (statistics.holes, statistics.filled, statistics.missed) == (2, 2, 0)
