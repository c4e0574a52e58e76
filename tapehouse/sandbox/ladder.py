"""Generated order books: the levels of one state, a function of seed, state and the last trade before it.

Which trade that is knows the market's history, `tapehouse.sandbox.generator`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from tapehouse.candle import Int64Array
from tapehouse.sandbox.noise import bits, seed_of, uniform
from tapehouse.sandbox.tape import Book

# A new state as often as Binance tells the changes of its books.
STATE_MS: Final = 100
# Levels are about 1 / 65,536 of the price apart, as far as ticks allow.
_CELL_SHIFT: Final = 16
_AMOUNT_FACTOR: Final = 3


@dataclass(frozen=True, slots=True)
class Ladder:
    """How one market's books look: level prices stand in cells of `cell` ticks, one each, and stay there.

    Their amounts are drawn around `lots`: anew in every state of the best level of each side, of the others after
    8 to 1,024 states, each at its own pace, so that few levels change at a time.
    """

    cell: int
    lots: int
    price_seed: int
    pace_seed: int
    state_seed: int

    @classmethod
    def of(cls, venue_seed: int, *, price_ticks: int, lots_per_trade: int) -> "Ladder":
        """The ladder of the market with that seed, whose price moves around `price_ticks`."""
        return cls(
            max(1, price_ticks >> _CELL_SHIFT),
            _AMOUNT_FACTOR * lots_per_trade,
            seed_of(venue_seed, "level"),
            seed_of(venue_seed, "pace"),
            seed_of(venue_seed, "state"),
        )

    def book(self, state: int, *, last_price: int, buyer_took: bool, depth: int) -> Book:
        """The book of that state, after a trade at `last_price`: at its best ask if a buyer took it, else best bid."""
        drawn = bits(self.state_seed, np.array([state], dtype=np.int64))
        spread = 1 + int(uniform(drawn)[0] * self.cell)
        best_bid = max(last_price - spread, 1) if buyer_took else last_price
        best_ask = best_bid + spread
        bids = np.append(best_bid, self._prices((best_bid - 1) // self.cell - np.arange(depth)))
        asks = np.append(best_ask, self._prices((best_ask + 1) // self.cell + np.arange(depth)))
        bids = bids[(bids >= 1) & ((bids < best_bid) | (np.arange(len(bids)) == 0))][:depth]
        asks = asks[(asks > best_ask) | (np.arange(len(asks)) == 0)][:depth]
        return Book(state * STATE_MS, state, bids, self._amounts(state, bids), asks, self._amounts(state, asks))

    def _prices(self, cells: Int64Array) -> Int64Array:
        """The price at which each cell has its level."""
        return cells * self.cell + (uniform(bits(self.price_seed, cells)) * self.cell).astype(np.int64)

    def _amounts(self, state: int, prices: Int64Array) -> Int64Array:
        """The amounts of levels at these prices, the best first."""
        own = bits(self.pace_seed, prices).astype(np.int64)
        # Ten bits say when, three more how often: few levels are in step with each other.
        drawn_at = (state + (own & 1023)) >> (3 + ((own >> 10) & 7))
        drawn_at[:1] = state
        size = uniform(bits(self.state_seed, own + drawn_at))
        return 1 + (self.lots * size / (1.02 - size)).astype(np.int64)
