"""What settings change, for docs/tuning.md: `python -m benchmarks.tuning --url ...` measures the ways side by side.

In a schema of its own, which is dropped again; ways are taken by turns, and the middle of a few rounds is shown.
"""

import argparse
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Final, LiteralString

import numpy as np
from psycopg import sql

from benchmarks.rounds import time_s
from benchmarks.setting import engine_of
from tapehouse.candle import CandleBatch
from tapehouse.instrument import Listing
from tapehouse.ranges import TimeRange
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection, connect
from tapehouse.store.instruments import ensure_candle_series, find_instrument, sync_listings
from tapehouse.store.migrate import migrate
from tapehouse.timeframe import timeframe, to_us

_SCHEMA: Final = "benchmark_tuning"
_START: Final = datetime(2025, 1, 1, tzinfo=UTC)
_MINUTE: Final = timedelta(minutes=1)
_ROUNDS: Final = 5
_ROWS: Final = 100_000
_DAYS: Final = 180

# A candle of 50 markets for every five minutes of half a year, as whole ticks.
_FILL: Final = """
insert into {} (instrument_id, timeframe_s, time, open, high, low, close, volume)
select i, 60, t, p, p + 3, p - 3, p + 1, (hashint8(n + i) & 4095)
from generate_series(0, {}) n
cross join lateral (select timestamptz '2025-01-01+00' + n * interval '5 minutes') as a (t)
cross join generate_series(1, 50) i
cross join lateral (select 100000 + 1000 * sin(n / 500.0 + i) + (hashint8(n * i) & 15)) as b (raw)
cross join lateral (select round(raw)::float8) as c (p)
"""
_TABLE: Final = """
create table {} (
    instrument_id integer not null, timeframe_s integer not null, time timestamptz not null, open float8 not null,
    high float8 not null, low float8 not null, close float8 not null, volume float8 not null,
    primary key (instrument_id, timeframe_s, time)
)
"""

Ways = Mapping[str, Callable[[], float]]


def main(arguments: Sequence[str]) -> None:
    """Measure all of it and print a line a way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="a server; a schema of it is made and dropped")
    parser.add_argument("--days", type=int, default=_DAYS, help="how much history the tables of chunks hold")
    options = parser.parse_args(arguments)
    with own_schema(options.url) as connection:
        print(engine_of(connection))
        told("rows/s of write_candles by rows a batch", batches(connection), unit="rows/s")
        told("rows/s of an insert of 100,000, by indexes", time_index(connection), unit="rows/s")
        chunked(connection, options.days)
        compressed(connection)


@contextmanager
def own_schema(url: str) -> Generator[Connection]:
    """A connection to tables in a schema of their own."""
    with connect(url) as connection:
        migrate(connection, [])
        connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(_SCHEMA)))
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(_SCHEMA)))
        connection.execute(sql.SQL("set search_path to {}, public").format(sql.Identifier(_SCHEMA)))
        try:
            migrate(connection, [])
            migrate(connection)
            yield connection
        finally:
            connection.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(_SCHEMA)))


def told(title: str, ways: Ways, *, unit: str = "ms", scale: float = 1.0) -> None:
    """Take the ways by turns and print the middle of what each gives."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(_ROUNDS + 1):
        for name, way in ways.items():
            value = way()
            # The first round warms up.
            if number:
                taken[name].append(value)
    for name, values in taken.items():
        middle, least, most = (f"{value * scale:,.3g}" for value in (median(values), min(values), max(values)))
        print(f"{title}: {name}: {middle} {unit} ({least} to {most})")


def batches(connection: Connection) -> Ways:
    """New candles written by the library in batches of so many."""
    listings = [
        Listing(
            exchange="benchmark-tuning", symbol=f"M{number}/USDT", base=f"M{number}", quote="USDT", settle=None,
            kind="spot", contract_size=None, amount_unit="base", trade_unit="base", tick_size=0.01,
            lot_size=0.001, price_decimals=2,
            amount_decimals=3, active=True, from_sandbox=False, raw={},
        )
        for number in range(100)
    ]  # fmt: skip
    sync_listings(connection, "benchmark-tuning", listings)
    symbols = iter(listings)

    def way(size: int) -> Callable[[], float]:
        def measure() -> float:
            instrument = find_instrument(connection, "benchmark-tuning", next(symbols).symbol)
            series = ensure_candle_series(connection, instrument, timeframe("1m"))
            # Small batches are many: fewer rows do.
            rows = min(_ROWS, size * 100)
            made = [_batch(first, size) for first in range(0, rows, size)]

            def write() -> None:
                for batch, window in made:
                    write_candles(connection, series, batch, asked=[window], covered=[window])

            return rows / time_s(write)

        return measure

    return {f"{size:,}": way(size) for size in (100, 1_000, 10_000, 100_000)}


