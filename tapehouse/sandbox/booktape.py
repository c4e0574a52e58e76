"""Recorded order books: whole books and changes to them, replayed to any moment.

Where they were read from is `tapehouse.sandbox.trading`'s business; generated books are `tapehouse.sandbox.ladder`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from tapehouse.candle import Int64Array
from tapehouse.sandbox.tape import Book, BookChange, change_between, empty_book

_CHECKPOINT_EVERY: Final = 256
_ALL_LEVELS: Final = 2**31

# Amounts by price.
_Side = dict[int, int]


class BookTape:
    """Books at any moment, replayed from changes in order of their time; without a first whole one there is none."""

    def __init__(self, changes: Sequence[BookChange]) -> None:
        self._changes = changes
        self._times_ms = [change.time_ms for change in changes]
        self._checkpoints = [({}, {}), *self._replayed()]
        self._sides_at = lru_cache(maxsize=8)(self._sides)

    @property
    def times_ms(self) -> list[int]:
        """When the book changed."""
        return self._times_ms

    def at(self, now_ms: int, depth: int) -> Book:
        """The book at `now_ms` with `depth` levels a side, or fewer where it has no more."""
        count = bisect_right(self._times_ms, now_ms)
        return self._book(count, depth) if count else empty_book(now_ms, 0)

    def changes(self, start_ms: int, end_ms: int) -> list[BookChange]:
        """How the book changed, after `start_ms` until `end_ms`; whole ones are told by what differs."""
        first, stop = bisect_right(self._times_ms, start_ms), bisect_right(self._times_ms, end_ms)
        return [self._told(place) for place in range(first, stop)]

    def _told(self, place: int) -> BookChange:
        change = self._changes[place]
        if not change.whole:
            return change
        before = self._book(place, _ALL_LEVELS) if place else empty_book(change.time_ms, 0)
        return change_between(before, self._book(place + 1, _ALL_LEVELS), depth=_ALL_LEVELS)

    def _book(self, count: int, depth: int) -> Book:
        """The book after the first `count` changes."""
        bids, asks = self._sides_at(count)
        last = self._changes[count - 1]
        bid_price = np.array(sorted(bids, reverse=True)[:depth], dtype=np.int64)
        ask_price = np.array(sorted(asks)[:depth], dtype=np.int64)
        return Book(
            last.time_ms, last.nonce, bid_price, _amounts(bids, bid_price), ask_price, _amounts(asks, ask_price)
        )

    def _replayed(self) -> Iterable[tuple[_Side, _Side]]:
        """The sides after every so many changes."""
        bids: _Side = {}
        asks: _Side = {}
        for count, change in enumerate(self._changes, start=1):
            _apply(change, bids, asks)
            if count % _CHECKPOINT_EVERY == 0:
                yield dict(bids), dict(asks)

    def _sides(self, count: int) -> tuple[_Side, _Side]:
        """The sides after the first `count` changes."""
        checkpoint = count // _CHECKPOINT_EVERY
        bids, asks = (dict(side) for side in self._checkpoints[checkpoint])
        for change in self._changes[checkpoint * _CHECKPOINT_EVERY : count]:
            _apply(change, bids, asks)
        return bids, asks


def _apply(change: BookChange, bids: _Side, asks: _Side) -> None:
    if change.whole:
        bids.clear()
        asks.clear()
    for side, prices, amounts in (
        (bids, change.bid_price, change.bid_amount),
        (asks, change.ask_price, change.ask_amount),
    ):
        for price, amount in zip(prices.tolist(), amounts.tolist(), strict=True):
            if amount:
                side[price] = amount
            else:
                side.pop(price, None)


def _amounts(side: _Side, prices: Int64Array) -> Int64Array:
    return np.array([side[price] for price in prices.tolist()], dtype=np.int64)
