"""What a stream has received shows in moments as if it were stored already."""

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest

from tapehouse import MarketData
from tapehouse.indicators import DEFAULT_INDICATORS
from tapehouse.live import LiveBook, LiveCandle, LiveTape, LiveTrade
from tapehouse.query.inference import InferenceDataFrame
from tapehouse.store.connection import Connection
from tapehouse.store.features import refresh_features
from tapehouse.store.rollups import refresh_rollups
from tapehouse.timeframe import timeframe, to_us
from tests.query.conftest import COLUMNS, Snapshot, Tape, in_units, random_bars, random_books, random_trades, times
from tests.query.moments import LADDER, assert_same, write_bars

MINUTE: Final = timedelta(minutes=1)
MS: Final = timedelta(milliseconds=1)
_SIDES: Final = {"buy": 1, "sell": -1, "unknown": 0}
# What is of the answer, and not of what is told by it.
_OF_ITS_OWN: Final = {"exchange", "symbol", "as_of", "revision"}


@dataclass
class Session:
    """What a stream receives of a market, one after the other; `bars` in ticks and lots, all else in units."""

    start: datetime
    end: datetime
    trades: pd.DataFrame
    books: list[Snapshot]
    bars: pd.DataFrame

    def between(self, start: datetime, end: datetime) -> "Session":
        """What is known of at or after the start, and before the end."""
        traded, opened = times(self.trades), times(self.bars)
        return Session(
            start,
            end,
            self.trades[(traded >= pd.Timestamp(start)) & (traded < pd.Timestamp(end))],
            [one for one in self.books if start <= one.time < end],
            self.bars[(opened > pd.Timestamp(start - MINUTE)) & (opened <= pd.Timestamp(end - MINUTE))],
        )


