"""Writing batches of trades: `write_trades` with all it keeps account of, against the bare statements.

The baselines write the same rows, in the same batches, to a hypertable made like `trade`, from which
nothing is derived.
"""

import time
from collections.abc import Sequence
from typing import Final

from benchmarks.figure import Figure
from benchmarks.history import in_batches, made_up_trades, span_of_trades
from benchmarks.plain_writes import Columns, copy_time_s, insert_time_s
from benchmarks.rounds import take_rounds
from benchmarks.series import AMOUNT_DECIMALS, PRICE_DECIMALS, new_trade_series
from benchmarks.setting import Setting
from tapehouse.store.arrays import FloatColumn, IntegerColumn, SmallintColumn, TextColumn, TimeColumn
from tapehouse.store.connection import Connection, is_embedded
from tapehouse.store.instruments import TradeSeries
from tapehouse.store.ticks import to_ticks
from tapehouse.store.trades import write_trades
from tapehouse.trade import TradeBatch

_CREATE_TABLE: Final = """
drop table if exists plain_trade;
create table plain_trade (like trade including defaults including indexes);
select create_hypertable('plain_trade', by_range('time', interval '1 day'), create_default_indexes => false);
alter table plain_trade set (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'instrument_id',
    timescaledb.compress_orderby = 'time, trade_id, id_text'
)
"""
_COPY: Final = """
copy plain_trade (instrument_id, time, trade_id, price, amount, side, id_text) from stdin (format binary)
"""
_INSERT: Final = """
insert into plain_trade (instrument_id, time, trade_id, price, amount, side, id_text)
select %(instrument_id)s, *
from unnest(
    %(time)s::timestamptz[], %(trade_id)s::bigint[], %(price)s::float8[], %(amount)s::float8[],
    %(side)s::smallint[], %(id_text)s::text[]
)
"""


def trades_upsert_vs_copy(setting: Setting) -> Figure:
    """Trades that the coverage ledger proves to be new."""
    with setting.emptied_database() as connection:
        batches = in_batches(made_up_trades(setting.sizes.written_rows), setting.sizes.batch_rows)
        columns = [_columns(batch) for batch in batches]
        connection.execute(_CREATE_TABLE)
        # Each round writes as a new instrument, the same one both ways.
        measured = [new_trade_series(connection) for _ in range(setting.sizes.write_rounds + 1)]
        plain = [{"instrument_id": series.instrument.instrument_id} for series in measured]
        if is_embedded(connection):
            name, write_plain, statement = "insert ... select unnest", insert_time_s, _INSERT
        else:
            name, write_plain, statement = "COPY FROM STDIN (FORMAT binary)", copy_time_s, _COPY
        rounds = take_rounds(
            setting.sizes.write_rounds,
            lambda: _write_time_s(connection, measured.pop(0), batches),
            lambda: write_plain(connection, statement, plain.pop(0), columns),
        )
    return rounds.as_rate("trades_upsert_vs_copy", "krows/s", setting.sizes.written_rows / 1000, baseline=name)


def _write_time_s(connection: Connection, series: TradeSeries, batches: Sequence[TradeBatch]) -> float:
    spans = [[span_of_trades(batch)] for batch in batches]
    started_s = time.perf_counter()
    for batch, span in zip(batches, spans, strict=True):
        write_trades(connection, series, batch, asked=span, covered=span)
    return time.perf_counter() - started_s


def _columns(batch: TradeBatch) -> Columns:
    """The columns in whole ticks and lots."""
    return {
        "time": TimeColumn(batch.time_us),
        "trade_id": IntegerColumn(batch.trade_id),
        "price": FloatColumn(to_ticks(batch.price, PRICE_DECIMALS)),
        "amount": FloatColumn(to_ticks(batch.amount, AMOUNT_DECIMALS)),
        "side": SmallintColumn(batch.side),
        "id_text": TextColumn(batch.id_text),
    }
