"""What an exchange streams, taken into lanes; called for each trade, candle and book in the instant it was read."""

import time
from collections.abc import Coroutine, Mapping
from datetime import datetime
from typing import Any, Final

from tapehouse.exchange import Exchange
from tapehouse.exchange.live import LiveExchange
from tapehouse.exchange.rows import time_of
from tapehouse.stream.batcher import Batcher
from tapehouse.stream.request import Lanes, StreamRequest
from tapehouse.stream.telling import Telling
from tapehouse.timeframe import from_ms, to_ms

# Clocks differ; what tells a time further ahead than that is not believed alone.
_MOST_AHEAD_MS: Final = 60_000


class Hearing:
    """Takes in what is streamed.

    The exchange's clock is taken for what it was read to be, or for what the trade or book before told, if that is
    later: so no reading is too old, and no single wrong time is believed.
    """

    def __init__(
        self,
        exchange: Exchange,
        lanes: Lanes,
        batcher: Batcher,
        telling: Telling | None,
    ) -> None:
        self._exchange = exchange
        self._lanes = lanes
        self._batcher = batcher
        self._telling = telling
        self._latest_ms = 0
        self._is_over = False

    @property
    def latest(self) -> datetime | None:
        """The time that the last trade or book told, None before any."""
        return from_ms(self._latest_ms) if self._latest_ms else None

    def following(self, live: LiveExchange, request: StreamRequest) -> list[Coroutine[Any, Any, None]]:
        """What follows each dataset asked for, to be run beside each other."""
        symbols, lanes = list(dict.fromkeys(request.symbols)), self._lanes
        follow: list[Coroutine[Any, Any, None]] = []
        if lanes.trades:
            follow.append(live.follow_trades(symbols, self._trade))
        if lanes.candles:
            follow.append(live.follow_candles(symbols, request.timeframe, self._candle))
        if lanes.books:
            follow.append(live.follow_books(symbols, request.depth, self._book, self._lose_books))
        return follow

    def end(self) -> None:
        """Take in no more: connections close later than those who wait for what has come."""
        self._is_over = True

    def _trade(self, symbol: str, row: tuple[object, ...], link: int) -> None:
        if self._is_over:
            return
        lane = self._lanes.trades[symbol]
        time_ms = time_of(row)
        since_ms = lane.add(row, link, time.monotonic(), is_ahead=self._is_ahead(time_ms))
        self._latest_ms = time_ms or self._latest_ms
        if self._telling is not None:
            if since_ms is not None:
                self._telling.miss(lane.series, since_ms * 1000)
            self._telling.trade(lane.series, row)
        self._batcher.told()

    def _candle(self, symbol: str, row: tuple[object, ...], link: int) -> None:
        if self._is_over:
            return
        lane = self._lanes.candles[symbol]
        whole, since_ms = lane.add(row, link, time.monotonic(), is_ahead=self._is_ahead(time_of(row)))
        if self._telling is not None:
            if whole is not None:
                self._telling.candle(lane.series, whole, is_closed=True)
            if since_ms is not None:
                self._telling.miss(lane.series, since_ms * 1000)
            self._telling.candle(lane.series, row, is_closed=False)
        if whole is not None:
            self._batcher.told()

    def _book(self, symbol: str, book: Mapping[str, Any], link: int) -> None:
        # ccxt tells some books by another symbol than they were asked for: Coinbase's of USDC by that of USD.
        if self._is_over or (lane := self._lanes.books.get(symbol)) is None:
            return
        clock = self._exchange.told_now()
        if (latest := self.latest) is not None:
            clock = max(clock, latest)
        if self._is_ahead(book["timestamp"]):
            # The next state has all that this one has.
            self._latest_ms = book["timestamp"]
            return
        sample, since_us = lane.add(book, link, time.monotonic(), clock=clock)
        self._latest_ms = book["timestamp"] or self._latest_ms
        if sample is None:
            return
        if self._telling is not None:
            if since_us is not None:
                self._telling.miss(lane.series, since_us)
            self._telling.book(lane.series, sample)
        self._batcher.told()

    def _is_ahead(self, time_ms: int | None) -> bool:
        """Whether that time has not come, by what the trade or book before told and by the clock."""
        return (
            time_ms is not None
            and time_ms > self._latest_ms + _MOST_AHEAD_MS
            and time_ms > to_ms(self._exchange.told_now()) + _MOST_AHEAD_MS
        )

    def _lose_books(self) -> None:
        """What comes of order books need not follow on what came."""
        for lane in self._lanes.books.values():
            lane.lose_track()
