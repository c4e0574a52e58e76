"""Trades, order books and candles as events with keys, alike from a stream and from the database.

Keys are in the order in which events of one series are given: those of trades as the store sorts them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import pandas as pd

from tapehouse.book import LEVEL_COLUMNS, NO_NONCE
from tapehouse.candle import VALUE_COLUMNS, Float64Array
from tapehouse.live.records import LiveBook, LiveCandle, LiveRow, LiveTrade
from tapehouse.query.frame import MarketFrame
from tapehouse.query.live_trades import id_keys
from tapehouse.query.records import OHLCVCandle, OrderBookDataFrame, TradeEvent
from tapehouse.timeframe import Timeframe, from_us
from tapehouse.trade import BOUGHT, SOLD

Event: TypeAlias = TradeEvent | OrderBookDataFrame | OHLCVCandle
Key: TypeAlias = tuple[Any, ...]
Arrival: TypeAlias = tuple[Key, Event]
# What is stored of a series since a time.
Read: TypeAlias = Callable[[datetime], MarketFrame]

_SIDES: Final = {BOUGHT: "buy", SOLD: "sell"}


class Kind(Protocol):
    """How rows of one kind become events; a key begins with a time in microseconds since 1970 UTC."""

    def live(self, row: LiveRow) -> Arrival:
        """Of a row of a stream."""
        ...

    def stored(self, frame: MarketFrame) -> Iterator[Arrival]:
        """Of an answer of `MarketData`."""
        ...


@dataclass(frozen=True, slots=True)
class Trades:
    """Of trades."""

    def live(self, row: LiveRow) -> Arrival:
        """Of a row of a stream."""
        assert isinstance(row, LiveTrade)
        event = TradeEvent(
            from_us(row.time_us),
            row.id_text or row.trade_id,
            row.price,
            row.amount,
            _SIDES.get(row.side, "unknown"),
        )
        return (row.time_us, row.trade_id, row.id_text), event

    def stored(self, frame: MarketFrame) -> Iterator[Arrival]:
        """Of an answer of `MarketData.trades`."""
        ids = np.asarray(frame["trade_id"])
        numbers, texts = id_keys(ids if ids.dtype == np.int64 else ids.astype(np.str_))
        columns = (ids.tolist(), frame["price"].tolist(), frame["amount"].tolist(), frame["side"].tolist())
        keys = zip(_times_us(frame), numbers.tolist(), texts.tolist(), strict=True)
        for key, row in zip(keys, zip(*columns, strict=True), strict=True):
            yield key, TradeEvent(from_us(key[0]), *row)


@dataclass(frozen=True, slots=True)
class Books:
    """Of order books with so many levels a side."""

    depth: int

    def live(self, row: LiveRow) -> Arrival:
        """Of a row of a stream."""
        assert isinstance(row, LiveBook)
        levels = np.full((self.depth, len(LEVEL_COLUMNS)), np.nan)
        for column, side in ((0, row.bids), (2, row.asks)):
            best = np.array(side[: self.depth], dtype=np.float64).reshape(-1, 2)
            levels[: len(best), column : column + 2] = best
        return (row.time_us,), _book(row.time_us, row.received_us, row.nonce, levels)

    def stored(self, frame: MarketFrame) -> Iterator[Arrival]:
        """Of an answer of `MarketData.order_books`."""
        received_us: list[int] = pd.DatetimeIndex(frame["received_at"]).as_unit("us").asi8.tolist()
        nonces: list[int] = frame["nonce"].fillna(NO_NONCE).tolist()
        names = [f"{name}_{level}" for level in range(1, self.depth + 1) for name in LEVEL_COLUMNS]
        levels = frame[names].to_numpy(dtype=np.float64).reshape(-1, self.depth, len(LEVEL_COLUMNS))
        for line, time_us in enumerate(_times_us(frame)):
            yield (time_us,), _book(time_us, received_us[line], nonces[line], levels[line])


@dataclass(frozen=True, slots=True)
class Candles:
    """Of candles of one timeframe."""

    timeframe: Timeframe

    def live(self, row: LiveRow) -> Arrival:
        """Of a row of a stream."""
        assert isinstance(row, LiveCandle)
        values = [getattr(row, name) for name in VALUE_COLUMNS]
        return (row.time_us,), self._candle(row.time_us, values, is_forming=not row.is_closed)

    def stored(self, frame: MarketFrame) -> Iterator[Arrival]:
        """Of an answer of `MarketData.candles`."""
        values = frame[list(VALUE_COLUMNS)].to_numpy().tolist()
        for time_us, row in zip(_times_us(frame), values, strict=True):
            yield (time_us,), self._candle(time_us, row, is_forming=False)

    def _candle(self, time_us: int, values: list[float], *, is_forming: bool) -> OHLCVCandle:
        opened = from_us(time_us)
        return OHLCVCandle(opened, self.timeframe.close(opened), self.timeframe.name, *values, is_forming=is_forming)


def _times_us(frame: MarketFrame) -> list[int]:
    index = frame.index
    assert isinstance(index, pd.DatetimeIndex)
    return index.asi8.tolist()


def _book(time_us: int, received_us: int, nonce: int, levels: Float64Array) -> OrderBookDataFrame:
    levels.flags.writeable = False
    return OrderBookDataFrame(from_us(time_us), from_us(received_us), None if nonce == NO_NONCE else nonce, levels)
