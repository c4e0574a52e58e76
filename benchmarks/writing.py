"""Writing batches of candles: `write_candles` with all it keeps account of, against the bare statements.

The baselines write the same rows, in the same batches, to a hypertable made like `ohlcv`.
"""

import time
from collections.abc import Sequence
from typing import Final

from benchmarks.figure import Figure
from benchmarks.history import in_batches, made_up_candles, span_of_candles
from benchmarks.plain_writes import Columns, copy_time_s, insert_time_s
from benchmarks.rounds import Rounds, take_rounds
from benchmarks.series import AMOUNT_DECIMALS, PRICE_DECIMALS, new_candle_series
from benchmarks.setting import Setting
from tapehouse.candle import VALUE_COLUMNS, CandleBatch
from tapehouse.store.arrays import FloatColumn, TimeColumn
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection, is_embedded
from tapehouse.store.instruments import CandleSeries
from tapehouse.store.ticks import to_ticks

_NO_CANDLES: Final = made_up_candles(0)

CREATE_TABLE: Final = """
drop table if exists plain_candle;
create table plain_candle (like ohlcv including indexes);
select create_hypertable('plain_candle', by_range('time', interval '30 days'), create_default_indexes => false);
alter table plain_candle set (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'instrument_id, timeframe_s',
    timescaledb.compress_orderby = 'time'
)
"""
COPY: Final = """
copy plain_candle (instrument_id, timeframe_s, time, open, high, low, close, volume) from stdin (format binary)
"""
INSERT: Final = """
insert into plain_candle (instrument_id, timeframe_s, time, open, high, low, close, volume)
select %(instrument_id)s, %(timeframe_s)s, *
from unnest(
    %(time)s::timestamptz[], %(open)s::float8[], %(high)s::float8[], %(low)s::float8[],
    %(close)s::float8[], %(volume)s::float8[]
)
"""
_ON_CONFLICT: Final = """
on conflict (instrument_id, timeframe_s, time) do update
set open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close, volume = excluded.volume
"""


def upsert_new_vs_copy(setting: Setting) -> Figure:
    """Rows that the coverage ledger proves to be new."""
    return _new_rows(setting, "upsert_new_vs_copy", covered_before=False)


def upsert_unproven_vs_copy(setting: Setting) -> Figure:
    """Rows of a range that was asked for before and was empty then."""
    return _new_rows(setting, "upsert_unproven_vs_copy", covered_before=True)


def reingest_identical_vs_on_conflict(setting: Setting) -> Figure:
    """Rows that are stored already, exactly so."""
    with setting.emptied_database() as connection:
        batches = _batches(setting)
        columns = [columns_of(batch) for batch in batches]
        connection.execute(CREATE_TABLE)
        series = new_candle_series(connection)
        key = key_of(series)
        _write_time_s(connection, series, batches)
        insert_time_s(connection, INSERT, key, columns)
        rounds = take_rounds(
            setting.sizes.write_rounds,
            lambda: _write_time_s(connection, series, batches),
            lambda: insert_time_s(connection, INSERT + _ON_CONFLICT, key, columns),
        )
    baseline = "insert ... select unnest ... on conflict do update"
    return _rate("reingest_identical_vs_on_conflict", setting, rounds, baseline)


def key_of(series: CandleSeries) -> dict[str, int]:
    """The series as the first columns of a candle's row."""
    return {"instrument_id": series.instrument.instrument_id, "timeframe_s": series.timeframe.seconds}


def columns_of(batch: CandleBatch) -> Columns:
    """The other columns, in whole ticks and lots."""
    decimals = {name: AMOUNT_DECIMALS if name == "volume" else PRICE_DECIMALS for name in VALUE_COLUMNS}
    ticks = {name: FloatColumn(to_ticks(getattr(batch, name), decimals[name])) for name in VALUE_COLUMNS}
    return {"time": TimeColumn(batch.time_us), **ticks}


def _new_rows(setting: Setting, key: str, *, covered_before: bool) -> Figure:
    with setting.emptied_database() as connection:
        batches = _batches(setting)
        columns = [columns_of(batch) for batch in batches]
        connection.execute(CREATE_TABLE)
        # Each round writes as a new instrument, the same one both ways.
        measured = [new_candle_series(connection) for _ in range(setting.sizes.write_rounds + 1)]
        plain = [key_of(series) for series in measured]
        if covered_before:
            for series in measured:
                _cover(connection, series, batches)
        if is_embedded(connection):
            name, write_plain, statement = "insert ... select unnest", insert_time_s, INSERT
        else:
            name, write_plain, statement = "COPY FROM STDIN (FORMAT binary)", copy_time_s, COPY
        rounds = take_rounds(
            setting.sizes.write_rounds,
            lambda: _write_time_s(connection, measured.pop(0), batches),
            lambda: write_plain(connection, statement, plain.pop(0), columns),
        )
    return _rate(key, setting, rounds, name)


def _rate(key: str, setting: Setting, rounds: Rounds, baseline: str) -> Figure:
    return rounds.as_rate(key, "krows/s", setting.sizes.written_rows / 1000, baseline=baseline)


def _batches(setting: Setting) -> list[CandleBatch]:
    return in_batches(made_up_candles(setting.sizes.written_rows), setting.sizes.batch_rows)


def _cover(connection: Connection, series: CandleSeries, batches: Sequence[CandleBatch]) -> None:
    for batch in batches:
        span = [span_of_candles(batch)]
        write_candles(connection, series, _NO_CANDLES, asked=span, covered=span)


def _write_time_s(connection: Connection, series: CandleSeries, batches: Sequence[CandleBatch]) -> float:
    spans = [[span_of_candles(batch)] for batch in batches]
    started_s = time.perf_counter()
    for batch, span in zip(batches, spans, strict=True):
        write_candles(connection, series, batch, asked=span, covered=span)
    return time.perf_counter() - started_s
