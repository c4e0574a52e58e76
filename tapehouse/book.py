"""Order books: samples as an exchange gave them, and batches of snapshots that validation hands to the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.timeframe import aware_utc

LEVEL_COLUMNS: Final = ("bid_price", "bid_amount", "ask_price", "ask_amount")
NO_NONCE: Final = -1


@dataclass(frozen=True, slots=True)
class BookSample:
    """An order book as received: levels `[price, amount, ...]` in the exchange's order, nothing judged yet.

    `exchange_ms` and `nonce` are what the exchange said of it, if it did. `received_at` is our clock when it
    came, `exchange_at` the exchange's. Raises NaiveDatetime for a time without a time zone.
    """

    bids: Sequence[object]
    asks: Sequence[object]
    exchange_ms: int | None
    nonce: int | None
    received_at: datetime
    exchange_at: datetime
    raw: object

    def __post_init__(self) -> None:
        aware_utc(self.received_at)
        aware_utc(self.exchange_at)


@dataclass(frozen=True, slots=True, eq=False)
class BookBatch:
    """Validated snapshots of one instrument's order book, sorted by time, no time twice.

    `time_us` is when the book was so, by the exchange's clock; `received_us` when we had it, by ours; both in
    microseconds since 1970 UTC, shape (n,). `nonce` is the exchange's number of that state, -1 where it has
    none. The level arrays hold the levels of all snapshots one after the other, each best first:
    `bid_count` and `ask_count`, shape (n,), say how many are whose. Prices are in quote units, amounts in the
    instrument's trade unit; float64, finite, above 0.
    """

    time_us: Int64Array
    received_us: Int64Array
    nonce: Int64Array
    bid_count: Int64Array
    ask_count: Int64Array
    bid_price: Float64Array
    bid_amount: Float64Array
    ask_price: Float64Array
    ask_amount: Float64Array

    def __len__(self) -> int:
        return len(self.time_us)

    def take(self, keep: npt.NDArray[np.bool_]) -> "BookBatch":
        """The snapshots for which `keep` is true."""
        bids, asks = np.repeat(keep, self.bid_count), np.repeat(keep, self.ask_count)
        return BookBatch(
            self.time_us[keep],
            self.received_us[keep],
            self.nonce[keep],
            self.bid_count[keep],
            self.ask_count[keep],
            self.bid_price[bids],
            self.bid_amount[bids],
            self.ask_price[asks],
            self.ask_amount[asks],
        )
