"""An order book replayed from a snapshot and its updates, in exact decimals, with exchanges' own checksums.

It shares no code with tapehouse: tests compare what tapehouse makes of a book with it.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import zip_longest
from zlib import crc32

# As received: price, amount, and whatever the exchange adds.
Level = Sequence[str | float]


@dataclass(slots=True)
class _Side:
    prices: list[Decimal] = field(default_factory=list[Decimal])
    levels: dict[Decimal, Level] = field(default_factory=dict[Decimal, Level])

    def put(self, level: Level) -> None:
        price, amount = Decimal(str(level[0])), Decimal(str(level[1]))
        if amount:
            if price not in self.levels:
                insort(self.prices, price)
            self.levels[price] = level
        elif price in self.levels:
            del self.levels[price]
            del self.prices[bisect_left(self.prices, price)]


class Ladder:
    """One book; `depth` is how many levels a side the exchange keeps us told of, if it is not all."""

    def __init__(self, depth: int | None = None) -> None:
        self._bids, self._asks = _Side(), _Side()
        self._depth = depth

    def clear(self) -> None:
        """Forget all levels: a snapshot follows."""
        self._bids, self._asks = _Side(), _Side()

    def put(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Set levels; an amount of 0 takes one away."""
        for level in bids:
            self._bids.put(level)
        for level in asks:
            self._asks.put(level)
        if self._depth is not None:
            for price in self._bids.prices[: -self._depth]:
                self._bids.put([str(price), "0"])
            for price in self._asks.prices[self._depth :]:
                self._asks.put([str(price), "0"])

    def bids(self, count: int) -> list[Level]:
        """That many bids as received, best first."""
        return [self._bids.levels[price] for price in reversed(self._bids.prices[-count:])]

    def asks(self, count: int) -> list[Level]:
        """That many asks as received, best first."""
        return [self._asks.levels[price] for price in self._asks.prices[:count]]

    def okx_checksum(self) -> int:
        """CRC32, signed, of the best 25 levels by turns: bid price:bid size:ask price:ask size:...

        https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel
        """
        turns = zip_longest(self.bids(25), self.asks(25))
        words = [f"{level[0]}:{level[1]}" for turn in turns for level in turn if level is not None]
        unsigned = crc32(":".join(words).encode())
        return unsigned - 2**32 if unsigned >= 2**31 else unsigned

    def kraken_checksum(self) -> int:
        """CRC32 of the best 10 asks, then bids: digits of price and volume without point and leading zeros.

        https://docs.kraken.com/api/docs/guides/spot-ws-book-v1
        """
        cells = [cell for level in (*self.asks(10), *self.bids(10)) for cell in level[:2]]
        return crc32("".join(str(cell).replace(".", "").lstrip("0") for cell in cells).encode())
