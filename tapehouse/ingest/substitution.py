"""Candles for the gaps of a series from elsewhere: from the store's own other data, or from another exchange.

They pass the same validation as the exchange's own, are noted as what they are, and never take the place of stored
ones. Which gaps are filled so, and when, is `tapehouse.ingest.repair`'s business.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pandas as pd

from tapehouse.errors import InputError, UnknownSeries, UnknownSymbol
from tapehouse.exchange import Exchange
from tapehouse.ingest.pages import finish_in_thread
from tapehouse.instrument import Instrument, Listing
from tapehouse.query.candles import read_minute_candles, read_trade_candles
from tapehouse.query.ledger import Ledger
from tapehouse.query.plan import MINUTE, derivable_from_minutes
from tapehouse.query.question import Question
from tapehouse.query.resample import lies_in
from tapehouse.ranges import TimeRange, merge_ranges, subtract_ranges
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection, snapshot, store_errors
from tapehouse.store.instruments import CandleSeries, list_series
from tapehouse.store.substitutes import read_substitutes
from tapehouse.timeframe import Timeframe
from tapehouse.validate import split_candles
from tapehouse.validate.coverage import ranges_of_candles

# What `substitute.source` says of candles that were built from data of the store.
FROM_TRADES: Final = "trades"
FROM_MINUTES: Final = MINUTE.name
# Beside the reasons for which a candle was rejected that the series' own exchange never gave.
_NOT_ITS_OWN: Final = "not_of_its_exchange"
# Read and written at once; a gap may be years long.
_CANDLES_AT_ONCE: Final = 50_000


@dataclass(frozen=True, slots=True)
class Fallback:
    """Another exchange whose candles may fill gaps; without a symbol those of the series' own symbol."""

    exchange: Exchange
    symbol: str | None = None

    def source_for(self, series: CandleSeries) -> str:
        """What its candles are called where they fill gaps of the series, as in `kraken BTC/USD`."""
        return f"{self.exchange.exchange_id} {self.symbol_for(series)}"

    def symbol_for(self, series: CandleSeries) -> str:
        """The symbol to ask for."""
        return self.symbol or series.instrument.symbol


def fill_from_store(connection: Connection, series: CandleSeries, ranges: Sequence[TimeRange]) -> str | None:
    """Fill what can be of the ranges: 1m candles from trades, longer ones from 1m candles; says from which, if any.

    As `MarketData.candles` does it, a bar is built only if trades, or minutes, were fetched for all of it; one
    without any stays empty. Raises StoreError.
    """
    if series.timeframe == MINUTE:
        # Candles count what trades count, or the volume would be another.
        has_same_unit = series.instrument.amount_unit == series.instrument.trade_unit
        return _build(connection, series, ranges, read_trade_candles, FROM_TRADES) if has_same_unit else None
    if derivable_from_minutes(series.timeframe):
        own = subtract_ranges(ranges, _foreign_bars(connection, series, ranges))
        return _build(connection, series, own, read_minute_candles, FROM_MINUTES)
    return None


async def fill_from_exchange(
    fallback: Fallback, connection: Connection, series: CandleSeries, ranges: Sequence[TimeRange]
) -> str | None:
    """Fill what can be of the ranges with another exchange's candles; says with whose, if any.

    One that does not list the series' own symbol has none. Raises InputError where that market's base, quote,
    amount unit or origin is another; UnknownSymbol, UnknownTimeframe, ExchangeError and StoreError.
    """
    exchange, symbol = fallback.exchange, fallback.symbol_for(series)
    try:
        _require_alike(await exchange.listing(symbol), series.instrument)
    except UnknownSymbol:
        if fallback.symbol is None:
            return None
        raise
    source = fallback.source_for(series)
    page_candles = await exchange.candles_a_page(symbol, series.timeframe)
    is_filled = False
    for window in near_ranges(ranges, series.timeframe, page_candles):
        async for page in exchange.candle_pages(symbol, series.timeframe, *window):
            rows = page.rows

            def write(rows: Sequence[object] = rows, window: TimeRange = window) -> bool:
                return _write(connection, series, rows, window, ranges, source)

            is_filled |= await finish_in_thread(write)
    return source if is_filled else None


