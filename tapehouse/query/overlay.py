"""What streams in this process have received, laid over a slice of the database, as if it were stored already.

Rows that the database has count as they are there. What a stream knows to be complete counts as fetched, and what
lies between that and what was fetched before is a gap.
"""

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import numpy as np

from tapehouse.book import LEVEL_COLUMNS
from tapehouse.candle import PRICE_COLUMNS, VALUE_COLUMNS, Float64Array
from tapehouse.live.records import LiveBook, LiveCandle
from tapehouse.live.rows import Place, TradeRows
from tapehouse.live.subscription import SeriesName
from tapehouse.live.tape import BOOKS, TRADES, LiveMarket, LiveSeries
from tapehouse.query.features import stale_imbalances
from tapehouse.query.finer import finer_scale, in_scale, whole_ticks
from tapehouse.query.guesses import SeriesKey
from tapehouse.query.ledger import NO_TIMEFRAME_S
from tapehouse.query.live_trades import LiveTrades
from tapehouse.query.plan import MINUTE, SECOND
from tapehouse.query.prepared import PreparedSlice
from tapehouse.query.resample import Candles, lies_in
from tapehouse.query.slices import NOTHING_STORED, Books, Imbalances, Slice
from tapehouse.query.spec import LADDER
from tapehouse.ranges import TimeRange, merge_ranges
from tapehouse.timeframe import from_us
from tapehouse.trade import TRADE_SPAN_US, TradeBatch

_MICROSECOND: Final = timedelta(microseconds=1)
_TRADE: Final[SeriesKey] = ("trade", NO_TIMEFRAME_S)
_BOOK: Final[SeriesKey] = ("order_book", NO_TIMEFRAME_S)
# What a slice can be laid over with: candles of the timeframes in it, trades and order books.
_KEYS: Final[dict[SeriesName, SeriesKey]] = {
    TRADES: _TRADE,
    BOOKS: _BOOK,
    **{("ohlcv", timeframe.name): ("ohlcv", timeframe.seconds) for timeframe in LADDER},
}
_ROLLED_UP: Final[frozenset[SeriesKey]] = frozenset({_TRADE, ("ohlcv", MINUTE.seconds)})
_FEATURED: Final[frozenset[SeriesKey]] = frozenset({_TRADE, _BOOK})

_Rows: TypeAlias = TradeBatch | list[LiveBook] | list[LiveCandle]


