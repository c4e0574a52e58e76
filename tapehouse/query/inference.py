"""What a model sees of one moment: candles of all timeframes, order book, trades, imbalances and indicators.

Everything comes from one state of the database and is cut at the moment: what had not closed or happened by then is
not in it. Frames are made when they are asked for.
"""

from collections.abc import Iterator
from datetime import datetime
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd

from tapehouse.candle import Float64Array
from tapehouse.errors import InputError
from tapehouse.query.attrs import json_ranges
from tapehouse.query.frame import MarketFrame
from tapehouse.query.plan import SECOND, reach_of
from tapehouse.query.prepared import PreparedSlice
from tapehouse.query.question import checked_timeframe
from tapehouse.query.records import OHLCVCandle, OrderBookDataFrame, TradeEvent
from tapehouse.query.slices import Slice
from tapehouse.query.spec import LADDER
from tapehouse.ranges import TimeRange
from tapehouse.timeframe import Timeframe, from_us, timeframe, to_us
from tapehouse.trade import BOUGHT, SOLD

_SIDES = {BOUGHT: "buy", SOLD: "sell"}


class InferenceDataFrame:
    """All that was known of an instrument at `timestamp`, and nothing that came later.

    Frames are pandas DataFrames, each its reader's own: changing one changes nothing else. Their `attrs` say where
    their rows come from and what is missing, as those of `MarketData`'s methods of the same names do; where nothing
    stored could give a frame, it is empty and attrs["missing"] says so. It can be pickled and copied, with the rows of
    all moments that it was read together with.
    """

    __slots__ = ("_slice", "exchange", "symbol", "timestamp")

    exchange: str
    symbol: str
    timestamp: datetime
    _slice: PreparedSlice

    def __init__(self, prepared: PreparedSlice, timestamp: datetime) -> None:
        question = prepared.rows.question
        for name, value in (
            ("_slice", prepared),
            ("exchange", question.exchange),
            ("symbol", question.symbol),
            ("timestamp", timestamp),
        ):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, _: object) -> None:
        raise AttributeError(f"{name} can't be set: what was known at a moment does not change.")

    def __reduce__(self) -> tuple[Any, ...]:
        # What was worked out of the rows is left behind.
        return _from_rows, (self._slice.rows, self.timestamp)

    def __repr__(self) -> str:
        return f"<InferenceDataFrame {self.exchange} {self.symbol} at {self.timestamp.isoformat()}>"

    @property
    def ohlcv_1s(self) -> MarketFrame:
        """Candles of one second, native or built from trades: shape and columns as of `ohlcv`."""
        return self.ohlcv("1s")

    @property
    def ohlcv_1m(self) -> MarketFrame:
        """Candles of one minute, as of `ohlcv`."""
        return self.ohlcv("1m")

    @property
    def ohlcv_5m(self) -> MarketFrame:
        """Candles of five minutes, as of `ohlcv`."""
        return self.ohlcv("5m")

    @property
    def ohlcv_15m(self) -> MarketFrame:
        """Candles of 15 minutes, as of `ohlcv`."""
        return self.ohlcv("15m")

    @property
    def ohlcv_1h(self) -> MarketFrame:
        """Candles of one hour, as of `ohlcv`."""
        return self.ohlcv("1h")

    @property
    def ohlcv_4h(self) -> MarketFrame:
        """Candles of four hours, as of `ohlcv`."""
        return self.ohlcv("4h")

    @property
    def ohlcv_1d(self) -> MarketFrame:
        """Candles of one UTC day, as of `ohlcv`."""
        return self.ohlcv("1d")

    def ohlcv(self, name: str) -> MarketFrame:
        """The candles of a timeframe (1s, 1m, 5m, 15m, 1h, 4h, 1d) that had closed by `timestamp`.

        As many bars as fit in the context, and at least 60; a bar without trades has no row. Columns, index and
        `attrs` as of `MarketData.candles`. Where forming candles were asked for there is the column forming (bool), and
        the last row may be one. Raises UnknownTimeframe, or InputError for any other timeframe.
        """
        return self._slice.candles(_of_ladder(name), self.timestamp)

    @property
    def trades(self) -> MarketFrame:
        """The trades of the context, before `timestamp`, as of `MarketData.trades`."""
        return self._slice.trades(self.timestamp)

    @property
    def order_book(self) -> OrderBookDataFrame | None:
        """The last order book of the context at `timestamp` or before; None without any."""
        return self._slice.order_book(self.timestamp)

    @property
    def imbalances(self) -> MarketFrame:
        """Imbalances of the seconds of the context that had ended, as of `MarketData.imbalances`."""
        return self._slice.imbalances(self.timestamp)

    @property
    def indicators(self) -> MarketFrame:
        """The indicators of the bars of `ohlcv_1m`, float64, NaN where there are too few bars before.

        The index is that of `ohlcv_1m`; the columns are named as asked for, macd_12_26_9 with _signal and
        _histogram beside it, bbands_20_2 as _upper, _middle and _lower. `tapehouse.indicators` has the definitions.
        """
        return self._slice.indicators(self.timestamp)

    @property
    def latest_trade(self) -> TradeEvent | None:
        """The last trade of the context before `timestamp`."""
        first, stop = self._slice.trade_lines(self.timestamp)
        trades, scale = self._slice.rows.trades, self._slice.rows.ledger.scale
        if trades is None or first == stop:
            return None
        line = stop - 1
        trade_id = trades.ids[line]
        return TradeEvent(
            from_us(int(trades.time_us[line])),
            int(trade_id) if trades.ids.dtype == np.int64 else str(trade_id),
            float(trades.price[line] / 10.0**scale.price_decimals),
            float(trades.amount[line] / 10.0**scale.amount_decimals),
            _SIDES.get(int(trades.side[line]), "unknown"),
        )

    def latest_candle(self, name: str = "1m") -> OHLCVCandle | None:
        """The last candle of a timeframe that had closed by `timestamp`; None if none of `ohlcv` is there."""
        length = _of_ladder(name)
        frame, _ = self._slice.candle_values(length, self.timestamp)
        if frame.empty:
            return None
        opened = frame.index[-1].to_pydatetime()
        values = frame.to_numpy()[-1].tolist()
        return OHLCVCandle(opened, length.close(opened), length.name, *values)

    def forming_candle(self, name: str = "1m") -> OHLCVCandle | None:
        """The candle of a timeframe that was open at `timestamp`, as far as it had formed by then.

        Made of the 1m candles that had closed, and of trades after them where these are stored; None where nothing of
        it is known, nothing was traded yet, or forming candles were not asked for.
        """
        length = _of_ladder(name)
        return self._slice.forming(length, self.timestamp) if self._slice.rows.spec.forming else None

    def get_latest_price(self) -> float | None:
        """The last price at which anything was traded, in quote units, as far as it is stored.

        That of the last trade of the context, or the close of the last closed candle of 1 s or 1 min, whichever is
        later; None without either.
        """
        latest = self._latest_price()
        return latest[1] if latest else None

    @property
    def latest_price_at(self) -> datetime | None:
        """From when the price of `get_latest_price` is: when that trade was made, or that candle closed."""
        latest = self._latest_price()
        return latest[0] if latest else None

    def to_numpy(self) -> dict[str, Float64Array]:
        """All frames as float64 arrays of fixed shapes, by their names, a row for each bar or second there could be.

        - ohlcv_1s to ohlcv_1d: (bars, 5): open, high, low, close, volume; NaN where a bar has no candle; closed ones;
        - indicators: (bars of 1m, columns); imbalances: (seconds, 8); NaN where there is none;
        - order_book: (depth, 4) as of `OrderBookDataFrame.to_numpy`, NaN without any;
        - trades: (n, 3): price, amount, and side: 1 bought, -1 sold, 0 unknown.
        """
        arrays = {f"ohlcv_{one}": self._grid_of_candles(one) for one in LADDER}
        minute = timeframe("1m")
        arrays["indicators"] = _grid(*self._slice.indicator_values(self.timestamp), minute)
        arrays["imbalances"] = _grid(*self._slice.imbalance_values(self.timestamp), SECOND)
        book = self.order_book
        depth = self._slice.rows.spec.depth
        arrays["order_book"] = book.to_numpy() if book else np.full((depth, 4), np.nan)
        arrays["trades"] = self._trade_values()
        return arrays

    def explain(self) -> str:
        """Where each frame comes from, and what of it is missing, repaired or left out, a line each."""
        return "\n".join(_explained(self, self._book_explained()))

    def _book_explained(self) -> str:
        if (book := self.order_book) is not None:
            return f"of {book.time.isoformat()}"
        series, spec = self._slice.rows.ledger.find("order_book"), self._slice.rows.spec
        if series is None:
            return "no order books stored"
        gaps = reach_of(series, (self.timestamp - spec.context, self.timestamp)).gaps
        if gaps:
            return f"none in the context, not sampled {_ranges(json_ranges(gaps))}"
        return f"none in the context{' had been received' if spec.as_known else ''}"

    def _latest_price(self) -> tuple[datetime, float] | None:
        trade = self.latest_trade
        known = [(trade.time, trade.price)] if trade else []
        candles = [self.latest_candle("1s"), self.latest_candle("1m")]
        if trade and candles[0] and candles[0].time <= trade.time:
            # The trade is in that second, or later.
            candles = candles[1:]
        known += [(candle.close_time, candle.close) for candle in candles if candle]
        # Of what is of the same time the first one is the finest.
        return max(known, key=itemgetter(0)) if known else None

    def _grid_of_candles(self, one: Timeframe) -> Float64Array:
        frame, window = self._slice.candle_values(one, self.timestamp)
        index = frame.index
        assert isinstance(index, pd.DatetimeIndex)
        return _grid(index.asi8, frame.to_numpy().T, window, one)

    def _trade_values(self) -> Float64Array:
        first, stop = self._slice.trade_lines(self.timestamp)
        trades, scale = self._slice.rows.trades, self._slice.rows.ledger.scale
        if trades is None:
            return np.empty((0, 3))
        return np.stack(
            [
                trades.price[first:stop] / 10.0**scale.price_decimals,
                trades.amount[first:stop] / 10.0**scale.amount_decimals,
                trades.side[first:stop].astype(np.float64),
            ],
            axis=1,
        )


