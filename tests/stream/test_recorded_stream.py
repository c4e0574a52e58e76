"""The recorded session of Binance, streamed at many times its speed: it is stored whole."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from tapehouse.sandbox import ReplayClock, Sandbox, recorded_trading
from tapehouse.stream import Flushing, StreamRequest, StreamStatistics, stream
from tests.stream.conftest import DEPTH, SYMBOLS, Session, stored_books, stored_trades

SPEED: Final = 40
SECOND: Final = timedelta(seconds=1)


@pytest.fixture(scope="module")
def streamed(
    schema_url: str, recorded_folder: Path, sessions: dict[str, Session], tmp_path_factory: pytest.TempPathFactory
) -> StreamStatistics:
    """What a stream of the whole session has done."""
    first_ms = min(session.trades[0][1] for session in sessions.values()) - 5_000
    last_ms = max(session.trades[-1][1] for session in sessions.values())
    clock = ReplayClock(first_ms, speed=SPEED, waits_for=2 * len(SYMBOLS))
    statistics = StreamStatistics()

    async def run(url: str) -> None:
        streaming = asyncio.create_task(
            stream(
                StreamRequest("binance", list(SYMBOLS), ["trade", "order_book"], depth=DEPTH),
                database_url=schema_url,
                spill_folder=tmp_path_factory.mktemp("spill"),
                base_url=url,
                flushing=Flushing(every=SECOND),
                statistics=statistics,
            )
        )
        # Its clock stands still until all is subscribed to.
        while clock() == first_ms:  # noqa: ASYNC110 -- another thread's
            await asyncio.sleep(0.05)
        await asyncio.wait([streaming], timeout=(last_ms - clock()) / 1000 / SPEED + 2)
        streaming.cancel()
        with suppress(asyncio.CancelledError):
            await streaming

    with Sandbox(recorded_trading(recorded_folder), clock_ms=clock) as sandbox:
        asyncio.run(run(sandbox.url))
    return statistics


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_every_recorded_trade_is_stored_once(
    streamed: StreamStatistics, schema_url: str, sessions: dict[str, Session], symbol: str
):
    assert (streamed.breaks, streamed.rejected, streamed.spilled, streamed.waiting) == (0, 0, 0, 0)
    assert stored_trades(schema_url, symbol) == sessions[symbol].trades


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_every_snapshot_is_the_recorded_book_of_its_update(
    streamed: StreamStatistics, schema_url: str, sessions: dict[str, Session], symbol: str
):
    stored = stored_books(schema_url, symbol, sessions[symbol])
    assert stored == sessions[symbol].books(stored.keys())
    # One a second, but where the recording has none, of all the time that it lasts.
    sampled = [time_ms // 1000 for time_ms, _, _ in stored.values()]
    recorded = {update["E"] // 1000 for update in sessions[symbol].updates}
    assert sampled == sorted(recorded & set(range(sampled[0], sampled[-1] + 1)))
    assert len(sampled) > 0.9 * len(recorded)