class Overlay:
    """A slice and what is live of its instrument; any number of threads may ask at once.

    What has come since it was asked last is added to what was there.
    """

    def __init__(self, base: PreparedSlice) -> None:
        self.base = base
        self._lock = threading.Lock()
        self._laid: tuple[int, PreparedSlice] = -1, base
        self._begin(base.rows)

    def over(self, market: LiveMarket) -> PreparedSlice | None:
        """The slice as if all that is live were stored; None where it lacks what is needed beside that."""
        version, laid = self._laid
        if version == market.version:
            return laid
        with self._lock:
            return self._lay(market)

    def _begin(self, rows: Slice) -> None:
        """Lay everything anew over those rows."""
        self._rows, self._bars, self._books = rows, rows.bars, rows.books
        self._trades: LiveTrades | None = None
        self._place: Place | None = None
        self._levels: dict[int, tuple[LiveBook, Float64Array]] = {}
        self._candles: dict[int, Candles] = {}
        self._seen: dict[SeriesKey, int] = {}
        # Of each series the time of the rows that the slice lacks, and what is complete of it.
        self._new: dict[SeriesKey, TimeRange] = {}
        self._covered: dict[SeriesKey, TimeRange] = {}

    def _lay(self, market: LiveMarket) -> PreparedSlice | None:
        version, changed = self._changed(market)
        if changed is None:
            return None
        # The first one that can't be added has all begin anew, in another scale or another order.
        if not all(self._add(key, rows) for key, rows in changed.items()):
            return self._lay(market)
        laid = self._laid[1]
        if changed or laid is self.base:
            is_of_ticks = laid is not self.base and all(dataset != "ohlcv" for dataset, _ in changed)
            laid = laid.with_ticks(self._slice()) if is_of_ticks else PreparedSlice(self._slice())
        self._laid = version, laid
        return laid

    def _changed(self, market: LiveMarket) -> tuple[int, dict[SeriesKey, _Rows] | None]:
        """What has come, by series; None where the slice can't take it."""
        changed: dict[SeriesKey, _Rows] = {}
        with market.lock:
            for key, series in _series(market):
                since = self._rows.laid_since.get(key)
                if since is None or from_us(series.since_us) < since:
                    return market.version, None
                if self._seen.get(key) == series.version:
                    continue
                self._seen[key] = series.version
                if covered_us := series.covered_us:
                    self._covered[key] = from_us(covered_us[0]), from_us(covered_us[1])
                else:
                    self._covered.pop(key, None)
                changed[key] = self._taken(series)
            return market.version, changed

    def _taken(self, series: LiveSeries) -> _Rows:
        if not isinstance(series.rows, TradeRows):
            return series.rows.all()
        behind = series.rows.since(self._place) if self._place and self._trades else None
        if behind is None:
            self._trades = None
        self._place = series.rows.place
        return series.rows.all() if behind is None else behind

    def _add(self, key: SeriesKey, rows: _Rows) -> bool:
        """Add what has come of a series; whether that could be done, without beginning anew."""
        if isinstance(rows, TradeBatch):
            return self._add_trades(rows)
        if key == _BOOK:
            return self._add_books([one for one in rows if isinstance(one, LiveBook)])
        return self._add_candles(key, [one for one in rows if isinstance(one, LiveCandle)])

    def _add_trades(self, trades: TradeBatch) -> bool:
        price, amount = self._in_ticks(trades.price, trades.amount)
        if price is None or amount is None:
            return False
        trades = replace(trades, price=price, amount=amount)
        fit = np.isfinite(price) & np.isfinite(amount)
        trades = trades if fit.all() else trades.take(fit)
        if self._trades is None:
            self._trades = LiveTrades(self._rows.trades, trades)
        elif not self._trades.append(trades):
            self._begin(self._rows)
            return False
        self._new.pop(_TRADE, None)
        if new_us := self._trades.new_us:
            self._new[_TRADE] = from_us(new_us[0]), from_us(new_us[1] + TRADE_SPAN_US)
        return True

    def _add_books(self, books: Sequence[LiveBook]) -> bool:
        levels: dict[int, tuple[LiveBook, Float64Array]] = {}
        for book in books:
            known = self._levels.get(book.time_us)
            ticks = known[1] if known and known[0] is book else self._levels_of(book)
            if ticks is None:
                return False
            if not np.isinf(ticks).any():
                levels[book.time_us] = book, ticks
        self._levels = levels
        stored = self._rows.books
        known_us: list[int] = stored.time_us.tolist() if stored else []
        new = [levels[time_us] for time_us in sorted(levels.keys() - known_us)]
        self._books = _with_books(stored, new)
        self._new.pop(_BOOK, None)
        if new:
            last = from_us(new[-1][0].time_us) + _MICROSECOND
            self._new[_BOOK] = from_us(new[0][0].time_us), last
        return True

    def _levels_of(self, book: LiveBook) -> Float64Array | None:
        """The levels as of `Books`, NaN where there are none, infinite where one fits no scale; None to begin anew."""
        depth = self._rows.spec.depth
        sides = [np.array(side[:depth], dtype=np.float64).reshape(-1, 2) for side in (book.bids, book.asks)]
        levels = np.full((len(LEVEL_COLUMNS), depth), np.nan)
        both = np.concatenate(sides)
        price, amount = self._in_ticks(both[:, 0], both[:, 1])
        if price is None or amount is None:
            return None
        bids, asks = (len(side) for side in sides)
        levels[0, :bids], levels[1, :bids] = price[:bids], amount[:bids]
        levels[2, :asks], levels[3, :asks] = price[bids:], amount[bids:]
        return levels

    def _add_candles(self, key: SeriesKey, candles: Sequence[LiveCandle]) -> bool:
        values = np.array([[getattr(one, name) for one in candles] for name in VALUE_COLUMNS]).reshape(5, -1)
        prices = len(PRICE_COLUMNS)
        price, volume = self._in_ticks(values[:prices].ravel(), values[prices])
        if price is None or volume is None:
            return False
        values = np.vstack([price.reshape(prices, -1), volume])
        fit = np.isfinite(values).all(axis=0)
        time_us = np.array([one.time_us for one in candles], dtype=np.int64)
        self._candles[key[1]] = Candles(time_us[fit], values[:, fit])
        self._bars = self._rows.bars
        for seconds, live in self._candles.items():
            self._bars, new_us = self._bars.with_candles(seconds, live)
            self._new.pop(("ohlcv", seconds), None)
            if len(new_us):
                end_us = int(new_us[-1]) + 1_000_000 * seconds
                self._new["ohlcv", seconds] = from_us(int(new_us[0])), from_us(end_us)
        return True

    def _in_ticks(self, prices: Float64Array, amounts: Float64Array) -> tuple[Float64Array | None, Float64Array | None]:
        """Both in whole ticks and lots, infinite what fits no scale; none where all must begin anew in smaller ones."""
        scale = self._rows.ledger.scale
        price, amount = whole_ticks(prices, scale.price_decimals), whole_ticks(amounts, scale.amount_decimals)
        if not (np.isinf(price).any() or np.isinf(amount).any()):
            return price, amount
        finer = finer_scale(self._rows, prices, amounts)
        if finer == scale:
            return price, amount
        self._begin(in_scale(self._rows, finer))
        return None, None

    def _slice(self) -> Slice:
        rows = self._rows
        series = dict(rows.ledger.series)
        for key in self._seen:
            covered, new = self._covered.get(key), self._new.get(key)
            if covered is None and new is None:
                continue
            state = series.get(key, NOTHING_STORED)
            stale = [new] if new else []
            series[key] = replace(
                state,
                covered=tuple(merge_ranges([*state.covered, *([covered] if covered else [])])),
                stale_rollups=tuple(merge_ranges([*state.stale_rollups, *stale])) if key in _ROLLED_UP else (),
                stale_features=tuple(merge_ranges([*state.stale_features, *stale])) if key in _FEATURED else (),
            )
        laid = replace(
            rows,
            ledger=replace(rows.ledger, series=series),
            bars=self._bars,
            trades=self._trades.trades if self._trades else rows.trades,
            books=self._books,
        )
        return replace(laid, imbalances=_still_fresh(laid))