def near_ranges(ranges: Sequence[TimeRange], timeframe: Timeframe, page_candles: int) -> list[TimeRange]:
    """The ranges, sorted, as windows: those that fit into one page of candles together are one window."""
    windows: list[TimeRange] = []
    for start, end in ranges:
        if windows and end <= timeframe.shift(windows[-1][0], page_candles):
            windows[-1] = (windows[-1][0], end)
        else:
            windows.append((start, end))
    return windows


def _build(
    connection: Connection,
    series: CandleSeries,
    ranges: Sequence[TimeRange],
    read: Callable[[Connection, Question, Timeframe], tuple[pd.DataFrame, Ledger]],
    source: str,
) -> str | None:
    is_filled = False
    for start, end in _portions(near_ranges(ranges, series.timeframe, _CANDLES_AT_ONCE), series.timeframe):
        question = Question(series.instrument.exchange, series.instrument.symbol, start, end)
        try:
            # A writer may widen the scale of all stored numbers at any time.
            with store_errors(), snapshot(connection):
                frame, _ = read(connection, question, series.timeframe)
        except UnknownSeries:
            return None
        is_filled |= _write(connection, series, _rows(frame), (start, end), ranges, source)
    return source if is_filled else None


def _foreign_bars(connection: Connection, series: CandleSeries, ranges: Sequence[TimeRange]) -> list[TimeRange]:
    """The bars over minutes that came from another exchange: what they make would be of unnamed origin."""
    instrument, window = series.instrument, (ranges[0][0], ranges[-1][1])
    minutes = list_series(
        connection, exchange=instrument.exchange, symbol=instrument.symbol, dataset="ohlcv", timeframe=MINUTE
    )
    return merge_ranges(
        (series.timeframe.floor(one.start), series.timeframe.ceil(one.end))
        for minute_series in minutes
        for one in read_substitutes(connection, minute_series, window)
        if one.source != FROM_TRADES
    )


def _write(
    connection: Connection,
    series: CandleSeries,
    rows: Sequence[object],
    window: TimeRange,
    ranges: Sequence[TimeRange],
    source: str,
) -> bool:
    """Validate the rows of a window and write those in the ranges; says whether any was new."""
    split = split_candles(rows, series.timeframe, start=window[0], end=window[1])
    good = split.good.take(lies_in(split.good.time_us, ranges))
    rejected = [
        replace(one, reasons=(*one.reasons, _NOT_ITS_OWN))
        for one in split.rejected
        if one.time and any(start <= one.time < end for start, end in ranges)
    ]
    if not len(good) and not rejected:
        return False
    covered = ranges_of_candles(series.timeframe, good.time_us, *window)
    written = write_candles(
        connection, series, good, asked=covered, covered=covered, rejected=rejected, substituted_from=source
    )
    return written.inserted > 0


def _rows(frame: pd.DataFrame) -> list[tuple[float, ...]]:
    """The candles as an exchange would give them."""
    columns = (frame[name].tolist() for name in ("open", "high", "low", "close", "volume"))
    opens_ms = pd.DatetimeIndex(frame.index).as_unit("ms").asi8.tolist()
    return list(zip(opens_ms, *columns, strict=True))


def _portions(windows: Sequence[TimeRange], timeframe: Timeframe) -> list[TimeRange]:
    portions: list[TimeRange] = []
    for start, end in windows:
        while start < end:
            stop = min(end, timeframe.shift(start, _CANDLES_AT_ONCE))
            portions.append((start, stop))
            start = stop
    return portions


def _require_alike(listing: Listing, instrument: Instrument) -> None:
    """Raise InputError where the other market's candles can't stand for the instrument's."""
    counts_contracts = instrument.amount_unit == "contract"
    for what in ("base", "quote", "amount_unit", "from_sandbox", *(("contract_size",) if counts_contracts else ())):
        theirs, ours = getattr(listing, what), getattr(instrument, what)
        if theirs != ours:
            raise InputError(
                f"{listing.exchange} {listing.symbol} can't stand for {instrument.exchange} {instrument.symbol}, whose "
                f"{what.replace('_', ' ')} is {ours} and not {theirs}: name another market."
            )
