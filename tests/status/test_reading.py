"""What a status says, beside what other ways of asking say: pandas, TimescaleDB's public functions, the file system."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import psycopg
import pytest
from psycopg import sql

from tapehouse import MarketData, embedded
from tapehouse.candle import CandleBatch, Reject
from tapehouse.errors import NotMigrated, StoreUnreachable
from tapehouse.ranges import merge_ranges
from tapehouse.status import RollupStatus, SeriesStatus, Status, read_status
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection, connect
from tapehouse.store.delete import delete_rows
from tapehouse.store.features import refresh_features
from tapehouse.store.gaps import find_gaps
from tapehouse.store.instruments import CandleSeries, ensure_trade_series, list_series
from tapehouse.store.migrate import migrate
from tapehouse.store.retention import read_kept
from tapehouse.store.rollups import refresh_rollups
from tapehouse.store.trades import write_trades
from tapehouse.timeframe import timeframe, to_us
from tapehouse.trade import TradeBatch
from tests.status.conftest import DAY, HOUR, MINUTE, follow, make_instrument, make_series, new_store, write

# What sql/migrations set up.
COMPRESSED_AFTER = {
    "ohlcv": 7 * DAY,
    "trade": DAY,
    "order_book": DAY,
    "order_book_1s": 2 * DAY,
    "imbalance": 2 * DAY,
    "trade_candle_1s": 2 * DAY,
    **{f"candle_{name}": 30 * DAY for name in ("5m", "15m", "1h", "4h", "1d")},
    "trade_candle_1m": 30 * DAY,
}
NOW = timeframe("1m").floor(datetime.now(UTC))


@pytest.fixture(scope="module")
def stored_url(server_url: str) -> Iterator[str]:
    """A store with a bit of everything: gaps, rejects, trades, compressed and half compressed chunks."""
    with new_store(server_url) as url:
        with closing(connect(url)) as connection:
            _store(connection)
        yield url


@pytest.fixture
def stored(stored_url: str) -> Iterator[Connection]:
    with connect(stored_url) as connection:
        yield connection


def _store(connection: Connection) -> None:
    minutes, hours = make_series(connection), make_series(connection, "1h")
    write(connection, minutes, (NOW - 70 * DAY, NOW - 40 * DAY), (NOW - 39 * DAY, NOW - 3 * HOUR), (NOW - HOUR, NOW))
    follow(connection, minutes, every=2 * MINUTE, last=MINUTE)
    hour = timeframe("1h").floor(NOW)
    write(connection, hours, (hour - 9 * DAY, hour - 5 * DAY), (hour - 4 * DAY, hour - 2 * DAY))
    _reject(connection, minutes, [NOW - 3 * HOUR + number * MINUTE for number in range(30)], seen_again=1)
    _reject(connection, minutes, [NOW - 39 * DAY - number * MINUTE for number in range(1, 6)])
    trades = ensure_trade_series(connection, make_instrument(connection))
    times_us = to_us(NOW - 5 * DAY) + 30_000_000 * np.arange(10_000)
    ones = np.ones(len(times_us))
    batch = TradeBatch(times_us, times_us, np.full(len(ones), ""), 100 * ones, ones, ones.astype(np.int16))
    window = [(NOW - 5 * DAY, NOW - DAY - HOUR)]
    write_trades(connection, trades, batch, asked=window, covered=window)
    refresh_rollups(connection)
    refresh_features(connection)
    for table in ("ohlcv", "trade", "candle_5m"):
        chunks = sql.SQL("select compress_chunk(c) from show_chunks({}, older_than => %s) as c").format(
            sql.Literal(table)
        )
        connection.execute(chunks, [NOW - 2 * DAY])
    # A late write into a chunk that is compressed.
    late = NOW - 39 * DAY - HOUR
    write_candles(connection, minutes, _candle(late), asked=[(late, late + MINUTE)], covered=[(late, late + MINUTE)])


def _candle(time: datetime) -> CandleBatch:
    one = np.array([101.0])
    return CandleBatch(np.array([to_us(time)]), one, one, one, one, one)


def _reject(connection: Connection, series: CandleSeries, times: list[datetime], *, seen_again: int = 0) -> None:
    rejects = [Reject(time, ("high_below_low",), [str(time)]) for time in times]
    for _ in range(1 + seen_again):
        write_candles(connection, series, _none(), asked=[], covered=[], rejected=rejects)


def _none() -> CandleBatch:
    return CandleBatch(np.array([], dtype=np.int64), *(np.array([]) for _ in range(5)))


def one_series(status: Status, what: str) -> SeriesStatus:
    (found,) = [one for one in status.series if (one.timeframe or one.dataset) == what]
    return found


def test_series_are_those_of_the_inventory(stored: Connection, stored_url: str):
    status = read_status(stored)
    with MarketData.connect(stored_url) as market:
        coverage = market.coverage()

    read = pd.DataFrame(
        [{"end": one.covered_until, "rows": one.rows, "rejected": one.rejected} for one in status.series]
    )
    assert [(one.exchange, one.symbol, one.dataset, one.timeframe or "") for one in status.series] == list(
        coverage[["exchange", "symbol", "dataset", "timeframe"]].itertuples(index=False, name=None)
    )
    for name in ("end", "rows", "rejected"):
        assert list(read[name]) == list(coverage[name]), name


def test_lag_is_what_has_passed_since_the_end(stored: Connection):
    before = datetime.now(UTC)
    status = read_status(stored)
    after = datetime.now(UTC)

    minutes, hours = one_series(status, "1m"), one_series(status, "1h")
    slack = timedelta(seconds=2)  # The server's clock is another.
    for one, end in ((minutes, NOW), (hours, timeframe("1h").floor(NOW) - 2 * DAY)):
        assert one.covered_until == end
        assert one.lag_s is not None
        assert before - slack <= end + timedelta(seconds=one.lag_s) <= after + slack
    assert minutes.lag_intervals == pytest.approx((minutes.lag_s or 0) / 60)
    assert (minutes.asked_every_s, minutes.expected_lag_s) == (120.0, 180.0)
    assert (hours.asked_every_s, hours.expected_lag_s) == (None, None)


def test_what_is_fetched_to_the_next_tick_does_not_lag(empty: Connection):
    today = timeframe("1d").floor(datetime.now(UTC))
    write(empty, make_series(empty), (today, today + 2 * DAY))

    assert [one.lag_s for one in read_status(empty).series] == [0.0]


def test_gaps_are_those_that_find_gaps_finds(stored: Connection):
    status = read_status(stored)
    for series in list_series(stored):
        # What the exchange had no candle for is not missing. The end that nobody fetched yet is lag.
        gaps = merge_ranges(gap.range for gap in find_gaps(stored, series) if gap.cause != "exchange_empty")
        read = one_series(status, series.timeframe_name or series.dataset)
        assert read.gaps == len(gaps)
        longest = max(gaps, key=lambda gap: gap[1] - gap[0], default=(None, None))
        assert (read.longest_gap_start, read.longest_gap_end) == longest
    assert one_series(status, "1m").gaps == 3
    assert one_series(status, "1m").longest_gap_s == 23 * 3600.0


def test_rejected_rows_are_counted_with_their_share(stored: Connection):
    status = read_status(stored)
    minutes = one_series(status, "1m")

    rejected = pd.DataFrame(stored.execute("select time from quarantine").fetchall(), columns=["time"])
    assert minutes.rejected == len(rejected) == 35
    assert minutes.rejected_24h == (rejected["time"] >= pd.Timestamp(NOW - DAY)).sum() == 30
    # Two of the last 24 hours are not covered, nor what came since.
    rows = (22 * HOUR - (status.read_at - NOW)) / MINUTE
    assert minutes.rows_24h == pytest.approx(rows, abs=0.1)
    assert minutes.reject_share_24h == pytest.approx(30 / (30 + rows), rel=1e-3)


def test_space_and_compression_are_what_timescaledb_says(stored: Connection):
    tables = {one.name: one for one in read_status(stored).tables}

    assert len(tables) == 12
    for name, table in tables.items():
        ((size,),) = stored.execute("select hypertable_size(%s::regclass)", [_hypertable(stored, name)]).fetchall()
        ((empty,),) = stored.execute(
            "select pg_total_relation_size(%s::regclass)", [_hypertable(stored, name)]
        ).fetchall()
        assert table.bytes == size - empty, name
        stats = stored.execute(
            "select total_chunks, number_compressed_chunks, before_compression_total_bytes, "
            "after_compression_total_bytes from hypertable_compression_stats(%s::regclass)",
            [_hypertable(stored, name)],
        ).fetchall()
        chunks, compressed, before, after = stats[0] if stats else (table.chunks, 0, None, None)
        assert (table.chunks, table.compressed) == (chunks, compressed)
        assert (table.before_bytes, table.after_bytes) == (before or 0, after or 0)
        assert table.new_bytes == table.bytes
    saved = tables["ohlcv"].saved
    assert saved is not None
    assert 0 < saved < 1
    assert tables["order_book"].saved is None


def _hypertable(connection: Connection, name: str) -> str:
    """The table itself, or that in which a rollup keeps its rows."""
    ((found,),) = connection.execute(
        """
        select format('%%I.%%I', coalesce(materialization_hypertable_schema, current_schema()),
            coalesce(materialization_hypertable_name, name))
        from (values (%s)) as given (name)
        left join timescaledb_information.continuous_aggregates on view_schema = current_schema() and view_name = name
        """,
        [name],
    ).fetchall()
    return found


def test_chunks_that_were_written_to_or_wait_are_counted(stored: Connection):
    tables = {one.name: one for one in read_status(stored).tables}

    assert {name: one.partly_compressed for name, one in tables.items() if one.partly_compressed} == {"ohlcv": 1}
    for name, table in tables.items():
        chunks = stored.execute(
            "select range_end, is_compressed from timescaledb_information.chunks "
            "where format('%%I.%%I', hypertable_schema, hypertable_name) = %s",
            [_hypertable(stored, name)],
        ).fetchall()
        waiting = [end for end, is_compressed in chunks if end + COMPRESSED_AFTER[name] <= NOW and not is_compressed]
        assert table.due == len(waiting), name
    assert tables["trade"].due == 1
    assert tables["trade"].rows_per_batch == pytest.approx(1000, rel=0.5)


def test_growth_is_what_came_in_a_day(stored: Connection):
    status = read_status(stored)

    assert status.database.bytes >= sum(one.bytes for one in status.tables)
    # All of it came today.
    assert status.database.grown_bytes_per_day == sum(one.bytes for one in status.tables)


def test_watermarks_are_where_the_rollups_end(stored: Connection):
    rollups = {one.name: one for one in read_status(stored).rollups}

    for name in ("candle_5m", "candle_1h", "candle_1d"):
        table = sql.Identifier(*_hypertable(stored, name).split("."))
        ((newest,),) = stored.execute(sql.SQL("select max(time) from {}").format(table)).fetchall()
        assert rollups[name].watermark == newest + timeframe(name.removeprefix("candle_")).length
    assert rollups["order_book_1s"].watermark is None


def test_what_waits_for_a_refresh_waits_since_it_could_have_had_one(empty: Connection):
    series = make_series(empty)
    today = timeframe("1d").floor(datetime.now(UTC))
    write(empty, series, (today, today + MINUTE))
    assert rollup(empty).waiting_s == 0.0
    assert (rollup(empty).stale, rollup(empty).stale_from) == (1, today)

    # Yesterday's day ended at midnight, whenever it was written.
    write(empty, series, (today - HOUR, today))
    empty.execute("update stale_rollup set noted_at = now() - interval '3 days'")
    since_midnight_s = (datetime.now(UTC) - today).total_seconds()
    assert rollup(empty).waiting_s == pytest.approx(since_midnight_s, abs=5)

    # What was written late waits since it was.
    write(empty, series, (today - 9 * DAY, today - 9 * DAY + HOUR))
    empty.execute("update stale_rollup set noted_at = now() - interval '20 minutes'")
    assert rollup(empty).waiting_s == pytest.approx(20 * 60, abs=5)

    refresh_rollups(empty)
    assert (rollup(empty).stale, rollup(empty).waiting_s) == (1, 0.0)


def rollup(connection: Connection) -> RollupStatus:
    return next(one for one in read_status(connection).rollups if one.name == "candle_1h")


def test_retention_is_what_is_set_up(stored: Connection):
    read = read_status(stored).retention

    kept = read_kept(stored)
    assert [(one.dataset, one.keep, one.kept_since, one.next_run_at) for one in read] == [
        (one.dataset, one.keep, one.kept_since, one.next_run_at) for one in kept
    ]
    assert [one.overdue for one in read] == [0] * 5
    assert read[3].held_from is None


def test_jobs_are_those_of_the_migrations(stored: Connection):
    assert [job.name for job in read_status(stored).jobs] == [
        "compress_rollups of 6 rollups",
        "compress_rollups of trade_candle_1s",
        "policy_compression of imbalance",
        "policy_compression of ohlcv",
        "policy_compression of order_book",
        "policy_compression of order_book_1s",
        "policy_compression of trade",
        "retain_features",
        "retain_ohlcv",
        "retain_ticks",
    ]


def test_a_deletion_of_the_newest_ends_that_a_series_is_followed(empty: Connection):
    series = make_series(empty)
    write(empty, series, (NOW - 5 * HOUR, NOW))
    follow(empty, series, every=MINUTE)

    delete_rows(empty, series, NOW - 5 * HOUR, NOW - 4 * HOUR)
    assert read_status(empty).series[0].asked_every_s == 60.0
    delete_rows(empty, series, NOW - HOUR, NOW)
    assert read_status(empty).series[0].asked_at is None


def test_no_row_of_data_is_read(stored: Connection):
    """A user who may not look at data is told how it is doing."""
    role = f"watcher_{uuid4().hex[:12]}"
    ((schema,),) = stored.execute("select current_schema()").fetchall()
    names = {"role": sql.Identifier(role), "schema": sql.Identifier(schema)}
    with stored.transaction(force_rollback=True):
        stored.execute(sql.SQL("create role {role}").format(**names))
        stored.execute(sql.SQL("grant usage on schema {schema} to {role}").format(**names))
        for table in (
            "instrument",
            "series",
            "coverage",
            "unavailable",
            "quarantine",
            "retention",
            "stale_rollup",
            "stale_feature",
            "job_run",
            "archiving",
        ):
            stored.execute(sql.SQL("grant select on {} to {role}").format(sql.Identifier(table), **names))
        whole = read_status(stored)
        stored.execute(sql.SQL("set local role {role}").format(**names))
        with pytest.raises(psycopg.errors.InsufficientPrivilege), stored.transaction():
            stored.execute("select from ohlcv")

        told = read_status(stored)

        assert (told.series, told.tables, told.rollups) == (whole.series, whole.tables, whole.rollups)


def test_the_disk_of_an_embedded_database_here_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TAPEHOUSE_DATA_DIR", str(tmp_path))
    with embedded.running(tmp_path) as running, closing(connect(running.url or "")) as connection:
        with pytest.raises(NotMigrated, match="run `tapehouse db migrate`"):
            read_status(connection)
        migrate(connection)
        disk = read_status(connection).disk
        monkeypatch.setenv("TAPEHOUSE_DATA_DIR", str(tmp_path / "another"))
        assert read_status(connection).disk is None

    assert disk is not None
    assert (disk.path, disk.total_bytes) == (str(tmp_path), shutil.disk_usage(tmp_path).total)
    assert 0 < disk.free_bytes <= disk.total_bytes


def test_a_database_that_went_away_is_said_to_be(server_url: str):
    with closing(connect(server_url)) as connection:
        connection.close()
        with pytest.raises(StoreUnreachable):
            read_status(connection)
