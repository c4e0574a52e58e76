"""What a stream has received shows in moments as if it were stored already, and the database loses nothing by it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest

from tapehouse import MarketData
from tapehouse.live import LiveBook, LiveCandle, LiveTape, LiveTrade
from tapehouse.query.inference import InferenceDataFrame
from tapehouse.store.connection import Connection
from tapehouse.store.features import refresh_features
from tapehouse.timeframe import to_us
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

    def until(self, time: datetime) -> "Session":
        return self.between(self.start, time)

    def between(self, start: datetime, end: datetime) -> "Session":
        """What is known of at or after the start, and before the end."""
        return Session(
            start,
            end,
            self.trades[(times(self.trades) >= start) & (times(self.trades) < end)],
            [one for one in self.books if start <= one.time < end],
            self.bars[(times(self.bars) + MINUTE > start) & (times(self.bars) + MINUTE <= end)],
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
    attrs = {key: value for key, value in frame.attrs.items() if key not in _OF_ITS_OWN}
    return {
        key: {one: what for one, what in value.items() if one not in _OF_ITS_OWN} if isinstance(value, dict) else value
        for key, value in attrs.items()
    }


@pytest.mark.parametrize(("seed", "hole"), [(1, timedelta(0)), (2, timedelta(seconds=20)), (3, timedelta(0))])
def test_what_is_received_shows_as_if_it_were_stored(
    make_tape: Callable[..., Tape], connection: Connection, quiet_url: str, seed: int, hole: timedelta
):
    rng = np.random.default_rng(seed)
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=3)
    start = end - timedelta(minutes=4)
    fed, stored = make_tape(), make_tape()
    before = random_session(start - timedelta(minutes=10), start - hole, seed)
    history = random_bars((start - timedelta(hours=30)).replace(second=0), 30 * 60 - 12, seed=seed)
    session = random_session(start, end, seed + 100)
    session.trades["trade_id"] += 100_000
    if seed == 3:
        # Ids of two kinds, and prices that are finer than any before.
        session.trades["trade_id"] = [one if one % 7 else f"t-{one}" for one in session.trades["trade_id"]]
        session.trades.loc[session.trades.index[-50:], "price"] += 0.00125
    for tape in (fed, stored):
        write_bars(tape, history)
        write(tape, before, before)
    refresh_features(connection)
    with MarketData.connect(quiet_url) as market, MarketData.connect(quiet_url, cache_mb=0) as plain:
        options = {"include_forming": True, "as_known": seed == 2, "depth": 5}
        open_all(market.live, fed)
        reached = flushed = start
        while reached < end:
            part = session.between(reached, min(end, reached + timedelta(milliseconds=int(rng.integers(1, 40_000)))))
            reached = part.end
            feed(market.live, fed, part)
            write(stored, part, session)
            if rng.random() < 0.4:
                write(fed, session.between(flushed, reached), session)
                for dataset, name in (("trade", None), ("order_book", None), ("ohlcv", "1m")):
                    market.live.stored(fed.exchange, fed.symbol, dataset, name, to_us(reached))
                flushed = reached
            for _ in range(3):
                at = start + rng.random() * (reached - start)
                answers = [
                    one.get_inference_data(tape.symbol, exchange=tape.exchange, timestamp=at, **options)
                    for one, tape in ((market, fed), (plain, stored))
                ]
                assert_told_the_same(*answers)