def _from_rows(rows: Slice, timestamp: datetime) -> InferenceDataFrame:
    return InferenceDataFrame(PreparedSlice(rows), timestamp)


def _of_ladder(name: str) -> Timeframe:
    one = checked_timeframe(name)
    if one not in LADDER:
        raise InputError(f"No candles of {name} here: choose from {', '.join(map(str, LADDER))}.")
    return one


def _grid(time_us: np.ndarray, values: Float64Array, window: TimeRange, step: Timeframe) -> Float64Array:
    """The values, of shape (columns, n), in rows by their place in the window; NaN where there are none."""
    start_us, length_us = to_us(window[0]), step.seconds * 1_000_000
    grid = np.full(((to_us(window[1]) - start_us) // length_us, len(values)), np.nan)
    grid[(time_us - start_us) // length_us] = values.T
    return grid


def _explained(data: InferenceDataFrame, book: str) -> Iterator[str]:
    yield f"{data.exchange} {data.symbol} at {data.timestamp.isoformat()}"
    for one in LADDER:
        yield _line(f"ohlcv_{one}", data.ohlcv(one.name))
    yield _line("trades", data.trades)
    yield f"order_book: {book}"
    yield _line("imbalances", data.imbalances)
    indicators = data.indicators.attrs
    lacking = f", not fetched {_ranges(indicators['gaps'])}, which some depend on" if indicators["gaps"] else ""
    yield f"indicators: {', '.join(indicators['indicators']) or 'none'} of ohlcv_1m{lacking}"


def _line(name: str, frame: MarketFrame) -> str:
    attrs = frame.attrs
    if "missing" in attrs:
        return f"{name}: {attrs['missing']}"
    told = [f"{len(frame)} rows"]
    if "source" in attrs:
        told.append(f"{attrs['source']} ({', '.join(attrs['read_from']) or 'nothing to read'})")
    told += [f"{attrs[key]} {words}" for key, words in _COUNTED.items() if attrs.get(key)]
    told += [f"{words} {_ranges(attrs[key])}" for key, words in _RANGED.items() if attrs.get(key)]
    told += [_reach_told(attrs[key], *words) for key, words in _REACHES.items() if key in attrs]
    return f"{name}: {', '.join(filter(None, told))}"


def _reach_told(reach: dict[str, Any] | None, noun: str, verb: str) -> str:
    """What of a series there is not, of those that imbalances are computed from."""
    if reach is None:
        return f"no {noun} stored"
    return f"{noun} not {verb} {_ranges(reach['gaps'])}" if reach["gaps"] else ""


_COUNTED = {"candles_empty": "bars without trades", "candles_missing": "bars not known"}
_RANGED = {
    "gaps": "not fetched",
    "incomplete": "only part fetched",
    "repaired": "repaired",
    "stale": "not computed yet",
}


_REACHES = {"order_book": ("order books", "sampled"), "trade": ("trades", "fetched")}


def _ranges(ranges: list[list[Any]]) -> str:
    return ", ".join(" to ".join(one[:2]) + (f" from {one[2]}" if len(one) > 2 else "") for one in ranges)
