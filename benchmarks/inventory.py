"""The inventory of a store of 500 series, against counting what they hold."""

import time
from typing import Final

from benchmarks.figure import Figure
from benchmarks.rounds import take_rounds
from benchmarks.setting import EXCHANGE_PREFIX, Setting
from tapehouse import MarketData
from tapehouse.store.connection import Connection

_INSTRUMENTS: Final = 125
# Instruments whose candles have rows, so that counting them shows.
_FILLED: Final = 3
_PLANT_INSTRUMENTS: Final = """
insert into instrument (
    exchange, symbol, base, quote, kind, amount_unit, price_decimals, amount_decimals, active, from_sandbox, raw
)
select %(exchange)s, format('COIN%%s/USDT', n), format('COIN%%s', n), 'USDT', 'spot', 'base', 2, 3, true, false, '{}'
from generate_series(1, %(instruments)s) as n
"""
_PLANT_SERIES: Final = """
insert into series (instrument_id, dataset, timeframe_s)
select instrument_id, dataset, timeframe_s
from instrument
cross join (values ('ohlcv', 60), ('ohlcv', 3600), ('trade', 0), ('order_book', 0)) as kind (dataset, timeframe_s)
"""
# 600 days in as many ranges as ingest leaves: candles in a few, trades in dozens, sampled books in hundreds.
_PLANT_COVERAGE: Final = """
insert into coverage (series_id, covered)
select
    series_id,
    (
        select range_agg(tstzrange(started_at, started_at + 0.95 * step))
        from generate_series('2024-01-01Z'::timestamptz, '2025-08-22Z'::timestamptz, step) as started_at
    )
from series
cross join lateral (
    select 1 + series_id % (case dataset when 'order_book' then 400 when 'trade' then 80 else 12 end) as ranges
) as planted
cross join lateral (select interval '600 days' / ranges as step) as sized
"""
_PLANT_CANDLES: Final = """
insert into ohlcv
select instrument_id, 60, '2024-01-01Z'::timestamptz + n * interval '1 minute', 1, 1, 1, 1, 1
from (select instrument_id from instrument order by instrument_id limit %(filled)s) as filled
cross join generate_series(0, %(rows)s - 1) as n
"""
_COUNT: Final = """
select
    case dataset
        when 'ohlcv' then (
            select count(*) from ohlcv o where o.instrument_id = s.instrument_id and o.timeframe_s = s.timeframe_s
        )
        when 'trade' then (select count(*) from trade t where t.instrument_id = s.instrument_id)
        else (select count(*) from order_book b where b.instrument_id = s.instrument_id)
    end
from series s
"""


def inventory_ms_500_series(setting: Setting) -> Figure:
    """`MarketData.coverage` of 500 series, some of them with a million rows, to the DataFrame."""
    with setting.emptied_database() as connection:
        series, ranges = plant_series(connection, setting.sizes.read_rows)
        with MarketData.connect(setting.url) as market:
            rounds = take_rounds(
                setting.sizes.rounds, lambda: _seconds_of_inventory(market), lambda: _seconds_of_count(connection)
            )
    return rounds.as_cost(
        "inventory_ms_500_series",
        "ms",
        baseline="count(*) of the rows of each series, in one statement",
        scale=1000,
        note=f"{series} series of {ranges:,} ranges",
    )


def plant_series(connection: Connection, rows: int) -> tuple[int, int]:
    """Put 500 series, their coverage and rows into the database; returns how many series and ranges there are."""
    exchange = f"{EXCHANGE_PREFIX}inventory"
    connection.execute(_PLANT_INSTRUMENTS, {"exchange": exchange, "instruments": _INSTRUMENTS})
    connection.execute(_PLANT_SERIES)
    connection.execute(_PLANT_COVERAGE)
    connection.execute(_PLANT_CANDLES, {"filled": _FILLED, "rows": rows})
    connection.execute("call count_stored_rows()")
    connection.execute("analyze instrument, series, coverage")
    row = connection.execute("select count(*) from coverage, unnest(covered)").fetchone()
    return 4 * _INSTRUMENTS, row[0] if row else 0


def _seconds_of_inventory(market: MarketData) -> float:
    started = time.perf_counter()
    market.coverage()
    return time.perf_counter() - started


def _seconds_of_count(connection: Connection) -> float:
    started = time.perf_counter()
    connection.execute(_COUNT).fetchall()
    return time.perf_counter() - started
