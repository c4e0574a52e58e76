"""What a stream in this process receives, for who listens and for who asks."""

import asyncio
from contextlib import suppress
from pathlib import Path

from tapehouse import AsyncMarketData, TradeEvent
from tapehouse.sandbox import Sandbox, generated_markets
from tapehouse.stream import Flushing, StreamRequest, stream

SYMBOL = "BTC/USDT"
EVENTS = 200


async def test_an_answer_is_no_event_behind_and_each_trade_is_told_once(schema_url: str, tmp_path: Path):
    with Sandbox(generated_markets(seed=7)) as sandbox:
        async with AsyncMarketData.connect(schema_url) as market:
            streaming = asyncio.create_task(
                stream(
                    StreamRequest("binance", [SYMBOL], ["trade"]),
                    database_url=schema_url,
                    spill_folder=tmp_path,
                    base_url=sandbox.url,
                    flushing=Flushing(rows=50),
                    tape=market.live,
                )
            )
            while not market.live.market("binance", SYMBOL).is_open(("trade", None)):
                await asyncio.wait([streaming], timeout=0.05)
                assert not streaming.done()
            trading = asyncio.create_task(trade_now_and_then(sandbox))
            told: list[TradeEvent] = []
            async with asyncio.timeout(60):
                async for event in market.subscribe(SYMBOL, exchange="binance", datasets=["trade"]):
                    assert isinstance(event, TradeEvent)
                    told.append(event)
                    latest = (await market.get_inference_data(SYMBOL, exchange="binance")).latest_trade
                    assert latest is not None
                    assert int(latest.trade_id) >= int(event.trade_id)
                    if len(told) == EVENTS:
                        break
            for task in (trading, streaming):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            ids = [int(event.trade_id) for event in told]
            assert ids == list(range(ids[0], ids[0] + EVENTS))
            stored = await market.trades("binance", SYMBOL, told[0].time, told[-1].time)
    assert set(stored["trade_id"]) >= {event.trade_id for event in told if event.time < told[-1].time}


async def trade_now_and_then(sandbox: Sandbox) -> None:
    """Some trades at once, many times a second."""
    while True:
        await asyncio.to_thread(sandbox.burst, "binance", SYMBOL, trades=20)
        await asyncio.sleep(0.1)
