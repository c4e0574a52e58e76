"""The tape: what streams in this process have received, by instrument and series, for whoever reads beside them."""

import threading
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from time import monotonic, time_ns
from typing import Final, TypeAlias

from tapehouse.live.records import LiveBook, LiveCandle, LiveRow, LiveTrade
from tapehouse.live.rows import MEMORY_US, BookRows, CandleRows, TradeRows
from tapehouse.live.subscription import LiveSubscription, SeriesName, Turn
from tapehouse.timeframe import timeframe
from tapehouse.trade import TRADE_SPAN_US

# Readers hear of what was committed, or know that they hear nothing, within this: until then rows are still here.
_REREAD_S: Final = 15.0
# Rows may come late, or by a clock that is behind.
_SLACK_US: Final = 60 * 1_000_000

TRADES: Final[SeriesName] = ("trade", None)
BOOKS: Final[SeriesName] = ("order_book", None)

Rows: TypeAlias = TradeRows | BookRows | CandleRows


@dataclass(slots=True)
class LiveSeries:
    """What is live of one series; to be read while its market's lock is held.

    From `run_us` on nothing is missing, as far as the stream knows; None before that has begun. `version` grows with
    all that changes an answer.
    """

    rows: Rows
    span_us: int
    is_open: bool = False
    run_us: int | None = None
    opened_us: int = 0
    version: int = 0
    fed_at_s: float = field(default_factory=monotonic)
    stored: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])

    def forget(self) -> None:
        """Let go of what was stored long enough ago, and of everything once nothing has come for as long as can be."""
        now_s = monotonic()
        while self.stored and self.stored[0][0] < now_s - _REREAD_S:
            self.rows.forget(self.stored.popleft()[1])
        last_us = self.rows.last_us
        if last_us is not None and now_s - self.fed_at_s > MEMORY_US / 1_000_000:
            self.rows.forget(last_us + 1)

    @property
    def covered_us(self) -> tuple[int, int] | None:
        """What of the time line nothing is missing of; of trades without the last millisecond, which may go on."""
        last_us = self.rows.last_us
        if self.run_us is None or last_us is None:
            return None
        start_us = max(self.run_us, self.rows.forgotten_us)
        end_us = last_us + self.span_us if isinstance(self.rows, CandleRows) else _whole_ms(last_us)
        return (start_us, end_us) if start_us < end_us else None

    @property
    def since_us(self) -> int:
        """No row is from before that, unless it comes later than any should."""
        first_us = self.rows.first_us
        return (self.opened_us if first_us is None else min(first_us, self.opened_us)) - self.span_us