def time_index(connection: Connection) -> Ways:
    """Rows inserted into a hypertable with and without TimescaleDB's index on time."""

    def way(name: LiteralString, with_index: bool) -> Callable[[], float]:
        _make(connection, name, timedelta(days=30), time_index=with_index)

        def measure() -> float:
            connection.execute(sql.SQL("truncate {}").format(sql.Identifier(name)))
            fill = sql.SQL(_FILL).format(sql.Identifier(name), sql.Literal(_ROWS // 50 - 1))
            return _ROWS / time_s(lambda: connection.execute(fill))

        return measure

    return {"the primary key": way("plain", False), "and one on time": way("timed", True)}


def chunked(connection: Connection, days: int) -> None:
    """The last hour of a market by the length of chunks, planned for its values or for any."""
    ways: dict[str, Callable[[], float]] = {}
    for name, length in {"chunks_1d": timedelta(days=1), "chunks_30d": timedelta(days=30)}.items():
        _make(connection, name, length)
        fill = sql.SQL(_FILL).format(sql.Identifier(name), sql.Literal(days * 288 - 1))
        seconds = time_s(lambda fill=fill: connection.execute(fill))
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier(name)))
        print(f"rows/s of filling {name}: {days * 288 * 50 / seconds:,.3g} rows/s")
        for mode in ("auto", "force_custom_plan", "force_generic_plan"):
            ways[f"{name}, {mode}"] = _latest(
                connection, name, mode, _START + timedelta(days=days) - timedelta(hours=5)
            )
    told("the last 60 candles", ways, scale=1000)


def compressed(connection: Connection) -> None:
    """What segmentby and orderby save, and what they do to a week of one market."""
    ways: dict[str, Callable[[], float]] = {}
    for name, segmentby in {"by_series": "instrument_id, timeframe_s", "by_nothing": ""}.items():
        _make(connection, name, timedelta(days=30))
        connection.execute(sql.SQL(_FILL).format(sql.Identifier(name), sql.Literal(60 * 288 - 1)))
        orderby = "time" if segmentby else "instrument_id, timeframe_s, time"
        connection.execute(
            sql.SQL(
                "alter table {} set (timescaledb.compress, timescaledb.compress_segmentby = {}, "
                "timescaledb.compress_orderby = {})"
            ).format(sql.Identifier(name), sql.Literal(segmentby), sql.Literal(orderby))
        )
        connection.execute("select compress_chunk(c) from show_chunks(%s::regclass) c", (name,))
        ((before, after),) = connection.execute(
            "select before_compression_total_bytes, after_compression_total_bytes "
            "from hypertable_compression_stats(%s::regclass)",
            (name,),
        ).fetchall()
        rows = 60 * 288 * 50
        print(
            f"compressed {name}: {before / rows:.1f} to {after / rows:.1f} bytes a row, {1 - after / before:.1%} saved"
        )
        ways[name] = _latest(connection, name, "force_custom_plan", _START + timedelta(days=30), limit=False)
    told("a month of a market from compressed chunks", ways, scale=1000)


def _make(connection: Connection, name: str, length: timedelta, *, time_index: bool = False) -> None:
    connection.execute(sql.SQL(_TABLE).format(sql.Identifier(name)))
    connection.execute(
        "select create_hypertable(%s::regclass, by_range('time', %s::interval), create_default_indexes => %s)",
        (name, length, time_index),
    )


def _latest(
    connection: Connection, name: str, mode: LiteralString, start: datetime, *, limit: bool = True
) -> Callable[[], float]:
    """Seconds of a prepared read of one market from a time on: the middle of 50."""
    prepared = f"read_{name}_{mode}"
    text: LiteralString = (
        "prepare {} (integer, timestamptz) as select * from {} "
        "where instrument_id = $1 and timeframe_s = 60 and time >= $2 order by time desc"
    )
    connection.execute(
        sql.SQL(text).format(sql.Identifier(prepared), sql.Identifier(name)) + sql.SQL(" limit 60" if limit else "")
    )
    execute = sql.SQL("execute {} (7, {})").format(sql.Identifier(prepared), sql.Literal(start))

    def measure() -> float:
        connection.execute(sql.SQL("set plan_cache_mode to {}").format(sql.Identifier(mode)))
        return median(time_s(lambda: connection.execute(execute).fetchall()) for _ in range(50 if limit else 5))

    return measure


def _batch(first: int, count: int) -> tuple[CandleBatch, TimeRange]:
    start = _START + first * _MINUTE
    rng = np.random.default_rng(first)
    close = np.round(100 + np.cumsum(rng.normal(size=count)) / 100, 2)
    times = to_us(start) + 60_000_000 * np.arange(count)
    batch = CandleBatch(times, close, close + 1, close - 1, close, np.round(rng.random(count) * 100, 3))
    return batch, (start, start + count * _MINUTE)


if __name__ == "__main__":
    main(sys.argv[1:])
