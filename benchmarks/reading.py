"""Reading a million candles or trades into a DataFrame, against a COPY of the same rows that nobody looks at."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, LiteralString

import pandas as pd
from psycopg.sql import SQL

from benchmarks.copy_out import copy_out_baseline
from benchmarks.figure import Figure
from benchmarks.history import made_up_candles, made_up_trades, write_candle_history, write_trade_history
from benchmarks.rounds import percentile_s, take_rounds, time_s
from benchmarks.series import new_candle_series, new_trade_series
from benchmarks.setting import Setting
from tapehouse import MarketData
from tapehouse.instrument import Instrument
from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection, is_embedded

# The embedded database builds a whole answer in memory, so `MarketData` reads in such portions there.
_EMBEDDED_PORTION_ROWS: Final = 100_000


@dataclass(frozen=True, slots=True)
class _Table:
    """A table to read: the columns that `MarketData` reads of it, and the order."""

    name: LiteralString
    columns: LiteralString
    order: LiteralString


_CANDLES: Final = _Table("ohlcv", "time, open, high, low, close, volume", "time")
_TRADES: Final = _Table("trade", "time, trade_id, price, amount, side", "time, trade_id, id_text")


def candles_1m_rows_vs_psql_copy(setting: Setting) -> Figure:
    """Candles that are not compressed."""
    return _read_candles(setting, "candles_1m_rows_vs_psql_copy", compressed=False)


def read_1m_compressed_rows_vs_psql_copy(setting: Setting) -> Figure:
    """Candles of compressed chunks."""
    return _read_candles(setting, "read_1m_compressed_rows_vs_psql_copy", compressed=True)


def read_1m_trades_vs_psql_copy(setting: Setting) -> Figure:
    """Trades that are not compressed."""
    return _read_trades(setting, "read_1m_trades_vs_psql_copy", compressed=False)


def read_1m_compressed_trades_vs_psql_copy(setting: Setting) -> Figure:
    """Trades of compressed chunks."""
    return _read_trades(setting, "read_1m_compressed_trades_vs_psql_copy", compressed=True)


def candles_cached_speedup(setting: Setting) -> Figure:
    """The candles of `candles_1m_rows_vs_psql_copy` from memory, against reading them anew."""
    with setting.emptied_database() as connection:
        series = new_candle_series(connection)
        span = write_candle_history(connection, series, made_up_candles(setting.sizes.read_rows))
        _settle(connection, _CANDLES, compressed=False)
        question = series.instrument.exchange, series.instrument.symbol, "1m", *span
        with MarketData.connect(setting.url) as market, MarketData.connect(setting.url, cache_mb=0) as uncached:
            ask_until_remembered(market, lambda: market.candles(*question))
            rounds = take_rounds(
                setting.sizes.rounds,
                lambda: percentile_s(50, lambda _: market.candles(*question), range(setting.sizes.calls)),
                lambda: time_s(lambda: uncached.candles(*question)),
            )
    rows_m = setting.sizes.read_rows / 1_000_000
    return rounds.as_rate("candles_cached_speedup", "million rows/s", rows_m, baseline="the same with cache_mb=0")


def ask_until_remembered(market: MarketData, ask: Callable[[], object]) -> None:
    """Ask until an answer comes from memory: the thread that hears of changes takes a while to begin."""
    hits = market.stats().cache.hits
    while market.stats().cache.hits == hits:
        ask()


def _read_candles(setting: Setting, key: str, *, compressed: bool) -> Figure:
    with setting.emptied_database() as connection, MarketData.connect(setting.url, cache_mb=0) as market:
        series = new_candle_series(connection)
        span = write_candle_history(connection, series, made_up_candles(setting.sizes.read_rows))
        _settle(connection, _CANDLES, compressed=compressed)
        instrument = series.instrument
        return _figure(
            setting,
            key,
            lambda: market.candles(instrument.exchange, instrument.symbol, "1m", *span),
            copy_out_baseline(connection, setting, _statements(setting, connection, _CANDLES, instrument, span)),
        )


def _read_trades(setting: Setting, key: str, *, compressed: bool) -> Figure:
    with setting.emptied_database() as connection, MarketData.connect(setting.url, cache_mb=0) as market:
        series = new_trade_series(connection)
        span = write_trade_history(connection, series, made_up_trades(setting.sizes.read_rows))
        _settle(connection, _TRADES, compressed=compressed)
        instrument = series.instrument
        return _figure(
            setting,
            key,
            lambda: market.trades(instrument.exchange, instrument.symbol, *span),
            copy_out_baseline(connection, setting, _statements(setting, connection, _TRADES, instrument, span)),
        )


def _settle(connection: Connection, table: _Table, *, compressed: bool) -> None:
    """Compress the table's chunks if asked to, and let the planner know what is in them."""
    if compressed:
        connection.execute("select compress_chunk(chunk) from show_chunks(%s::regclass) as chunk", [table.name])
    connection.execute(SQL("vacuum analyze {}").format(SQL(table.name)))


def _figure(
    setting: Setting, key: str, read: Callable[[], pd.DataFrame], baseline: tuple[Callable[[], float], str]
) -> Figure:
    assert len(read()) == setting.sizes.read_rows
    copy_time_s, name = baseline
    rounds = take_rounds(setting.sizes.rounds, lambda: time_s(read), copy_time_s)
    return rounds.as_cost(key, "ms", scale=1000, baseline=name)


def _statements(
    setting: Setting, connection: Connection, table: _Table, instrument: Instrument, span: TimeRange
) -> list[str]:
    """COPY statements for the rows of a span, which lie evenly in it, in their order."""
    portions = -(-setting.sizes.read_rows // _EMBEDDED_PORTION_ROWS) if is_embedded(connection) else 1
    start, end = span
    times = [start + (end - start) * number / portions for number in range(portions + 1)]
    return [
        f"copy (select {table.columns} from {table.name} where instrument_id = {instrument.instrument_id} "
        f"and time >= '{first.isoformat()}' and time < '{stop.isoformat()}' "
        f"order by {table.order}) to stdout (format binary)"
        for first, stop in pairwise(times)
    ]
