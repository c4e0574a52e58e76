"""The status of a store of 500 series, against asking the tables themselves."""

from typing import Final

from benchmarks.figure import Figure
from benchmarks.inventory import plant_series
from benchmarks.rounds import take_rounds, time_s
from benchmarks.setting import Setting
from tapehouse.status import Limits, find_problems, read_status
from tapehouse.store.connection import Connection

# What somebody would ask who has no ledgers: how fresh each series is, what each table takes and saves.
_NEWEST: Final = """
select
    case dataset
        when 'ohlcv' then (
            select max(time) from ohlcv o where o.instrument_id = s.instrument_id and o.timeframe_s = s.timeframe_s
        )
        when 'trade' then (select max(time) from trade t where t.instrument_id = s.instrument_id)
        else (select max(time) from order_book b where b.instrument_id = s.instrument_id)
    end
from series s
"""
_SPACE: Final = """
select hypertable_size(format('%I.%I', schema, name)::regclass), stats.*
from (
    select hypertable_schema, hypertable_name
    from timescaledb_information.hypertables
    union all
    select materialization_hypertable_schema, materialization_hypertable_name
    from timescaledb_information.continuous_aggregates
) as hypertable (schema, name)
left join lateral hypertable_compression_stats(format('%I.%I', schema, name)::regclass) as stats on true
"""


def status_ms_500_series(setting: Setting) -> Figure:
    """`read_status` and `find_problems` of 500 series, some of them with a million rows."""
    with setting.emptied_database() as connection:
        series, ranges = plant_series(connection, setting.sizes.read_rows)
        rounds = take_rounds(
            setting.sizes.rounds,
            lambda: time_s(lambda: find_problems(read_status(connection), Limits())),
            lambda: time_s(lambda: _ask_tables(connection)),
        )
    return rounds.as_cost(
        "status_ms_500_series",
        "ms",
        baseline="max(time) of each series, hypertable_size and hypertable_compression_stats of each table",
        scale=1000,
        note=f"{series} series of {ranges:,} ranges",
    )


def _ask_tables(connection: Connection) -> None:
    connection.execute(_NEWEST).fetchall()
    connection.execute(_SPACE).fetchall()