def random_session(start: datetime, end: datetime, seed: int) -> Session:
    span = end - start
    step = timedelta(milliseconds=700)
    opened = start.replace(second=0, microsecond=0)
    return Session(
        start,
        end,
        random_trades(start, 40 * (span // timedelta(seconds=10)), span=span, seed=seed),
        random_books([start + number * step for number in range(span // step)], seed=seed),
        random_bars(opened, span // MINUTE + 1, seed=seed).iloc[:-1],
    )


def write(tape: Tape, session: Session, whole: Session) -> None:
    """Write what was received in a part of a session as a flush does: complete from the first row to the last one."""
    if len(session.trades):
        first, last = times(whole.trades)[0].to_pydatetime() + MS, times(session.trades)[-1].to_pydatetime()
        tape.write_trades(session.trades, *([(first, last)] if first < last else []))
    if session.books:
        first, last = whole.books[0].time, session.books[-1].time
        tape.write_books(session.books, *([(first, last)] if first < last else []))
    if len(session.bars):
        write_bars(tape, session.bars)


def feed(live: LiveTape, tape: Tape, session: Session) -> None:
    for trade in live_trades(session.trades):
        live.trade(tape.exchange, tape.symbol, trade)
    for book in session.books:
        received_us = to_us(book.time + book.late)
        live.book(tape.exchange, tape.symbol, LiveBook(to_us(book.time), received_us, book.nonce, book.bids, book.asks))
    for candle in live_candles(session.bars):
        live.candle(tape.exchange, tape.symbol, "1m", candle)


def live_trades(trades: pd.DataFrame) -> list[LiveTrade]:
    rows = zip(
        trades.index, trades["trade_id"].tolist(), trades["price"], trades["amount"], trades["side"], strict=True
    )
    return [
        LiveTrade(
            to_us(time.to_pydatetime()),
            0 if isinstance(trade_id, str) else trade_id,
            trade_id if isinstance(trade_id, str) else "",
            price,
            amount,
            _SIDES[side],
        )
        for time, trade_id, price, amount, side in rows
    ]


def live_candles(bars: pd.DataFrame) -> list[LiveCandle]:
    units = in_units(bars)
    return [
        LiveCandle(to_us(time.to_pydatetime()), *values, is_closed=True)
        for time, values in zip(times(units), units[COLUMNS].to_numpy().tolist(), strict=True)
    ]


def open_all(live: LiveTape, tape: Tape) -> None:
    for dataset, name in (("trade", None), ("order_book", None), ("ohlcv", "1m")):
        live.opened(tape.exchange, tape.symbol, dataset, name)


def assert_told_the_same(left: InferenceDataFrame, right: InferenceDataFrame) -> None:
    """Both say the same, and the same of it: where it comes from, and what is missing."""
    assert_same(left, right)
    for name in LADDER:
        assert told(left.ohlcv(name)) == told(right.ohlcv(name)), name
    for noun in ("trades", "imbalances", "indicators"):
        assert told(getattr(left, noun)) == told(getattr(right, noun)), noun
    assert left.latest_trade == right.latest_trade
    for name in LADDER:
        assert left.forming_candle(name) == right.forming_candle(name)


def told(frame: pd.DataFrame) -> dict[str, Any]:
    """What is said of a frame, but for whose it is."""
    attrs: dict[str, Any] = {}
    for key, value in json.loads(json.dumps(frame.attrs)).items():
        attrs[key] = value
        if key in ("order_book", "trade") and value:
            # What is said of imbalances is said of both that they are computed from.
            attrs[key] = {one: what for one, what in value.items() if one not in _OF_ITS_OWN}
    return {key: value for key, value in attrs.items() if key not in _OF_ITS_OWN}


def of_now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=3)


def of_noon() -> datetime:
    """After half a day has ended, and with it bars of most timeframes or of all."""
    return timeframe("12h").floor(of_now() - timedelta(minutes=10)) + timedelta(seconds=130)


@pytest.mark.parametrize(
    ("seed", "end_of", "hole", "flushed"),
    [
        (1, of_now, timedelta(seconds=20), 0.4),
        (2, of_now, timedelta(0), 0.4),
        # The rollups are up to date, until something is laid over.
        (3, of_noon, timedelta(0), 0.0),
    ],
)
def test_what_is_received_shows_as_if_it_were_stored(
    make_tape: Callable[..., Tape],
    connection: Connection,
    quiet_url: str,
    seed: int,
    end_of: Callable[[], datetime],
    hole: timedelta,
    flushed: float,
):
    rng = np.random.default_rng(seed)
    end = end_of()
    start = end - timedelta(minutes=4)
    fed, stored = make_tape(), make_tape()
    before = random_session(start - timedelta(minutes=10), start - hole, seed)
    history = random_bars((start - timedelta(hours=30)).replace(second=0), 30 * 60, seed=seed)
    session = random_session(start, end, seed + 100)
    session.trades["trade_id"] += 100_000
    if seed == 2:
        # Ids of two kinds, and prices that are finer than any before.
        session.trades["trade_id"] = [one if one % 7 else f"t-{one}" for one in session.trades["trade_id"]]
        session.trades.loc[session.trades.index[-50:], "price"] += 0.00125
    for tape in (fed, stored):
        write_bars(tape, history)
        write(tape, before, before)
    refresh_rollups(connection)
    refresh_features(connection)
    a_day = timedelta(days=1)
    with MarketData.connect(quiet_url, hot_window=a_day) as market, MarketData.connect(quiet_url, cache_mb=0) as plain:
        open_all(market.live, fed)
        reached = stored_until = start
        while reached < end:
            part = session.between(reached, min(end, reached + timedelta(milliseconds=int(rng.integers(1, 40_000)))))
            reached = part.end
            feed(market.live, fed, part)
            write(stored, part, session)
            if rng.random() < flushed:
                write(fed, session.between(stored_until, reached), session)
                for dataset, name in (("trade", None), ("order_book", None), ("ohlcv", "1m")):
                    market.live.stored(fed.exchange, fed.symbol, dataset, name, to_us(reached))
                stored_until = reached
            for _ in range(2):
                at = start + rng.random() * (reached - start)
                left, right = (
                    one.get_inference_data(
                        tape.symbol,
                        exchange=tape.exchange,
                        timestamp=at,
                        include_forming=True,
                        as_known=seed == 1,
                        # Without one that needs the day's 1m candles in any case.
                        indicators=DEFAULT_INDICATORS if flushed else ["ema_5"],
                        depth=5,
                    )
                    for one, tape in ((market, fed), (plain, stored))
                )
                assert_told_the_same(left, right)


def now(market: MarketData, tape: Tape) -> InferenceDataFrame:
    return market.get_inference_data(tape.symbol, exchange=tape.exchange)


def test_what_was_received_last_is_there_at_once(market: MarketData, tape: Tape):
    names = tape.exchange, tape.symbol
    write_bars(tape, random_bars(datetime.now(UTC).replace(second=0, microsecond=0) - 90 * MINUTE, 90))
    now(market, tape)
    open_all(market.live, tape)
    # Clocks differ: this one is ahead of ours.
    ahead = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=20)
    for number in range(50):
        time = ahead + number * MS
        market.live.trade(*names, LiveTrade(to_us(time), number, "", 60_000.0 + number, 1.0, 1))
        data = now(market, tape)
        assert data.latest_trade is not None
        assert data.latest_trade.trade_id == number
        assert data.get_latest_price() == 60_000.0 + number
        assert len(data.trades) == number + 1
        market.live.book(*names, LiveBook(to_us(time), to_us(time), number, [(59_999.0, 1.0)], [(60_001.0, 1.0)]))
        book = now(market, tape).order_book
        assert book is not None
        assert (book.time, book.nonce, book.mid) == (time, number, 60_000.0)


def test_a_market_of_which_nothing_is_stored_has_what_was_received(market: MarketData, tape: Tape):
    open_all(market.live, tape)
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)
    session = random_session(end - timedelta(minutes=3), end, 5)
    feed(market.live, tape, session)
    data = now(market, tape)
    assert len(data.trades) == len(session.trades)
    pd.testing.assert_frame_equal(data.ohlcv_1m, in_units(session.bars), check_freq=False)
    assert data.ohlcv_1m.attrs["source"] == "native"
    assert data.order_book is not None
    assert data.order_book.time == session.books[-1].time
    assert data.imbalances.empty


def test_what_lies_between_the_stored_and_the_received_is_a_gap(market: MarketData, tape: Tape):
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)
    start = end - timedelta(minutes=3)
    stored_until = start - timedelta(seconds=30)
    tape.write_trades(
        random_trades(start - timedelta(minutes=2), 50, span=timedelta(minutes=1)),
        (start - timedelta(minutes=20), stored_until),
    )
    open_all(market.live, tape)
    session = random_session(start, end, 6)
    feed(market.live, tape, session)
    data = market.get_inference_data(tape.symbol, exchange=tape.exchange, timestamp=end)
    first, last = times(session.trades)[[0, -1]]
    assert data.trades.attrs["gaps"] == [
        [stored_until.isoformat(), (first + MS).isoformat()],
        [last.isoformat(), end.isoformat()],
    ]
    # Built from trades only where all of them are known.
    seconds = times(data.ohlcv_1s)
    assert seconds[0] < pd.Timestamp(stored_until) < seconds[-1]
    assert not ((seconds >= pd.Timestamp(stored_until)) & (seconds < (first + MS).ceil("1s"))).any()
    market.live.broken(tape.exchange, tape.symbol, "trade", None, to_us(end) - 60_000_000)
    broken = market.get_inference_data(tape.symbol, exchange=tape.exchange, timestamp=end)
    assert datetime.fromisoformat(broken.trades.attrs["gaps"][0][1]) > end - MINUTE
    pd.testing.assert_frame_equal(broken.trades, data.trades)


def test_what_others_change_shows_soon_beside_a_stream(market: MarketData, tape: Tape):
    start = datetime.now(UTC).replace(second=0, microsecond=0) - 90 * MINUTE
    bars = random_bars(start, 90)
    write_bars(tape, bars)
    open_all(market.live, tape)
    assert len(now(market, tape).ohlcv_1m) == 60
    write_bars(tape, bars + 100)
    deadline_s = monotonic() + 10
    expected = (bars["close"].iloc[-1] + 100) / 100
    while now(market, tape).ohlcv_1m["close"].iloc[-1] != expected:
        assert monotonic() < deadline_s
        sleep(0.02)


def test_a_stream_that_begins_while_moments_are_asked_for_shows(market: MarketData, tape: Tape):
    end = datetime.now(UTC).replace(microsecond=0)
    write_bars(tape, random_bars((end - 5 * MINUTE).replace(second=0) - 40 * MINUTE, 40))
    now(market, tape)
    session = random_session(end - 4 * MINUTE, end, 7)
    # Nobody said that it opens.
    feed(market.live, tape, session)
    assert times(now(market, tape).ohlcv_1m)[-1] == times(session.bars)[-1]


def test_what_is_received_does_not_touch_what_was_given_out(market: MarketData, tape: Tape):
    write_bars(tape, random_bars(datetime.now(UTC).replace(second=0, microsecond=0) - 90 * MINUTE, 90))
    open_all(market.live, tape)
    end = datetime.now(UTC).replace(microsecond=0)
    session = random_session(end - timedelta(seconds=20), end, 8)
    trades = live_trades(session.trades)
    given = [(now(market, tape), 0)]
    for count, trade in enumerate(trades, start=1):
        market.live.trade(tape.exchange, tape.symbol, trade)
        given.append((now(market, tape), count))
    for data, count in given:
        assert len(data.trades) == count
        assert data.trades["trade_id"].tolist() == session.trades["trade_id"].tolist()[:count]
        assert pickle.loads(pickle.dumps(data)).trades.equals(data.trades)
