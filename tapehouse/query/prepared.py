"""Slices made ready to be asked about moment after moment.

What does not depend on the moment is worked out once: frames of trades and imbalances, values of indicators. Bars of
each timeframe are kept until the next one closes.
"""

from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final

import numpy as np

from tapehouse.book import NO_NONCE
from tapehouse.candle import VALUE_COLUMNS, Float64Array, Int64Array
from tapehouse.query.attrs import instrument_attrs, ranges_attrs, reach_attrs
from tapehouse.query.books import level_units
from tapehouse.query.candles import candle_frame, plan_attrs, planned_candles
from tapehouse.query.features import IMBALANCE_REACH, IMBALANCES, imbalance_attrs, stale_imbalances
from tapehouse.query.forming import with_forming
from tapehouse.query.frame import MarketFrame, handed_out, sealed, value_frame
from tapehouse.query.plan import MINUTE, SECOND, Read, reach_of
from tapehouse.query.records import OHLCVCandle, OrderBookDataFrame
from tapehouse.query.resample import Candles, merge_candles, resample
from tapehouse.query.slices import Slice
from tapehouse.query.spec import LADDER
from tapehouse.query.trades import trade_frame
from tapehouse.query.weight import FRAME_BYTES
from tapehouse.ranges import TimeRange, subtract_ranges
from tapehouse.timeframe import Timeframe, from_us, to_us

_REACH_US: Final = IMBALANCE_REACH // timedelta(microseconds=1)
_NO_TIMES: Final = np.empty(0, dtype=np.int64)
# What is worked out of the 1m candles alone.
_OF_CANDLES: Final = ("_minutes", "_known_minutes", "_indicator_values", "_indicator_frame", "_indicator_names")
_NO_CANDLES: Final = Candles(_NO_TIMES, np.empty((len(VALUE_COLUMNS), 0)))