class LiveMarket:
    """What is live of one instrument; `version` grows with all that changes an answer."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.version = 0
        # Nothing has happened later than that, in microseconds since 1970 UTC, of all that is here.
        self.newest_us = 0
        self.series: dict[SeriesName, LiveSeries] = {}
        self.subscriptions: tuple[LiveSubscription, ...] = ()

    @property
    def is_live(self) -> bool:
        """Whether a stream feeds any series, or has left anything that may not be stored."""
        with self.lock:
            for series in self.series.values():
                series.forget()
            return any(series.is_open or len(series.rows) for series in self.series.values())

    def take(self, name: SeriesName, row: LiveTrade | LiveBook | LiveCandle, known_us: int) -> None:
        """Take a row that was known at that time, and tell those who wait for it."""
        if known_us > time_ns() // 1000 + _SLACK_US:
            # Nobody can have seen that yet: until then it is the database's.
            return
        with self.lock:
            series = self.series.get(name) or self._add(name)
            series.fed_at_s = monotonic()
            # Rows are of the kind of their series.
            if not series.rows.add(row):  # pyright: ignore[reportArgumentType]
                return
            if series.run_us is None:
                series.run_us = _whole_ms(row.time_us) + (TRADE_SPAN_US if name == TRADES else 0)
            self.newest_us = max(self.newest_us, known_us)
            series.version += 1
            self.version += 1
            self._tell(name, row)

    def form(self, name: SeriesName, candle: LiveCandle) -> None:
        """Tell of a candle that has not closed."""
        with self.lock:
            self._tell(name, candle)

    def turn(self, name: SeriesName, turn: Turn, time_us: int = 0) -> None:
        """Note that what is live of a series begins, has a hole before that time, or ends."""
        with self.lock:
            series = self.series.get(name) or self._add(name)
            series.is_open = turn is not Turn.CLOSED
            if turn is Turn.OPENED:
                series.opened_us = time_ns() // 1000 - _SLACK_US
            if turn is not Turn.CLOSED:
                series.run_us = None
            if turn is Turn.BROKEN:
                series.run_us = self._run_after(series, time_us)
            series.version += 1
            self.version += 1
            self._tell(name, turn)

    def store(self, name: SeriesName, until_us: int) -> None:
        """Note that the database has all before that time, and forget what it has for long enough."""
        with self.lock:
            series = self.series.get(name)
            if series:
                series.stored.append((monotonic(), until_us))
                series.forget()

    def is_open(self, name: SeriesName) -> bool:
        """Whether a stream in this process feeds the series."""
        series = self.series.get(name)
        return series is not None and series.is_open

    def subscribe(
        self, names: Collection[SeriesName], wake: Callable[[], None]
    ) -> tuple[LiveSubscription, set[SeriesName]]:
        """A subscription to some series, and those of them that a stream feeds as it begins."""

        def leave() -> None:
            with self.lock:
                self.subscriptions = tuple(one for one in self.subscriptions if one is not subscription)

        subscription = LiveSubscription(names, wake, leave)
        with self.lock:
            self.subscriptions = (*self.subscriptions, subscription)
            return subscription, {name for name in names if self.is_open(name)}

    def _add(self, name: SeriesName) -> LiveSeries:
        dataset, length = name
        if dataset == "ohlcv":
            rows, span_us = CandleRows(), 1_000_000 * timeframe(length or "").seconds
        else:
            rows, span_us = (TradeRows() if dataset == "trade" else BookRows()), TRADE_SPAN_US
        self.series[name] = LiveSeries(rows, span_us, opened_us=time_ns() // 1000 - _SLACK_US)
        return self.series[name]

    def _run_after(self, series: LiveSeries, time_us: int) -> int | None:
        """Where what is contiguous begins after a hole, if anything has come since."""
        rows = series.rows.all()
        times_us = rows.time_us.tolist() if not isinstance(rows, list) else [one.time_us for one in rows]
        first_us = next((one for one in times_us if one >= time_us), None)
        slack_us = TRADE_SPAN_US if isinstance(series.rows, TradeRows) else 0
        return None if first_us is None else _whole_ms(first_us) + slack_us

    def _tell(self, name: SeriesName, what: LiveRow | Turn) -> None:
        for subscription in self.subscriptions:
            if name in subscription.names:
                subscription.tell(name, what)


class LiveTape:
    """What streams in this process receive; any number of threads may tell and read.

    What the database has is forgotten a few seconds after it has it, the rest after ten minutes; what is over a minute
    ahead of our clock is not taken. The methods that a
    stream calls take microseconds and wait for nobody. Names are ccxt's, `dataset` is "trade", "order_book" or
    "ohlcv", and the timeframe's name None but for candles.
    """

    def __init__(self) -> None:
        self._markets: dict[tuple[str, str], LiveMarket] = {}
        self._adding = threading.Lock()

    def trade(self, exchange: str, symbol: str, trade: LiveTrade) -> None:
        """A trade that was received and judged good."""
        # What happened at a time is visible after it.
        self._at(exchange, symbol).take(TRADES, trade, trade.time_us + 1)

    def book(self, exchange: str, symbol: str, book: LiveBook) -> None:
        """A snapshot of an order book that was received and judged good."""
        self._at(exchange, symbol).take(BOOKS, book, book.time_us)

    def candle(self, exchange: str, symbol: str, timeframe_name: str, candle: LiveCandle) -> None:
        """A candle that was received and judged good, closed or as far as it has formed."""
        market, name = self._at(exchange, symbol), ("ohlcv", timeframe_name)
        if candle.is_closed:
            market.take(name, candle, candle.time_us + 1_000_000 * timeframe(timeframe_name).seconds)
        else:
            market.form(name, candle)

    def opened(self, exchange: str, symbol: str, dataset: str, timeframe_name: str | None = None) -> None:
        """A stream feeds this series from now on."""
        self._at(exchange, symbol).turn((dataset, timeframe_name), Turn.OPENED)

    def closed(self, exchange: str, symbol: str, dataset: str, timeframe_name: str | None = None) -> None:
        """No stream feeds this series any more; what it had received stays until it is stored."""
        self._at(exchange, symbol).turn((dataset, timeframe_name), Turn.CLOSED)

    def broken(self, exchange: str, symbol: str, dataset: str, timeframe_name: str | None, time_us: int) -> None:
        """What was received before that time may have a hole: it is no longer taken to be all there was."""
        self._at(exchange, symbol).turn((dataset, timeframe_name), Turn.BROKEN, time_us)

    def stored(self, exchange: str, symbol: str, dataset: str, timeframe_name: str | None, until_us: int) -> None:
        """The database has all that was received of this series before that time, committed."""
        self._at(exchange, symbol).store((dataset, timeframe_name), until_us)

    def find(self, exchange: str, symbol: str) -> LiveMarket | None:
        """What is live of an instrument, if anything is."""
        market = self._markets.get((exchange, symbol))
        return market if market and market.is_live else None

    def market(self, exchange: str, symbol: str) -> LiveMarket:
        """What is live of an instrument, to wait for what will be."""
        return self._at(exchange, symbol)

    def _at(self, exchange: str, symbol: str) -> LiveMarket:
        key = exchange, symbol
        market = self._markets.get(key)
        if market is None:
            with self._adding:
                market = self._markets.setdefault(key, LiveMarket())
        return market


def _whole_ms(time_us: int) -> int:
    return time_us - time_us % 1000