def laid_since(market: LiveMarket) -> dict[SeriesKey, datetime]:
    """The series of an instrument that anything is live of, and from when on rows of them are, or may come."""
    with market.lock:
        return {key: from_us(series.since_us) for key, series in _series(market)}


def _series(market: LiveMarket) -> list[tuple[SeriesKey, LiveSeries]]:
    found: list[tuple[SeriesKey, LiveSeries]] = []
    for name, series in market.series.items():
        key = _KEYS.get(name)
        if key and (series.is_open or len(series.rows)):
            found.append((key, series))
    return found


def _with_books(stored: Books | None, new: Sequence[tuple[LiveBook, Float64Array]]) -> Books | None:
    if not new:
        return stored
    added = Books(
        np.array([book.time_us for book, _ in new], dtype=np.int64),
        np.array([book.received_us for book, _ in new], dtype=np.int64),
        np.array([book.nonce for book, _ in new], dtype=np.int64),
        np.stack([levels for _, levels in new]),
    )
    if stored is None:
        return added
    order = np.argsort(np.concatenate([stored.time_us, added.time_us]), kind="stable")
    return Books(
        np.concatenate([stored.time_us, added.time_us])[order],
        np.concatenate([stored.received_us, added.received_us])[order],
        np.concatenate([stored.nonce, added.nonce])[order],
        np.concatenate([stored.levels, added.levels])[order],
    )


def _still_fresh(rows: Slice) -> Imbalances | None:
    """The imbalances without those of seconds that something has come to since they were computed."""
    imbalances = rows.imbalances
    if imbalances is None or not len(imbalances.time_us):
        return imbalances
    window = from_us(int(imbalances.time_us[0])), SECOND.close(from_us(int(imbalances.time_us[-1])))
    stale = lies_in(
        imbalances.time_us, stale_imbalances(rows.ledger.find("order_book"), rows.ledger.find("trade"), window)
    )
    if not stale.any():
        return imbalances
    return Imbalances(imbalances.time_us[~stale], imbalances.values[:, ~stale])
