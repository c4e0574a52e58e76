"""Single things of the market as frozen records: a candle, a trade, an order book."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from tapehouse.candle import Float64Array
from tapehouse.query.frame import MarketFrame


@dataclass(frozen=True, slots=True)
class OHLCVCandle:
    """A candle: open [time, close_time), prices in quote units, volume in the instrument's amount unit.

    `is_forming` where it had not closed yet, and is made of what had been traded by then.
    """

    time: datetime
    close_time: datetime
    timeframe: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    is_forming: bool = False


@dataclass(frozen=True, slots=True)
class TradeEvent:
    """A trade: price in quote units, amount in the instrument's trade unit, side what the taker did."""

    time: datetime
    trade_id: int | str
    price: float
    amount: float
    side: str


@dataclass(frozen=True, slots=True, eq=False)
class OrderBookDataFrame:
    """A snapshot of an order book.

    `time` is when the book was so by the exchange's clock, `received_at` when it was received by ours; `nonce` is the
    exchange's number of that state, None where it has none. `to_numpy` has shape (depth, 4), float64: bid price, bid
    amount, ask price and ask amount, the best level first, NaN where a side has fewer levels; it can't be written to.
    """

    time: datetime
    received_at: datetime
    nonce: int | None
    _levels: Float64Array

    def __repr__(self) -> str:
        return (
            f"<OrderBookDataFrame at {self.time.isoformat()}: bid {self.best_bid}, ask {self.best_ask}, "
            f"spread {self.spread:.10g}>"
        )

    @property
    def levels(self) -> MarketFrame:
        """One row a level, as of `MarketData.order_book`: bid_price, bid_amount, ask_price, ask_amount."""
        filled = self._levels[~np.isnan(self._levels).all(axis=1)]
        frame = MarketFrame(filled, columns=["bid_price", "bid_amount", "ask_price", "ask_amount"])
        frame.index = frame.index.set_names("level") + 1
        return frame

    @property
    def best_bid(self) -> float:
        """The highest price that someone pays, NaN if nobody does."""
        return float(self._levels[0, 0])

    @property
    def best_ask(self) -> float:
        """The lowest price that someone sells at, NaN if nobody does."""
        return float(self._levels[0, 2])

    @property
    def mid(self) -> float:
        """Halfway between the best bid and the best ask."""
        return (self.best_bid + self.best_ask) / 2

    @property
    def spread(self) -> float:
        """The best ask less the best bid, in quote units."""
        return self.best_ask - self.best_bid

    def to_numpy(self) -> Float64Array:
        """The levels, of shape (depth, 4)."""
        return self._levels