class PreparedSlice:
    """A slice and what was worked out of it; any number of threads may ask at once."""

    def __init__(self, rows: Slice) -> None:
        self.rows = rows
        self._latest: dict[Timeframe, tuple[datetime, MarketFrame, dict[str, Any]]] = {}

    def with_ticks(self, rows: Slice) -> "PreparedSlice":
        """A slice with the same candles and other trades and order books: what is worked out of candles is kept."""
        other = PreparedSlice(rows)
        # Bars of a second may be built from trades.
        other._latest = {one: kept for one, kept in self._latest.copy().items() if one > SECOND}
        other.__dict__ |= {name: self.__dict__[name] for name in _OF_CANDLES if name in self.__dict__}
        return other

    @property
    def size_bytes(self) -> int:
        """How much memory it takes once all of it was looked at: frames are made late, and bars moment by moment."""
        rows, spec = self.rows, self.rows.spec
        trades = len(rows.trades.time_us) if rows.trades else 0
        # A bar is of a candle or of trades.
        bars = sum(min(spec.bars(timeframe), len(rows.bars) + trades) for timeframe in LADDER)
        columns = sum(len(one.columns) for one in spec.indicators)
        seconds = len(rows.imbalances.time_us) if rows.imbalances else 0
        numbers = bars * (1 + len(VALUE_COLUMNS)) + len(self._minutes) * (1 + columns) + 4 * trades + seconds
        return rows.size_bytes + 8 * numbers + (len(LADDER) + 3) * FRAME_BYTES

    def candles(self, timeframe: Timeframe, at: datetime) -> MarketFrame:
        """The bars of a moment; without any, and with `missing` in attrs, where nothing stored can give them."""
        frame = handed_out(*self._bars(timeframe, at))
        return with_forming(frame, self.forming(timeframe, at)) if timeframe in self.rows.spec.forming else frame

    def forming(self, timeframe: Timeframe, at: datetime) -> OHLCVCandle | None:
        """The bar that is open at a moment, as far as it had formed; None where that is not known, or nothing was.

        Made of the 1m candles that had closed, all of which must be known, and of trades where they are.
        """
        opened, minute = timeframe.floor(at), MINUTE.floor(at)
        parts = [self._bars_of_trades((max(opened, minute), at))] if max(opened, minute) < at else []
        if opened < minute:
            plan = self.rows.plan(MINUTE, (opened, minute))
            if plan is None or plan.known_bars < MINUTE.count(opened, minute):
                return None
            parts.insert(0, planned_candles(plan, self.rows.read))
        candles = resample(merge_candles([one for one in parts if one is not None] or [_NO_CANDLES]), timeframe)
        is_known = timeframe > MINUTE or None not in parts
        if not is_known or not len(candles):
            return None
        scale = self.rows.ledger.scale
        values = [
            float(value) / 10.0 ** scale.decimals(name)
            for name, value in zip(VALUE_COLUMNS, candles.values[:, 0], strict=True)
        ]
        return OHLCVCandle(opened, timeframe.close(opened), timeframe.name, *values, is_forming=True)

    def candle_values(self, timeframe: Timeframe, at: datetime) -> tuple[MarketFrame, TimeRange]:
        """The bars of a moment to be read only, and the window that they lie in."""
        return self._bars(timeframe, at)[0], self.rows.spec.window(timeframe, at)

    def trades(self, at: datetime) -> MarketFrame:
        """The trades of the context of a moment."""
        window = self._context(at)
        first, stop = self.trade_lines(at)
        return handed_out(
            self._trade_frame.iloc[first:stop], self._window_attrs(window, at) | self._trade_attrs(window)
        )

    def trade_lines(self, at: datetime) -> tuple[int, int]:
        """Where the trades of the context of a moment begin and end in the slice's."""
        return self._lines(self.rows.trades.time_us if self.rows.trades else _NO_TIMES, self._context(at))

    def imbalances(self, at: datetime) -> MarketFrame:
        """The imbalances of the seconds of the context of a moment that had ended by then."""
        window = self._seconds(at)
        attrs = self._window_attrs(window, at) | self._imbalance_attrs(window)
        return handed_out(self._imbalance_frame.iloc[self._imbalance_lines(at)], attrs)

    def imbalance_values(self, at: datetime) -> tuple[np.ndarray, Float64Array, TimeRange]:
        """When the seconds begin, shape (n,), their values, shape (8, n), and the window that they lie in."""
        imbalances, window = self.rows.imbalances, self._seconds(at)
        if imbalances is None:
            return _NO_TIMES, np.empty((len(IMBALANCES), 0)), window
        lines = self._imbalance_lines(at)
        return imbalances.time_us[lines], imbalances.values[:, lines], window

    def order_book(self, at: datetime) -> OrderBookDataFrame | None:
        """The last snapshot of the context of a moment, None without any."""
        books, spec = self.rows.books, self.rows.spec
        if books is None:
            return None
        at_us, oldest_us = to_us(at), to_us(at - spec.context)
        line = int(np.searchsorted(books.time_us, at_us, side="right")) - 1
        if spec.as_known:
            while line >= 0 and books.received_us[line] > at_us:
                line -= 1
        if line < 0 or books.time_us[line] < oldest_us:
            return None
        levels = books.levels[line].T / self._level_units
        levels.flags.writeable = False
        nonce = int(books.nonce[line])
        return OrderBookDataFrame(
            from_us(int(books.time_us[line])),
            from_us(int(books.received_us[line])),
            None if nonce == NO_NONCE else nonce,
            levels,
        )

    def indicators(self, at: datetime) -> MarketFrame:
        """The indicators of the 1m bars of a moment."""
        window = self.rows.spec.window(MINUTE, at)
        first, stop = self._lines(self._minutes.time_us, window)
        attrs = self._instrument_attrs(at) | {"timeframe": MINUTE.name, "indicators": self._indicator_names}
        since = [one.since(MINUTE, window[0]) for one in self.rows.spec.indicators]
        gaps = subtract_ranges([(min(since, default=window[0]), window[1])], self._known_minutes)
        attrs |= ranges_attrs({"gaps": gaps})
        return handed_out(self._indicator_frame.iloc[first:stop], attrs)

    def indicator_values(self, at: datetime) -> tuple[np.ndarray, Float64Array, TimeRange]:
        """When the 1m bars open, shape (n,), their indicators, shape (columns, n), and the window that they lie in."""
        window = self.rows.spec.window(MINUTE, at)
        first, stop = self._lines(self._minutes.time_us, window)
        return self._minutes.time_us[first:stop], self._indicator_values[:, first:stop], window

    def _bars(self, timeframe: Timeframe, at: datetime) -> tuple[MarketFrame, dict[str, Any]]:
        window = self.rows.spec.window(timeframe, at)
        latest = self._latest.get(timeframe)
        if latest is None or latest[0] != window[1]:
            latest = window[1], *self._read_bars(timeframe, window)
            self._latest[timeframe] = latest
        _, frame, attrs = latest
        return frame, attrs | {"as_of": at.isoformat()}

    def _bars_of_trades(self, span: TimeRange) -> Candles | None:
        """A candle of the trades of a part of a minute; None where they are not all known, or count in other units."""
        ledger = self.rows.ledger
        trades = ledger.find("trade")
        if trades is None or ledger.trade_unit != ledger.amount_unit or reach_of(trades, span).gaps:
            return None
        return self.rows.read(Read("trade", MINUTE, span, (span,)))

    def _read_bars(self, timeframe: Timeframe, window: TimeRange) -> tuple[MarketFrame, dict[str, Any]]:
        rows = self.rows
        attrs = self._instrument_attrs(window[1]) | _bounds(window)
        plan = rows.plan(timeframe, window)
        if plan is None:
            missing = f"nothing stored gives candles of {timeframe}"
            return self._candle_frame(_NO_CANDLES), attrs | {"missing": missing}
        candles = planned_candles(plan, rows.read)
        return self._candle_frame(candles), attrs | plan_attrs(plan, candles)

    def _candle_frame(self, candles: Candles) -> MarketFrame:
        # In memory of its own, which making a frame of it takes over.
        owned = Candles(candles.time_us.copy(), candles.values.copy())
        return sealed(candle_frame(owned, self.rows.ledger.scale, VALUE_COLUMNS, {}))

    @cached_property
    def _trade_frame(self) -> MarketFrame:
        trades, scale = self.rows.trades, self.rows.ledger.scale
        if trades is None:
            nothing = np.empty(0)
            return sealed(trade_frame(_NO_TIMES.copy(), _NO_TIMES, nothing, nothing, np.empty(0, dtype=np.int16)))
        price, amount = trades.price / 10.0**scale.price_decimals, trades.amount / 10.0**scale.amount_decimals
        return sealed(trade_frame(trades.time_us.copy(), trades.ids.copy(), price, amount, trades.side))

    @cached_property
    def _imbalance_frame(self) -> MarketFrame:
        imbalances = self.rows.imbalances
        if imbalances is None:
            return sealed(value_frame(_NO_TIMES.copy(), np.empty((len(IMBALANCES), 0)), IMBALANCES))
        return sealed(value_frame(imbalances.time_us.copy(), imbalances.values, IMBALANCES))

    @cached_property
    def _minutes(self) -> Candles:
        """All 1m candles that indicators are computed from, in whole ticks and lots."""
        known = self._known_minutes
        if not known:
            return _NO_CANDLES
        span = known[0][0], known[-1][1]
        return self.rows.read(Read("ohlcv", MINUTE, span, (span,)))

    @cached_property
    def _known_minutes(self) -> tuple[TimeRange, ...]:
        """The time of which all 1m candles are known, of what indicators are computed from."""
        rows = self.rows
        series = rows.ledger.series.get(("ohlcv", MINUTE.seconds))
        if series is None:
            return ()
        return reach_of(series, (rows.spec.minutes_since(rows.first), MINUTE.floor(rows.last))).covered

    @cached_property
    def _indicator_values(self) -> Float64Array:
        scale = self.rows.ledger.scale
        units = np.array([10.0 ** scale.decimals(name) for name in VALUE_COLUMNS])
        candles = self._minutes.values / units[:, np.newaxis]
        times_us, known = self._minutes.time_us, self._known_minutes
        values = [one.values(MINUTE, times_us, candles, known) for one in self.rows.spec.indicators]
        return np.concatenate(values) if values else np.empty((0, len(self._minutes)))

    @cached_property
    def _indicator_frame(self) -> MarketFrame:
        columns = [name for one in self.rows.spec.indicators for name in one.columns]
        return sealed(value_frame(self._minutes.time_us.copy(), self._indicator_values, columns))

    @cached_property
    def _indicator_names(self) -> list[str]:
        return [one.name for one in self.rows.spec.indicators]

    @cached_property
    def _level_units(self) -> Float64Array:
        return np.array(level_units(self.rows.ledger.scale))

    def _context(self, at: datetime) -> TimeRange:
        return at - self.rows.spec.context, at

    def _seconds(self, at: datetime) -> TimeRange:
        """The last whole seconds, as many as are in the context."""
        end = SECOND.floor(at)
        return end - -(-self.rows.spec.context // SECOND.length) * SECOND.length, end

    def _imbalance_lines(self, at: datetime) -> slice | Int64Array:
        """Where the imbalances of a moment are in the slice's."""
        imbalances, books = self.rows.imbalances, self.rows.books
        time_us = imbalances.time_us if imbalances else _NO_TIMES
        first, stop = self._lines(time_us, self._seconds(at))
        if not self.rows.spec.as_known or books is None:
            return slice(first, stop)
        # The seconds whose windows hold a snapshot that had not been received: its own, and those after it.
        unknown_us = SECOND.floor_us(books.time_us[books.received_us > to_us(at)])
        if not len(unknown_us):
            return slice(first, stop)
        last = np.searchsorted(unknown_us, time_us[first:stop], side="right") - 1
        is_known = (last < 0) | (time_us[first:stop] - unknown_us[last] > _REACH_US)
        return first + np.flatnonzero(is_known)

    def _lines(self, time_us: np.ndarray, window: TimeRange) -> tuple[int, int]:
        first, stop = np.searchsorted(time_us, [to_us(window[0]), to_us(window[1])]).tolist()
        return first, stop

    def _instrument_attrs(self, at: datetime, *, of_trades: bool = False) -> dict[str, Any]:
        ledger = self.rows.ledger
        unit = ledger.trade_unit if of_trades else ledger.amount_unit
        return instrument_attrs(self.rows.question, ledger, unit) | {"as_of": at.isoformat()}

    def _window_attrs(self, window: TimeRange, at: datetime) -> dict[str, Any]:
        return self._instrument_attrs(at, of_trades=True) | _bounds(window)

    def _trade_attrs(self, window: TimeRange) -> dict[str, Any]:
        trades = self.rows.ledger.find("trade")
        return reach_attrs(trades, reach_of(trades, window)) if trades else {"missing": "no trades stored"}

    def _imbalance_attrs(self, window: TimeRange) -> dict[str, Any]:
        books, trades = self.rows.ledger.find("order_book"), self.rows.ledger.find("trade")
        if books is None and trades is None:
            return {"missing": "neither order books nor trades stored"}
        return imbalance_attrs(books, trades, window, stale_imbalances(books, trades, window))


def _bounds(window: TimeRange) -> dict[str, Any]:
    return {"start": window[0].isoformat(), "end": window[1].isoformat()}
