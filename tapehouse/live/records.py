"""Trades, order books and candles one by one, as a stream hands them on: judged, and not stored yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class LiveTrade:
    """A trade; what each field is says `tapehouse.trade.TradeBatch`, whose columns are of the same names."""

    time_us: int
    trade_id: int
    id_text: str
    price: float
    amount: float
    side: int


@dataclass(frozen=True, slots=True)
class LiveBook:
    """A snapshot of an order book: levels (price, amount), the best first; else as `tapehouse.book.BookBatch`."""

    time_us: int
    received_us: int
    nonce: int
    bids: Sequence[tuple[float, float]]
    asks: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class LiveCandle:
    """A candle that opens at `time_us` (microseconds since 1970 UTC): prices in quote units, volume in amount units."""

    time_us: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    is_closed: bool


LiveRow: TypeAlias = LiveTrade | LiveBook | LiveCandle
