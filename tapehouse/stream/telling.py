"""What was streamed, told to readers in this process at once; only what validation would most likely let pass.

What it has to be like is said in `tapehouse.validate`, which judges all of it before it is stored. Here a row at a time
is looked at: what is plainly wrong is not shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, cast

from tapehouse.book import NO_NONCE, BookSample
from tapehouse.exchange.rows import time_of
from tapehouse.live import LiveBook, LiveCandle, LiveTape, LiveTrade
from tapehouse.store.instruments import Series
from tapehouse.stream.parcel import StreamedSeries
from tapehouse.timeframe import to_us
from tapehouse.trade import BOUGHT, SOLD, UNKNOWN_SIDE

_SIDES: Final[dict[object, int]] = {"buy": BOUGHT, "sell": SOLD, None: UNKNOWN_SIDE}
_MOST_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Telling:
    """Tells a tape what has come of the series of a stream."""

    tape: LiveTape

    def open(self, series: StreamedSeries) -> None:
        """The series is streamed from now on."""
        self.tape.opened(*_name(series))

    def close(self, series: StreamedSeries) -> None:
        """It is streamed no more."""
        self.tape.closed(*_name(series))

    def miss(self, series: StreamedSeries, time_us: int) -> None:
        """Something of the series may be missing before that time, which was streamed."""
        self.tape.broken(*_name(series), time_us)

    def store(self, series: StreamedSeries, until_us: int) -> None:
        """All that has come of the series before that time is in the database."""
        self.tape.stored(*_name(series), until_us)

    def trade(self, series: Series, row: Sequence[object]) -> None:
        """A trade as received (ms, id, side, price, amount, ...)."""
        time_ms, trade_id, side, price, amount = row[:5]
        if isinstance(time_ms, int) and isinstance(trade_id, str) and _are_positive(price, amount) and side in _SIDES:
            number, text = _id_of(trade_id)
            trade = LiveTrade(time_ms * 1000, number, text, cast("float", price), cast("float", amount), _SIDES[side])
            self.tape.trade(series.instrument.exchange, series.instrument.symbol, trade)

    def candle(self, series: Series, row: Sequence[object], *, is_closed: bool) -> None:
        """A state of a candle as received (ms, open, high, low, close, volume)."""
        time_ms, *values = row[:6]
        if time_of(row) is None or len(values) != 5 or not all(isinstance(one, int | float) for one in values):
            return
        opened, high, low, close, volume = cast("list[float]", values)
        if 0 < low <= min(opened, close) <= max(opened, close) <= high < inf and 0 <= volume < inf:
            candle = LiveCandle(cast("int", time_ms) * 1000, opened, high, low, close, volume, is_closed)
            market = series.instrument.exchange, series.instrument.symbol
            self.tape.candle(*market, cast("str", series.timeframe_name), candle)

    def book(self, series: Series, sample: BookSample) -> None:
        """A snapshot of an order book."""
        bids, asks = (_levels(side) for side in (sample.bids, sample.asks))
        if not bids or not asks or bids[0][0] >= asks[0][0]:
            return
        time_us = to_us(sample.exchange_at) if sample.exchange_ms is None else sample.exchange_ms * 1000
        nonce = NO_NONCE if sample.nonce is None else sample.nonce
        book = LiveBook(time_us, to_us(sample.received_at), nonce, bids, asks)
        self.tape.book(series.instrument.exchange, series.instrument.symbol, book)


def _name(series: StreamedSeries) -> tuple[str, str, str, str | None]:
    return series.instrument.exchange, series.instrument.symbol, series.dataset, series.timeframe_name


def _id_of(text: str) -> tuple[int, str]:
    """The number, or 0 and the text, as `TradeBatch` has them."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS and (text[0] != "0" or text == "0")
    return (int(text), "") if is_number else (0, text)


def _are_positive(*values: object) -> bool:
    return all(isinstance(value, int | float) and 0 < value < inf for value in values)


def _levels(side: Sequence[object]) -> list[tuple[float, float]]:
    levels = cast("Sequence[Sequence[float]]", side)
    return [(level[0], level[1]) for level in levels if _are_positive(level[0], level[1])]
