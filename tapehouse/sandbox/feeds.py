"""Feeds: what a stream tells about one market as time passes, message by message.

How messages are written is a dialect's business; who is told them is `tapehouse.sandbox.streams`. A feed is asked
for one stretch of time after the other, and tells in each what an answer over HTTP shows at its end and did not
show at its start: trades in [start, end), changes of the book in (start, end].
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tapehouse.sandbox.bars import Bars, Grid, fill
from tapehouse.sandbox.market import Market
from tapehouse.sandbox.tape import NS_PER_MS, BookChange, Trades


@dataclass(frozen=True, slots=True)
class Message:
    """What a stream tells of one moment; `is_book` where it says how a book changed."""

    time_ms: int
    text: str
    is_book: bool = False


# Of a market, from the first time to the second.
Tell = Callable[[Market, int, int], list[Message]]


@dataclass(frozen=True, slots=True)
class Feed:
    """A stream about one market, by the name that its exchange gives it."""

    name: str
    symbol: str
    tell: Tell


@dataclass(frozen=True, slots=True)
class Heard:
    """What a client's request comes to: what it is answered, the feeds that begin then, the names of those that end."""

    answers: Sequence[str]
    begun: Sequence[Feed] = ()
    ended: Sequence[str] = ()


class StreamDialect(Protocol):
    """How one exchange streams at one host.

    A client that has said nothing for `pong_within_s` after a ping, which comes every `ping_every_s`, is left;
    `heartbeat` is what comes each second in which nothing else does.
    """

    exchange: str
    host: str
    ping_every_s: float | None
    heartbeat: str | None

    def has(self, path: str) -> bool:
        """Whether there are streams at that path."""
        ...

    def greeting(self) -> Sequence[str]:
        """What it says to a client that has just connected."""
        ...

    def hear(self, text: str, names: Sequence[str], now_ms: int) -> Heard:
        """What the request of a client with feeds of these names comes to."""
        ...

    def market(self, symbol: str) -> Market | None:
        """The market that ccxt calls by that symbol."""
        ...


def trades_between(market: Market, start_ms: int, end_ms: int) -> Trades:
    """The trades in [start_ms, end_ms)."""
    history = market.history
    return history.ranked(history.rank_at(start_ms * NS_PER_MS), history.rank_at(end_ms * NS_PER_MS))


def has_traded(market: Market, start_ms: int, end_ms: int) -> bool:
    """Whether there was a trade in [start_ms, end_ms)."""
    history = market.history
    return history.rank_at(start_ms * NS_PER_MS) < history.rank_at(end_ms * NS_PER_MS)


def moments(start_ms: int, end_ms: int, *, every_ms: int) -> range:
    """The multiples of `every_ms` after `start_ms` until `end_ms`."""
    return range((start_ms // every_ms + 1) * every_ms, end_ms + 1, every_ms)


def bar_at(market: Market, grid: Grid, open_ms: int, *, now_ms: int) -> Bars:
    """The bar that opens at `open_ms` as it stands at `now_ms`; none where the market has none yet, or no longer."""
    history = market.history
    if history.end_ms is not None and open_ms >= history.end_ms:
        return history.bars(grid, open_ms, open_ms, now_ms=now_ms)
    bars = history.bars(grid, open_ms, open_ms + grid.length_ms, now_ms=now_ms)
    if len(bars):
        return bars
    return fill(bars, grid, open_ms, open_ms + grid.length_ms, previous_close=history.last_close(open_ms))


def merged_changes(market: Market, start_ms: int, end_ms: int, *, every_ms: int) -> Iterator[BookChange]:
    """How the book changed in every stretch of `every_ms` that ends after `start_ms` until `end_ms`, where it did."""
    for time_ms in moments(start_ms, end_ms, every_ms=every_ms):
        if changes := market.history.book_changes(time_ms - every_ms, time_ms):
            yield _merged(changes, time_ms)


def _merged(changes: Sequence[BookChange], time_ms: int) -> BookChange:
    """The changes as one: the last word on each price."""
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    for change in changes:
        bids.update(zip(change.bid_price.tolist(), change.bid_amount.tolist(), strict=True))
        asks.update(zip(change.ask_price.tolist(), change.ask_amount.tolist(), strict=True))
    sides = [np.array([*values], dtype=np.int64) for side in (bids, asks) for values in (side, side.values())]
    return BookChange(time_ms, changes[0].first_nonce, changes[-1].nonce, False, *sides)
