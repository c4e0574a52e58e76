"""A burst: a great many trades within one millisecond, put into the history of a market that goes on as before."""

from collections.abc import Sequence

import numpy as np

from tapehouse.errors import InputError
from tapehouse.sandbox.bars import Bars, Grid, concatenate, regroup
from tapehouse.sandbox.market import is_inverse
from tapehouse.sandbox.tape import NS_PER_MS, Book, BookChange, History, Trades, as_bars

# In ticks around the price before: a burst goes nowhere.
_SWING = np.array([0, 1, 2, 1, 0, -1, -2, -1], dtype=np.int64)


class BurstHistory:
    """A history with `trades` more of them in the millisecond `at_ms`.

    Their ids go on from the one before; those of all later trades move on by as many. Its books are those of the
    history without them. Raises InputError where there is nothing to go on from.
    """

    def __init__(self, history: History, symbol: str, *, at_ms: int, trades: int) -> None:
        rank = history.rank_at(at_ms * NS_PER_MS)
        before = history.ranked(rank - 1, rank)
        if trades < 1 or not len(before) or before.id_text is not None:
            raise InputError(
                f"{symbol} can't have a burst of {trades} trades: it needs one trade before, with a number."
            )
        self.price_decimals = history.price_decimals
        self.amount_decimals = history.amount_decimals
        self.first_ms = history.first_ms
        self.end_ms = None if history.end_ms is None else max(history.end_ms, at_ms + 1)
        self._history = history
        self._inverse = is_inverse(symbol)
        self._at_ms = at_ms
        self._rank = rank
        self._burst = _burst(before, history.ranked(rank, rank + 1), at_ms * NS_PER_MS, trades)

    def bars(self, grid: Grid, start_ms: int, end_ms: int, *, now_ms: int) -> Bars:
        """Bars with trades that open in [start_ms, end_ms), both on the grid, as they stand at `now_ms`."""
        bars = self._history.bars(grid, start_ms, end_ms, now_ms=now_ms)
        open_ms = grid.floor(self._at_ms)
        if not start_ms <= open_ms < min(end_ms, now_ms):
            return bars
        close_ms = open_ms + grid.length_ms
        first = self.rank_at(open_ms * NS_PER_MS)
        trades = self.ranked(first, self.rank_at(min(close_ms, now_ms) * NS_PER_MS))
        struck = regroup(as_bars(trades, inverse=self._inverse), grid)
        return concatenate([bars.between(start_ms, open_ms), struck, bars.between(close_ms, end_ms)])

    def last_close(self, before_ms: int) -> int | None:
        """The price, in ticks, of the last trade before that time."""
        if before_ms <= self._at_ms:
            return self._history.last_close(before_ms)
        last = self.rank_at(before_ms * NS_PER_MS)
        return int(self.ranked(last - 1, last).price[0])

    def rank_at(self, time_ns: int) -> int:
        """The rank of the first trade at that time or later, whether it has happened yet or not."""
        return self._history.rank_at(time_ns) + int(np.searchsorted(self._burst.time_ns, time_ns))

    def rank_of(self, trade_id: int) -> int:
        """The rank of the first trade with that id or a higher one."""
        first, count = int(self._burst.trade_id[0]), len(self._burst)
        if trade_id < first:
            return self._history.rank_of(trade_id)
        if trade_id < first + count:
            return self._rank + trade_id - first
        return self._history.rank_of(trade_id - count) + count

    def ranked(self, first: int, stop: int) -> Trades:
        """The trades with ranks from `first` to below `stop`."""
        count, rank = len(self._burst), self._rank
        after = self._history.ranked(max(first - count, rank), stop - count) if stop > rank + count else None
        parts = [
            self._history.ranked(first, min(stop, rank)),
            self._burst.slice(min(max(first - rank, 0), count), min(max(stop - rank, 0), count)),
        ]
        if after is not None:
            parts.append(_moved_on(after, count))
        return _joined(parts)

    def book(self, now_ms: int, depth: int) -> Book:
        """The book at `now_ms` with `depth` levels a side, or fewer where it has no more."""
        return self._history.book(now_ms, depth)

    def book_times(self, start_ms: int, end_ms: int) -> Sequence[int]:
        """When the book changed, after `start_ms` until `end_ms`."""
        return self._history.book_times(start_ms, end_ms)

    def book_changes(self, start_ms: int, end_ms: int) -> Sequence[BookChange]:
        """How the book changed, after `start_ms` until `end_ms`."""
        return self._history.book_changes(start_ms, end_ms)


def _burst(before: Trades, after: Trades, at_ns: int, count: int) -> Trades:
    """The trades of a burst, none of them later than the next trade of the market."""
    number = np.arange(count, dtype=np.int64)
    end_ns = min(at_ns + NS_PER_MS, *after.time_ns.tolist())
    return Trades(
        before.trade_id[0] + 1 + number,
        at_ns + number * (end_ns - at_ns) // count,
        np.maximum(before.price[0] + _SWING[number % len(_SWING)], 1),
        1 + number % 5,
        number % 2,
    )


def _moved_on(trades: Trades, count: int) -> Trades:
    """The trades with ids that are higher by `count`."""
    return Trades(trades.trade_id + count, trades.time_ns, trades.price, trades.amount, trades.buyer_took)


def _joined(parts: Sequence[Trades]) -> Trades:
    return Trades(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("trade_id", "time_ns", "price", "amount", "buyer_took")
        )
    )
