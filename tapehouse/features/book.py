"""Features of single order-book snapshots: the columns of `order_book_1s`.

Formulas only; which snapshot stands for a second is the store's business. Prices and amounts may
be in ordinary units or in whole ticks and lots: of the latter, sums are exact.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tapehouse.book import BookBatch
from tapehouse.candle import Float64Array, Int64Array

# How many of the best levels the summed amounts count.
TOP_LEVELS: Final = (5, 20)
# How far from the mid the depths reach, in basis points.
BANDS_BP: Final = (5, 10, 25, 50)

_BASIS_POINTS: Final = 10_000


def book_features(books: BookBatch) -> dict[str, Float64Array]:
    """The features of each snapshot, by the names of their columns, each of shape (n,).

    Every snapshot has a level on both sides, best first.

    - `bid_price`, `bid_amount`, `ask_price`, `ask_amount`: the best levels; `spread`: ask_price - bid_price.
    - `mid`: (bid_price + ask_price) / 2.
    - `microprice`: the mid weighted by the amounts of the other side,
      (bid_price * ask_amount + ask_price * bid_amount) / (bid_amount + ask_amount), as in Gatheral and
      Oomen, "Zero-intelligence realized variance estimation", Finance and Stochastics 14 (2010) 249-283.
      Stoikov, "The micro-price", Quantitative Finance 18 (2018) 1959-1966, calls it the weighted mid-price
      and keeps the name for an estimator that has to be fitted to data, which this is not.
    - `bid_amount_5`, `ask_amount_20` and so on: the amounts of so many best levels, or of all if there are fewer.
    - `bid_depth_10bp`: the amounts of bids at mid * (1 - 0.0010) and above, `ask_depth_10bp`: of asks at
      mid * (1 + 0.0010) and below, both bounds inclusive; 0 where the spread is wider. Beyond the snapshot's
      last level nothing is known, so a book cut short understates them.
    - `imbalance_10bp`: (bid_depth_10bp - ask_depth_10bp) / (bid_depth_10bp + ask_depth_10bp), from -1 to 1;
      NaN where both are 0.
    """
    bids = _Side.of(books.bid_price, books.bid_amount, books.bid_count)
    asks = _Side.of(books.ask_price, books.ask_amount, books.ask_count)
    bid_price, bid_amount, ask_price, ask_amount = *bids.best(), *asks.best()
    spread = ask_price - bid_price
    features = {
        "bid_price": bid_price,
        "bid_amount": bid_amount,
        "ask_price": ask_price,
        "ask_amount": ask_amount,
        "mid": (bid_price + ask_price) / 2,
        "spread": spread,
        # The quotient above written so that no product of large prices and amounts has to be rounded.
        "microprice": bid_price + spread * (bid_amount / (bid_amount + ask_amount)),
    }
    for levels in TOP_LEVELS:
        features[f"bid_amount_{levels}"] = bids.sum_where(bids.level < levels)
        features[f"ask_amount_{levels}"] = asks.sum_where(asks.level < levels)
    for band_bp in BANDS_BP:
        # Without a division, so that whole ticks are compared exactly.
        lowest, highest = ((bid_price + ask_price) * (_BASIS_POINTS + sign * band_bp) for sign in (-1, 1))
        bid_depth = bids.sum_where(bids.price * (2 * _BASIS_POINTS) >= bids.for_levels(lowest))
        ask_depth = asks.sum_where(asks.price * (2 * _BASIS_POINTS) <= asks.for_levels(highest))
        features[f"bid_depth_{band_bp}bp"] = bid_depth
        features[f"ask_depth_{band_bp}bp"] = ask_depth
        features[f"imbalance_{band_bp}bp"] = imbalance(bid_depth, ask_depth)
    return features


def imbalance(bought: Float64Array, sold: Float64Array) -> Float64Array:
    """(bought - sold) / (bought + sold), of amounts bid and asked too: from -1 to 1, NaN where both are 0."""
    total = bought + sold
    return np.divide(bought - sold, total, out=np.full(len(total), np.nan), where=total > 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One side of all snapshots: `price`, `amount` and `level` (from 0) of every level, shape (levels,)."""

    price: Float64Array
    amount: Float64Array
    level: Int64Array
    count: Int64Array
    first: Int64Array

    @classmethod
    def of(cls, price: Float64Array, amount: Float64Array, count: Int64Array) -> "_Side":
        first = np.cumsum(count) - count
        return cls(price, amount, np.arange(len(price)) - np.repeat(first, count), count, first)

    def best(self) -> tuple[Float64Array, Float64Array]:
        """Price and amount of the best level of each snapshot."""
        return self.price[self.first], self.amount[self.first]

    def for_levels(self, values: Float64Array) -> Float64Array:
        """The values of the snapshots, repeated for each of their levels."""
        return np.repeat(values, self.count)

    def sum_where(self, counted: npt.NDArray[np.bool_]) -> Float64Array:
        """The amounts of the levels that count, summed up for each snapshot."""
        return np.add.reduceat(self.amount * counted, self.first)
