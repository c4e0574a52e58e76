"""Trades and order books of the sandbox in whole ticks and lots, and the history that has them.

How an exchange writes them down is its dialect's business; bars are `tapehouse.sandbox.bars`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from tapehouse.candle import Int64Array
from tapehouse.sandbox.bars import Bars, Grid
from tapehouse.trade import StrArray

NS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Trades:
    """Trades in order of time and id; prices in ticks, amounts in lots of their history.

    `buyer_took` is 1 where the taker bought, 0 where it sold. `id_text` holds the ids where
    they are no numbers; `trade_id` then counts the trades.
    """

    trade_id: Int64Array
    time_ns: Int64Array
    price: Int64Array
    amount: Int64Array
    buyer_took: Int64Array
    id_text: StrArray | None = None

    def __len__(self) -> int:
        return len(self.trade_id)

    @property
    def time_ms(self) -> Int64Array:
        """When each trade was, in milliseconds."""
        return self.time_ns // NS_PER_MS

    def ids(self) -> list[str]:
        """The ids as text."""
        return [str(trade_id) for trade_id in (self.trade_id if self.id_text is None else self.id_text).tolist()]

    def json_ids(self) -> list[str]:
        """The ids as JSON: numbers where they are numbers."""
        return self.ids() if self.id_text is None else [json.dumps(trade_id) for trade_id in self.ids()]

    def slice(self, first: int, stop: int) -> "Trades":
        """The trades at the places first, first + 1... stop - 1."""
        inside = slice(first, stop)
        return Trades(
            self.trade_id[inside],
            self.time_ns[inside],
            self.price[inside],
            self.amount[inside],
            self.buyer_took[inside],
            None if self.id_text is None else self.id_text[inside],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Book:
    """An order book: prices in ticks and amounts in lots, best level first, as it was from `time_ms` on.

    `nonce` is the number of that state, which rises with every change.
    """

    time_ms: int
    nonce: int
    bid_price: Int64Array
    bid_amount: Int64Array
    ask_price: Int64Array
    ask_amount: Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class BookChange:
    """What a book became at `time_ms`: prices in ticks with their new amounts in lots, 0 for none.

    A `whole` one replaces the book before it. `first_nonce` and `nonce` number the first and the last of what
    has changed.
    """

    time_ms: int
    first_nonce: int
    nonce: int
    whole: bool
    bid_price: Int64Array
    bid_amount: Int64Array
    ask_price: Int64Array
    ask_amount: Int64Array


class History(Protocol):
    """What happened on one market: its trades, its books, and bars of any length, of minutes that had trades.

    Trades are counted in order: each has a rank, and ranks run without a hole.
    """

    price_decimals: int
    amount_decimals: int
    first_ms: int
    end_ms: int | None

    def bars(self, grid: Grid, start_ms: int, end_ms: int, *, now_ms: int) -> Bars:
        """Bars with trades that open in [start_ms, end_ms), both on the grid, as they stand at `now_ms`."""
        ...

    def last_close(self, before_ms: int) -> int | None:
        """The price, in ticks, of the last trade before that time."""
        ...

    def rank_at(self, time_ns: int) -> int:
        """The rank of the first trade at that time or later, whether it has happened yet or not."""
        ...

    def rank_of(self, trade_id: int) -> int:
        """The rank of the first trade with that id or a higher one."""
        ...

    def ranked(self, first: int, stop: int) -> Trades:
        """The trades with ranks from `first` to below `stop`, as far as there are any."""
        ...

    def book(self, now_ms: int, depth: int) -> Book:
        """The book at `now_ms` with `depth` levels a side, or fewer where it has no more."""
        ...

    def book_times(self, start_ms: int, end_ms: int) -> Sequence[int]:
        """When the book changed, after `start_ms` until `end_ms`."""
        ...

    def book_changes(self, start_ms: int, end_ms: int) -> Sequence[BookChange]:
        """How the book changed, after `start_ms` until `end_ms`; none of them is whole."""
        ...


def change_between(before: Book, after: Book, *, depth: int) -> BookChange:
    """What turns one book into another, of which both hold the best `depth` levels a side.

    Of a level that better ones have pushed out of them nothing is said.
    """
    bids = _side_change(before.bid_price, before.bid_amount, after.bid_price, after.bid_amount, depth=depth)
    asks = _side_change(-before.ask_price, before.ask_amount, -after.ask_price, after.ask_amount, depth=depth)
    return BookChange(after.time_ms, before.nonce + 1, after.nonce, False, bids[0], bids[1], -asks[0], asks[1])


def first_trades(history: History, start_ns: int, end_ns: int, *, most: int) -> Trades:
    """The first `most` trades in [start_ns, end_ns)."""
    if start_ns >= end_ns:
        return no_trades()
    first = history.rank_at(start_ns)
    return history.ranked(first, min(history.rank_at(end_ns), first + most))


def last_trades(history: History, end_ns: int, *, most: int, start_ns: int = 0) -> Trades:
    """The last `most` trades in [start_ns, end_ns)."""
    if start_ns >= end_ns:
        return no_trades()
    stop = history.rank_at(end_ns)
    return history.ranked(max(history.rank_at(start_ns), stop - most), stop)


def as_bars(trades: Trades, *, inverse: bool) -> Bars:
    """Every trade as a bar of its own, opened at its time; turnover is amount / price where contracts are inverse."""
    price, amount = trades.price, trades.amount
    return Bars(
        trades.time_ms,
        price,
        price,
        price,
        price,
        amount,
        np.ones_like(price),
        amount / price if inverse else price.astype(np.float64) * amount,
        amount * trades.buyer_took,
    )


def no_trades() -> Trades:
    """No trades at all."""
    nothing = np.empty(0, dtype=np.int64)
    return Trades(nothing, nothing, nothing, nothing, nothing)


def empty_book(time_ms: int, nonce: int) -> Book:
    """A book without any level."""
    nothing = np.empty(0, dtype=np.int64)
    return Book(time_ms, nonce, nothing, nothing, nothing, nothing)


def _side_change(
    old_price: Int64Array, old_amount: Int64Array, price: Int64Array, amount: Int64Array, *, depth: int
) -> tuple[Int64Array, Int64Array]:
    """The prices and new amounts of one side, where the best price is the highest."""
    gone = np.setdiff1d(old_price, price, assume_unique=True)
    if len(price) == depth:
        gone = gone[gone > price[-1]]
    place = np.searchsorted(-old_price, -price).clip(max=max(len(old_price) - 1, 0))
    same = (old_price[place] == price) & (old_amount[place] == amount) if len(old_price) else np.zeros(len(price), bool)
    return np.concatenate([gone, price[~same]]), np.concatenate([np.zeros_like(gone), amount[~same]])
