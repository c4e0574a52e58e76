"""Listening to a market: from a stream in this process, from what others write, and from the one to the other."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest

from tapehouse import AsyncMarketData
from tapehouse.book import NO_NONCE
from tapehouse.errors import InputError, StoreUnreachable, SubscriberTooSlow, UnknownSymbol, UnknownTimeframe
from tapehouse.live import LiveBook, LiveCandle, LiveTrade
from tapehouse.live.subscription import MOST_WAITING
from tapehouse.query import feed
from tapehouse.query.records import OHLCVCandle, OrderBookDataFrame, TradeEvent
from tapehouse.timeframe import from_us, to_us
from tests.query.conftest import SIDES, Snapshot, Tape, random_bars
from tests.query.moments import write_bars

MS: Final = timedelta(milliseconds=1)
MINUTE: Final = timedelta(minutes=1)


@pytest.fixture
async def market(quiet_url: str) -> AsyncIterator[AsyncMarketData]:
    async with AsyncMarketData.connect(quiet_url) as market:
        yield market


async def become(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 -- nobody says when
            await asyncio.sleep(0.005)


@dataclass
class Heard:
    """Events that come while a test does other things."""

    began: datetime
    events: list[Any] = field(default_factory=list[Any])
    errors: list[BaseException] = field(default_factory=list[BaseException])

    async def until(self, count: int) -> list[Any]:
        """All of them, once there are so many."""
        await become(lambda: len(self.events) >= count or bool(self.errors))
        assert not self.errors
        return self.events

    async def ids(self, count: int) -> list[int]:
        return [one.trade_id for one in await self.until(count)]


@asynccontextmanager
async def listening(market: AsyncMarketData, tape: Tape, **options: Any) -> AsyncGenerator[Heard]:
    """Listen to a market, from when the block begins until it ends."""
    heard = Heard(datetime.now(UTC))

    async def listen() -> None:
        try:
            async for event in market.subscribe(tape.symbol, exchange=tape.exchange, **options):
                heard.events.append(event)
        except Exception as error:
            heard.errors.append(error)
            raise

    listener = asyncio.create_task(listen())
    live = market.live.market(tape.exchange, tape.symbol)
    await become(lambda: bool(live.subscriptions) or listener.done())
    heard.began = datetime.now(UTC)
    try:
        yield heard
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        assert not live.subscriptions


def live_trade(time: datetime, trade_id: int) -> LiveTrade:
    return LiveTrade(to_us(time), trade_id, "", 60_000.0 + trade_id, 0.5, 1)


def stored_trades(start: datetime, ids: range) -> pd.DataFrame:
    """A trade each millisecond."""
    times = pd.DatetimeIndex([start + number * MS for number in range(len(ids))]).as_unit("us")
    return pd.DataFrame(
        {
            "trade_id": list(ids),
            "price": [60_000.0 + one for one in ids],
            "amount": 0.5,
            "side": pd.Categorical(["buy"] * len(ids), dtype=SIDES),
        },
        index=times.rename("time"),
    )


def whole_ms(time: datetime) -> datetime:
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


async def gather(stream: AsyncIterator[Any], given: list[Any]) -> None:
    async for event in stream:
        given.append(event)


async def past(time: datetime) -> None:
    """Wait until the clock has passed a time."""
    await asyncio.sleep(max(0.0, (time - datetime.now(UTC)).total_seconds()) + 0.05)


async def test_what_a_stream_receives_is_given_at_once(market: AsyncMarketData, tape: Tape):
    live, names = market.live, (tape.exchange, tape.symbol)
    for dataset, name in (("trade", None), ("order_book", None), ("ohlcv", "1m")):
        live.opened(*names, dataset, name)
    async with listening(market, tape, datasets=["trade", "order_book", "ohlcv"], timeframes=["1m"], depth=2) as heard:
        opened = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
        live.trade(*names, LiveTrade(to_us(opened), 7, "", 60_000.5, 0.25, -1))
        live.trade(*names, LiveTrade(to_us(opened), 0, "a-8", 60_001.0, 1.0, 0))
        live.book(*names, LiveBook(to_us(opened), to_us(opened + MS), NO_NONCE, [(10.0, 1.0)], [(11.0, 2.0)] * 3))
        live.candle(*names, "1m", LiveCandle(to_us(opened), 1.0, 4.0, 0.5, 2.0, 9.0, is_closed=False))
        live.candle(*names, "1m", LiveCandle(to_us(opened), 1.0, 4.0, 0.5, 3.0, 10.0, is_closed=True))
        first, second, book, candle = await heard.until(4)
    assert first == TradeEvent(opened, 7, 60_000.5, 0.25, "sell")
    assert second == TradeEvent(opened, "a-8", 60_001.0, 1.0, "unknown")
    assert isinstance(book, OrderBookDataFrame)
    assert (book.time, book.received_at, book.nonce) == (opened, opened + MS, None)
    np.testing.assert_array_equal(book.to_numpy(), [[10.0, 1.0, 11.0, 2.0], [np.nan, np.nan, 11.0, 2.0]])
    assert candle == OHLCVCandle(opened, opened + MINUTE, "1m", 1.0, 4.0, 0.5, 3.0, 10.0)


async def test_a_moment_has_every_event_that_was_given(market: AsyncMarketData, tape: Tape):
    names = tape.exchange, tape.symbol
    market.live.opened(*names, "trade", None)
    live = market.live.market(*names)

    async def stream() -> None:
        await become(lambda: bool(live.subscriptions))
        for number in range(1, 201):
            market.live.trade(*names, live_trade(datetime.now(UTC), number))
            await asyncio.sleep(0)

    streaming = asyncio.create_task(stream())
    async for event in market.subscribe(tape.symbol, exchange=tape.exchange):
        assert isinstance(event, TradeEvent)
        data = await market.get_inference_data(tape.symbol, exchange=tape.exchange)
        assert data.latest_trade is not None
        assert int(data.latest_trade.trade_id) >= int(event.trade_id)
        if event.trade_id == 200:
            break
    await streaming


async def test_candles_that_form_are_given_where_asked_for(market: AsyncMarketData, tape: Tape):
    market.live.opened(tape.exchange, tape.symbol, "ohlcv", "1m")
    options = {"datasets": ["ohlcv"], "timeframes": ["1m"], "include_forming": True}
    async with listening(market, tape, **options) as heard:
        opened_us = to_us(datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
        for close, is_closed in ((2.0, False), (3.0, True)):
            candle = LiveCandle(opened_us, 1.0, 4.0, 0.5, close, 9.0, is_closed=is_closed)
            market.live.candle(tape.exchange, tape.symbol, "1m", candle)
            await heard.until(2 if is_closed else 1)
    assert [(one.close, one.is_forming) for one in heard.events] == [(2.0, True), (3.0, False)]


async def test_what_others_write_is_given(market: AsyncMarketData, tape: Tape):
    async with listening(market, tape, datasets=["trade", "order_book"], depth=1) as heard:
        start = whole_ms(heard.began) + MS
        await past(start + 20 * MS)
        tape.write_trades(stored_trades(start, range(1, 6)), (start, start + 6 * MS))
        assert await heard.ids(5) == [1, 2, 3, 4, 5]
        assert heard.events[0] == TradeEvent(start, 1, 60_001.0, 0.5, "buy")
        tape.write_trades(stored_trades(start + 6 * MS, range(6, 8)), (start + 6 * MS, start + 9 * MS))
        tape.write_books([Snapshot(start, [(10.0, 1.0)], [(11.0, 2.0)])], (start, start + MS))
        await heard.until(8)
    trades = [one for one in heard.events if isinstance(one, TradeEvent)]
    (book,) = [one for one in heard.events if isinstance(one, OrderBookDataFrame)]
    assert [one.trade_id for one in trades] == [1, 2, 3, 4, 5, 6, 7]
    assert book.received_at == start + timedelta(milliseconds=250)
    np.testing.assert_array_equal(book.to_numpy(), [[10.0, 1.0, 11.0, 2.0]])


async def test_candles_that_others_write_are_given_once_they_have_closed(market: AsyncMarketData, tape: Tape):
    # So that the one under way closes while it is waited for.
    bars = random_bars(datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=5), 8, step=timedelta(seconds=1))
    async with listening(market, tape, datasets=["ohlcv"], timeframes=["1s"]) as heard:
        await past(bars.index[-1].to_pydatetime() + timedelta(seconds=1))
        write_bars(tape, bars, "1s")
        expected = [one for one in bars.index if one + timedelta(seconds=1) > heard.began]
        events = await heard.until(len(expected) - 1)
    assert [one.time for one in events] == expected[-len(events) :]
    assert events[-1].close == bars["close"].iloc[-1] / 100


async def test_nothing_is_lost_or_repeated_where_a_stream_takes_over(
    market: AsyncMarketData, tape: Tape, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feed, "PATIENCE_S", 60.0)
    names = tape.exchange, tape.symbol, "trade", None
    async with listening(market, tape) as heard:
        start = whole_ms(heard.began) + MS
        await past(start + 60 * MS)
        tape.write_trades(stored_trades(start, range(1, 11)), (start, start + 10 * MS))
        await heard.ids(10)
        # What came between what was stored and the stream is stored later, with some of what the stream has.
        market.live.opened(*names)
        for number in range(15, 21):
            market.live.trade(tape.exchange, tape.symbol, live_trade(start + (number - 1) * MS, number))
        await asyncio.sleep(0.2)
        assert len(heard.events) == 10
        tape.write_trades(stored_trades(start + 10 * MS, range(11, 18)), (start + 10 * MS, start + 17 * MS))
        await heard.ids(20)
        # At its end it has received more than it has given away.
        market.live.trade(tape.exchange, tape.symbol, live_trade(start + 20 * MS, 21))
        market.live.closed(*names)
        tape.write_trades(stored_trades(start + 17 * MS, range(18, 25)), (start + 17 * MS, start + 24 * MS))
        assert await heard.ids(24) == list(range(1, 25))
        await asyncio.sleep(0.2)
    assert len(heard.events) == 24


async def test_what_comes_after_a_hole_waits_for_it_to_be_filled(
    market: AsyncMarketData, tape: Tape, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feed, "PATIENCE_S", 60.0)
    names = tape.exchange, tape.symbol
    market.live.opened(*names, "trade", None)
    async with listening(market, tape) as heard:
        start = whole_ms(heard.began) - timedelta(seconds=1)
        market.live.trade(*names, live_trade(start, 1))
        await heard.until(1)
        market.live.broken(*names, "trade", None, to_us(start + 5 * MS))
        market.live.trade(*names, live_trade(start + 5 * MS, 6))
        await asyncio.sleep(0.2)
        assert len(heard.events) == 1
        tape.write_trades(stored_trades(start, range(1, 6)), (start, start + 5 * MS))
        assert await heard.ids(6) == [1, 2, 3, 4, 5, 6]
        market.live.trade(*names, live_trade(start + 6 * MS, 7))
        await heard.until(7)


async def test_a_hole_that_nobody_fills_is_passed_in_the_end(
    market: AsyncMarketData, tape: Tape, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feed, "PATIENCE_S", 0.5)
    names = tape.exchange, tape.symbol
    async with listening(market, tape) as heard:
        start = whole_ms(heard.began) + MS
        await past(start + 40 * MS)
        tape.write_trades(stored_trades(start, range(1, 3)), (start, start + 2 * MS))
        await heard.ids(2)
        tape.write_trades(stored_trades(start + 10 * MS, range(11, 13)), (start + 10 * MS, start + 12 * MS))
        assert await heard.ids(4) == [1, 2, 11, 12]
        market.live.opened(*names, "trade", None)
        market.live.trade(*names, live_trade(start + 20 * MS, 21))
        assert await heard.ids(5) == [1, 2, 11, 12, 21]


async def test_who_is_too_slow_is_told_and_gets_the_newest_book(market: AsyncMarketData, tape: Tape):
    live, names = market.live, (tape.exchange, tape.symbol)
    start = datetime(2026, 1, 2, tzinfo=UTC)
    for dataset in ("trade", "order_book"):
        live.opened(*names, dataset, None)
    stream = market.subscribe(tape.symbol, exchange=tape.exchange, datasets=["order_book", "trade"])
    first = asyncio.create_task(anext(stream))
    await become(lambda: bool(live.market(*names).subscriptions))
    live.trade(*names, live_trade(start, 1))
    await first
    for number in range(2, MOST_WAITING + 3):
        live.book(*names, LiveBook(to_us(start) + number, to_us(start), number, [(1.0, 1.0)], []))
        live.trade(*names, live_trade(start, number))
    given: list[Any] = []
    with pytest.raises(
        SubscriberTooSlow, match=r"10,000 events behind the stream: hand events on to a task of your own"
    ):
        await gather(stream, given)
    trades = [one.trade_id for one in given if isinstance(one, TradeEvent)]
    assert trades == list(range(2, len(trades) + 2))
    assert len(trades) == MOST_WAITING - 1
    (book,) = [one for one in given if isinstance(one, OrderBookDataFrame)]
    assert book.time > from_us(to_us(start) + MOST_WAITING)


async def test_a_loop_that_is_left_listens_no_more(market: AsyncMarketData, tape: Tape):
    live = market.live.market(tape.exchange, tape.symbol)
    market.live.opened(tape.exchange, tape.symbol, "trade", None)

    async def listen() -> None:
        async for _ in market.subscribe(tape.symbol, exchange=tape.exchange):
            break

    listener = asyncio.create_task(listen())
    await become(lambda: bool(live.subscriptions))
    market.live.trade(tape.exchange, tape.symbol, live_trade(datetime.now(UTC), 1))
    await listener
    # The loop closes it when it comes to it.
    await become(lambda: not live.subscriptions)


async def test_a_subscription_ends_with_the_market(quiet_url: str, tape: Tape):
    async with AsyncMarketData.connect(quiet_url) as market:
        market.live.opened(tape.exchange, tape.symbol, "trade", None)
        listener = asyncio.ensure_future(anext(market.subscribe(tape.symbol, exchange=tape.exchange)))
        await become(lambda: bool(market.live.market(tape.exchange, tape.symbol).subscriptions))
    with pytest.raises(StoreUnreachable, match="closed"):
        await listener


async def test_what_there_is_not_can_not_be_listened_to(market: AsyncMarketData, tape: Tape):
    listen = market.subscribe
    with pytest.raises(InputError, match="'trades' is no dataset: choose from trade, order_book, ohlcv"):
        listen(tape.symbol, exchange=tape.exchange, datasets=["trades"])
    with pytest.raises(InputError, match="lists of names"):
        listen(tape.symbol, exchange=tape.exchange, datasets="trade")
    with pytest.raises(InputError, match="No datasets"):
        listen(tape.symbol, exchange=tape.exchange, datasets=[])
    for dataset, timeframes in (("ohlcv", []), ("trade", ["1m"])):
        with pytest.raises(InputError, match="Candles are of some timeframe"):
            listen(tape.symbol, exchange=tape.exchange, datasets=[dataset], timeframes=timeframes)
    with pytest.raises(UnknownTimeframe):
        listen(tape.symbol, exchange=tape.exchange, datasets=["ohlcv"], timeframes=["7m"])
    with pytest.raises(InputError, match="depth"):
        listen(tape.symbol, exchange=tape.exchange, depth=0)
    with pytest.raises(UnknownSymbol):
        await anext(listen("NO/SUCH", exchange=tape.exchange))
