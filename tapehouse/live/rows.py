"""Live rows of one series in the order of their keys: columns of trades that grow, order books, closed candles.

Not for several threads at once: `tape` sees to that. What was handed out never changes.
"""

from bisect import bisect_left
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.live.records import LiveBook, LiveCandle, LiveTrade
from tapehouse.trade import Int16Array, StrArray, TradeBatch

_LEAST_ROOM: Final = 1024
# Rows that nobody says are stored are forgotten after so long, by the times of the rows, or when there are so many.
MEMORY_US: Final = 10 * 60 * 1_000_000
_MOST_TRADES: Final = 200_000
_MOST_BOOKS: Final = 2000
_MOST_CANDLES: Final = 2000


@dataclass(frozen=True, slots=True)
class Place:
    """How far somebody has taken trades: of which generation, and how many there ever were of it."""

    generation: int
    total: int


class TradeRows:
    """Trades, sorted by (time_us, trade_id, id_text), no such key twice."""

    def __init__(self) -> None:
        self.forgotten_us = 0
        # Grows when a trade is put between others: who has taken these must take all anew.
        self._generation = 0
        # How many trades there ever were before the first one of the columns.
        self._before = 0
        self._first = self._stop = 0
        self._newest = (-1, -1, "")
        self._time_us: Int64Array = np.empty(_LEAST_ROOM, dtype=np.int64)
        self._trade_id: Int64Array = np.empty(_LEAST_ROOM, dtype=np.int64)
        self._price: Float64Array = np.empty(_LEAST_ROOM)
        self._amount: Float64Array = np.empty(_LEAST_ROOM)
        self._side: Int16Array = np.empty(_LEAST_ROOM, dtype=np.int16)
        self._id_text: StrArray = np.zeros(_LEAST_ROOM, dtype="<U1")

    def __len__(self) -> int:
        return self._stop - self._first

    @property
    def first_us(self) -> int | None:
        """The time of the first one."""
        return int(self._time_us[self._first]) if len(self) else None

    @property
    def last_us(self) -> int | None:
        """The time of the last one."""
        return int(self._time_us[self._stop - 1]) if len(self) else None

    @property
    def place(self) -> Place:
        """Behind the last one."""
        return Place(self._generation, self._before + self._stop)

    def add(self, trade: LiveTrade) -> bool:
        """Take a trade, in place of another one of the same key; whether it is news, and none that is known."""
        key = (trade.time_us, trade.trade_id, trade.id_text)
        if key > self._newest:
            self._append(trade)
            self._newest = key
            return True
        return self._put_between(trade)

    def since(self, place: Place) -> TradeBatch | None:
        """The trades that came after that place, which share memory with these; None where others came between."""
        first = place.total - self._before
        if place.generation != self._generation or first < self._first:
            return None
        return self._columns(first)

    def all(self) -> TradeBatch:
        """All trades, which share memory with these."""
        return self._columns(self._first)

    def forget(self, before_us: int) -> None:
        """Let go of those before that time."""
        self.forgotten_us = max(self.forgotten_us, before_us)
        self._first += int(np.searchsorted(self._time_us[self._first : self._stop], before_us))

    def _columns(self, first: int) -> TradeBatch:
        part = slice(first, self._stop)
        return TradeBatch(
            self._time_us[part],
            self._trade_id[part],
            self._id_text[part],
            self._price[part],
            self._amount[part],
            self._side[part],
        )

    def _append(self, trade: LiveTrade) -> None:
        if self._stop == len(self._time_us):
            self._make_room()
        line = self._stop
        self._time_us[line] = trade.time_us
        self._trade_id[line] = trade.trade_id
        self._price[line] = trade.price
        self._amount[line] = trade.amount
        self._side[line] = trade.side
        if trade.id_text:
            self._widen(trade.id_text)
            self._id_text[line] = trade.id_text
        self._stop = line + 1

    def _widen(self, id_text: str) -> None:
        # numpy cuts what is too long without a word.
        if len(id_text) * 4 > self._id_text.itemsize:
            self._id_text = self._id_text.astype(f"<U{len(id_text)}")

    def _make_room(self) -> None:
        """Move the trades that are remembered to columns with room for as many again."""
        last_us = self.last_us
        if last_us is not None:
            self.forget(last_us - MEMORY_US)
        if len(self) > _MOST_TRADES:
            self.forget(int(self._time_us[self._stop - _MOST_TRADES // 2]) + 1)
        self._replace(self.all(), room=max(_LEAST_ROOM, len(self)))

    def _replace(self, trades: TradeBatch, *, room: int) -> None:
        self._before += self._first
        self._first, self._stop = 0, len(trades)
        self._time_us = np.concatenate([trades.time_us, np.empty(room, dtype=np.int64)])
        self._trade_id = np.concatenate([trades.trade_id, np.empty(room, dtype=np.int64)])
        self._price = np.concatenate([trades.price, np.empty(room)])
        self._amount = np.concatenate([trades.amount, np.empty(room)])
        self._side = np.concatenate([trades.side, np.empty(room, dtype=np.int16)])
        self._id_text = np.concatenate([trades.id_text, np.zeros(room, dtype=trades.id_text.dtype)])

    def _put_between(self, trade: LiveTrade) -> bool:
        if trade.time_us < self.forgotten_us:
            return False
        self._widen(trade.id_text)
        trades = self.all()
        line, stop = (int(np.searchsorted(trades.time_us, trade.time_us, side)) for side in ("left", "right"))
        key = (trade.trade_id, trade.id_text)
        keys = zip(trades.trade_id[line:stop].tolist(), trades.id_text[line:stop].tolist(), strict=True)
        behind = [here for here in keys if here <= key]
        line += len(behind)
        is_news = not behind or behind[-1] != key
        if is_news or _values(trades, line - 1) != (trade.price, trade.amount, trade.side):
            self._generation += 1
            self._replace(_with(trades, line, trade, replaces=not is_news), room=max(_LEAST_ROOM, len(trades)))
        return is_news


def _values(trades: TradeBatch, line: int) -> tuple[float, float, int]:
    return float(trades.price[line]), float(trades.amount[line]), int(trades.side[line])


def _with(trades: TradeBatch, line: int, trade: LiveTrade, *, replaces: bool) -> TradeBatch:
    """The trades with one more before that line, in place of the one before it where it replaces that."""
    columns: list[Any] = []
    for one in fields(TradeBatch):
        column = getattr(trades, one.name)
        before = np.delete(column, line - 1) if replaces else column
        columns.append(np.insert(before, line - replaces, getattr(trade, one.name)))
    return TradeBatch(*columns)


class BookRows:
    """Snapshots of an order book, sorted by time, no time twice."""

    def __init__(self) -> None:
        self.forgotten_us = 0
        self._books: list[LiveBook] = []
        self._times_us: list[int] = []

    def __len__(self) -> int:
        return len(self._books)

    @property
    def first_us(self) -> int | None:
        """The time of the first one."""
        return self._times_us[0] if self._times_us else None

    @property
    def last_us(self) -> int | None:
        """The time of the last one."""
        return self._times_us[-1] if self._times_us else None

    def add(self, book: LiveBook) -> bool:
        """Take a snapshot, in place of another one of the same time; whether it is news."""
        line = len(self._books)
        if self._times_us and book.time_us <= self._times_us[-1]:
            if book.time_us < self.forgotten_us:
                return False
            line = bisect_left(self._times_us, book.time_us)
            if self._times_us[line] == book.time_us:
                is_news = _levels(book) != _levels(self._books[line])
                if is_news:
                    self._books[line] = book
                return is_news
        self._books.insert(line, book)
        self._times_us.insert(line, book.time_us)
        if len(self) > _MOST_BOOKS:
            self.forget(max(self._times_us[-1] - MEMORY_US, self._times_us[_MOST_BOOKS // 2]))
        return True

    def all(self) -> list[LiveBook]:
        """All snapshots."""
        return self._books.copy()

    def forget(self, before_us: int) -> None:
        """Let go of those before that time."""
        self.forgotten_us = max(self.forgotten_us, before_us)
        line = bisect_left(self._times_us, before_us)
        del self._books[:line], self._times_us[:line]


class CandleRows:
    """Closed candles, sorted by open time, no time twice."""

    def __init__(self) -> None:
        self.forgotten_us = 0
        self._candles: dict[int, LiveCandle] = {}

    def __len__(self) -> int:
        return len(self._candles)

    @property
    def first_us(self) -> int | None:
        """The open time of the first one."""
        return min(self._candles, default=None)

    @property
    def last_us(self) -> int | None:
        """The open time of the last one."""
        return max(self._candles, default=None)

    def add(self, candle: LiveCandle) -> bool:
        """Take a closed candle, in place of another one of the same time; whether it is news."""
        if candle.time_us < self.forgotten_us or self._candles.get(candle.time_us) == candle:
            return False
        self._candles[candle.time_us] = candle
        if len(self) > _MOST_CANDLES:
            self.forget(sorted(self._candles)[_MOST_CANDLES // 2])
        return True

    def all(self) -> list[LiveCandle]:
        """All closed candles."""
        return [self._candles[time_us] for time_us in sorted(self._candles)]

    def forget(self, before_us: int) -> None:
        """Let go of those before that time."""
        self.forgotten_us = max(self.forgotten_us, before_us)
        self._candles = {time_us: one for time_us, one in self._candles.items() if time_us >= before_us}


def _levels(book: LiveBook) -> tuple[object, ...]:
    return [tuple(one) for one in book.bids], [tuple(one) for one in book.asks]
