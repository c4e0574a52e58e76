"""A market of given trades and books: recorded ones, or ones that a test has chosen.

Generated markets are `tapehouse.sandbox.generator`; recordings of minutes `tapehouse.sandbox.recorded`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Final, Literal

import numpy as np

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.errors import InputError
from tapehouse.sandbox.bars import Bars, Grid, regroup
from tapehouse.sandbox.booktape import BookTape
from tapehouse.sandbox.market import Market, is_inverse
from tapehouse.sandbox.tape import NS_PER_MS, Book, BookChange, Trades, as_bars
from tapehouse.sandbox.ticks import announced_decimals, decimals_needed, most_decimals, whole
from tapehouse.trade import StrArray

# Time in ms, id, the taker's side, price, amount.
TradeRow = tuple[int | str, int | str, Literal["buy", "sell"], float | str, float | str]
# Price and amount.
Level = tuple[float | str, float | str]
# Time in ms, bids, asks.
BookRow = tuple[int, Sequence[Level], Sequence[Level]]

_LARGEST_ID: Final = 2**63 - 1


class TapedHistory:
    """Given trades and books, and the bars that follow from the trades; it ends with the last of them."""

    def __init__(
        self, trades: Trades, books: BookTape, *, price_decimals: int, amount_decimals: int, inverse: bool = False
    ) -> None:
        times_ms = [*trades.time_ms[[0, -1]].tolist()] if len(trades) else []
        times_ms += books.times_ms
        if not times_ms:
            raise InputError("A market needs at least one trade or one book.")
        self.price_decimals = price_decimals
        self.amount_decimals = amount_decimals
        self.first_ms = min(times_ms)
        self.end_ms: int | None = max(times_ms) + 1
        self._trades = trades
        self._inverse = inverse
        self._books = books

    def bars(self, grid: Grid, start_ms: int, end_ms: int, *, now_ms: int) -> Bars:
        """Bars with trades that open in [start_ms, end_ms), both on the grid, as they stand at `now_ms`."""
        first, stop = self.rank_at(start_ms * NS_PER_MS), self.rank_at(min(end_ms, now_ms) * NS_PER_MS)
        return regroup(as_bars(self.ranked(first, stop), inverse=self._inverse), grid)

    def last_close(self, before_ms: int) -> int | None:
        """The price, in ticks, of the last trade before that time."""
        rank = self.rank_at(before_ms * NS_PER_MS) - 1
        return int(self._trades.price[rank]) if rank >= 0 else None

    def rank_at(self, time_ns: int) -> int:
        """The rank of the first trade at that time or later, whether it has happened yet or not."""
        return int(np.searchsorted(self._trades.time_ns, time_ns))

    def rank_of(self, trade_id: int) -> int:
        """The rank of the first trade with that id or a higher one."""
        return int(np.searchsorted(self._trades.trade_id, min(trade_id, _LARGEST_ID)))

    def ranked(self, first: int, stop: int) -> Trades:
        """The trades with ranks from `first` to below `stop`."""
        return self._trades.slice(max(first, 0), max(stop, 0))

    def book(self, now_ms: int, depth: int) -> Book:
        """The book at `now_ms`; after the last change it stays as it is."""
        return self._books.at(now_ms, depth)

    def book_times(self, start_ms: int, end_ms: int) -> list[int]:
        """When the book changed, after `start_ms` until `end_ms`."""
        times_ms = self._books.times_ms
        return times_ms[bisect_right(times_ms, start_ms) : bisect_right(times_ms, end_ms)]

    def book_changes(self, start_ms: int, end_ms: int) -> list[BookChange]:
        """How the book changed, after `start_ms` until `end_ms`, as it was recorded."""
        return self._books.changes(start_ms, end_ms)


def market_from_trades(
    exchange: str,
    symbol: str,
    rows: Iterable[TradeRow],
    *,
    books: Sequence[BookRow] = (),
    price_decimals: int | None = None,
    amount_decimals: int | None = None,
    contract_size: float | None = None,
) -> Market:
    """A market of trades: time in ms, id, the taker's side, price, amount; in order of time and of id.

    A time may be text with decimals; trades of one whole millisecond are spread over it, as an
    exchange with finer times would tell them. Ids may be any text: paging by id then counts the
    trades from 0. Each of the `books`, in order of time, holds until the next. The exchange
    announces the decimals given, else those that the values need. Raises InputError for rows out
    of order, without a side, or without any row or book.
    """
    listed = list(rows)
    name = f"{exchange} {symbol}"
    levels = [level for _, bids, asks in books for level in (*bids, *asks)]
    price_needs = decimals_needed(_floats([price for price, _ in levels] + [row[3] for row in listed]), name)
    amount_needs = decimals_needed(_floats([amount for _, amount in levels] + [row[4] for row in listed]), name)
    decimals = most_decimals(price_needs), most_decimals(amount_needs)
    history = TapedHistory(
        _chosen_trades(listed, *decimals, name=name),
        _chosen_books(books, *decimals),
        price_decimals=decimals[0],
        amount_decimals=decimals[1],
        inverse=is_inverse(symbol),
    )
    return Market(
        exchange,
        symbol,
        announced_decimals(price_needs) if price_decimals is None else price_decimals,
        announced_decimals(amount_needs) if amount_decimals is None else amount_decimals,
        active=True,
        history=history,
        contract_size=contract_size,
    )


def spread_over_milliseconds(times_ms: Int64Array) -> Int64Array:
    """Times in ns of trades known to the millisecond: those of one millisecond stand evenly over it, in order."""
    _, first, count = np.unique(times_ms, return_index=True, return_counts=True)
    place = np.arange(len(times_ms)) - np.repeat(first, count)
    return times_ms * NS_PER_MS + place * NS_PER_MS // np.repeat(count, count)


def _chosen_trades(rows: Sequence[TradeRow], price_decimals: int, amount_decimals: int, *, name: str) -> Trades:
    if any(row[2] not in ("buy", "sell") for row in rows):
        raise InputError(f"The trades of {name} need a side: give buy or sell.")
    trade_id, id_text = _ids([row[1] for row in rows])
    trades = Trades(
        trade_id,
        _times_ns([row[0] for row in rows]),
        whole(_floats([row[3] for row in rows]), price_decimals),
        whole(_floats([row[4] for row in rows]), amount_decimals),
        np.array([row[2] == "buy" for row in rows], dtype=np.int64),
        id_text,
    )
    if np.any(np.diff(trades.time_ns) < 0) or np.any(np.diff(trades.trade_id) <= 0):
        raise InputError(f"The trades of {name} must be in order of time and of id, no id twice.")
    return trades


def _chosen_books(books: Sequence[BookRow], price_decimals: int, amount_decimals: int) -> BookTape:
    def side(levels: Sequence[Level]) -> tuple[Int64Array, Int64Array]:
        prices, amounts = _floats([price for price, _ in levels]), _floats([amount for _, amount in levels])
        return whole(prices, price_decimals), whole(amounts, amount_decimals)

    changes = [
        BookChange(time_ms, number, number, True, *side(bids), *side(asks))
        for number, (time_ms, bids, asks) in enumerate(books, start=1)
    ]
    if any(late.time_ms <= early.time_ms for early, late in pairwise(changes)):
        raise InputError("The books of a market must be in order of time, none at the same time.")
    return BookTape(changes)


def _ids(ids: Sequence[int | str]) -> tuple[Int64Array, StrArray | None]:
    """The ids as numbers, or numbers that count them and the ids as text."""
    texts = [str(trade_id) for trade_id in ids]
    if all(text.isdecimal() and str(int(text)) == text and int(text) <= _LARGEST_ID for text in texts):
        return np.array([int(text) for text in texts], dtype=np.int64), None
    return np.arange(len(texts), dtype=np.int64), np.array(texts)


def _times_ns(times: Sequence[int | str]) -> Int64Array:
    if all(isinstance(time, int) for time in times):
        return spread_over_milliseconds(np.array(times, dtype=np.int64))
    return np.array([int(Decimal(time) * NS_PER_MS) for time in times], dtype=np.int64)


def _floats(values: Sequence[float | str]) -> Float64Array:
    return np.array([float(value) for value in values])
