"""A month goes by in minutes: data of faulty exchanges comes day by day, and each day all maintenance is done.

How that is done is in `simulated_month`. Order books can only be sampled live, so snapshots are written as a sampling
writes them. A few days in every test run; thirty with `make campaign`.
"""

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pytest
from psycopg.sql import SQL, Identifier

from tapehouse import MarketData
from tapehouse.archive.verifying import verify_archive
from tapehouse.quality import read_quality
from tapehouse.sandbox import Sandbox, generated_markets
from tapehouse.status import Limits, find_problems, read_status
from tapehouse.store.archive import ARCHIVED_DATASETS, list_archive, switch_archiving
from tapehouse.store.connection import Connection, connect
from tapehouse.store.instruments import find_instrument
from tapehouse.store.retention import read_kept
from tapehouse.timeframe import timeframe
from tests.archive.conftest import own_schema
from tests.ingest.conftest import OpenExchange
from tests.ingest.month import (
    BOOK_DEPTH,
    CANDLE_PATHS,
    DAY,
    MANY_REJECTED,
    MINUTE,
    VALUES,
    Told,
    TruthOfMarket,
    bars_of_candles,
    bars_of_trades,
    plant_all,
)
from tests.ingest.simulated_month import ONE_MINUTE, SCALE, Clock, Month

_logger: Final = logging.getLogger(__name__)


@pytest.fixture
def schema_url(server_url: str) -> Iterator[str]:
    with own_schema(server_url) as url:
        yield url


@pytest.fixture
def month(schema_url: str, open_unlimited: OpenExchange, tmp_path: Path) -> Iterator[Month]:
    """The month before it begins; everything is archived before it is dropped."""
    clock = Clock()
    end = ONE_MINUTE.floor(datetime.now(UTC))
    start = timeframe("1d").floor(end) - SCALE.days * DAY
    limits = dict.fromkeys(CANDLE_PATHS, 10**9)
    with (
        Sandbox(generated_markets(seed=7), limits=limits, clock_ms=clock.now_ms) as sandbox,
        connect(schema_url) as connection,
    ):
        of_name = {(market.exchange, market.symbol): market for market in sandbox.markets}
        names = [(exchange, symbol) for exchange, symbols in SCALE.symbols.items() for symbol in symbols]
        truths = [TruthOfMarket(of_name[name], start, end + DAY) for name in names]
        plant_all(truths, [start + number * DAY for number in range(SCALE.days)], seed=11)
        connection.execute("select set_chunk_time_interval('ohlcv', %s)", (SCALE.chunk,))
        switch_archiving(connection, on=ARCHIVED_DATASETS)
        yield Month(sandbox, clock, connection, open_unlimited, tmp_path / "archive", truths, _periods(connection))


def _periods(connection: Connection) -> list[tuple[int, str, timedelta]]:
    """When the jobs compress: job, name of the period, and how long it is."""
    return connection.execute(
        "select job_id, key, (config ->> key)::interval from timescaledb_information.jobs "
        "cross join unnest(array['compress_after', 'after']) as key "
        "where coalesce(hypertable_schema, proc_schema) = current_schema() and config ? key"
    ).fetchall()


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_a_month_of_maintenance(month: Month, schema_url: str):
    began_s = time.monotonic()
    start = month.truths[0].start
    for number in range(SCALE.days):
        day = start + number * DAY
        month.fetch_day(day, day + DAY)
        month.maintain(day, day + DAY, is_archive_away=number in SCALE.away)
        assert dropped(month) == {name: month.expected_dropped(name) for name in SCALE.keep}
        _logger.info("day %d after %.0f s: %s", number, time.monotonic() - began_s, dict(month.spent_s))
    # The day that is not over.
    day, end = start + SCALE.days * DAY, ONE_MINUTE.floor(datetime.now(UTC))
    if day < end:
        month.fetch_day(day, end)
        month.maintain(day, end, is_archive_away=False)
    took_s = time.monotonic() - began_s

    check_findings(month)
    check_status(month)
    check_retention(month)
    check_compression(month)
    with MarketData.connect(schema_url, archive=month.root, cache_mb=0) as market:
        for truth in month.truths:
            check_rows(market, month, truth, end)
            check_rollups(month, truth, end)
    report(month, took_s)


def dropped(month: Month) -> dict[str, datetime | None]:
    """Before when what was dropped."""
    kept = {one.dataset: one.dropped_before for one in read_kept(month.connection)}
    return {name: kept[name] for name in SCALE.keep}


def check_findings(month: Month) -> None:
    """The reports tell of all that was planted and lasted, and of nothing else."""
    start, end = month.truths[0].start, month.truths[0].start + SCALE.days * DAY
    found: dict[tuple[str, str, str], list[Told]] = {}
    for exchange in month.exchanges:
        for one in read_quality(month.connection, exchange=exchange, start=start, end=end):
            told = found.setdefault((one.exchange, one.symbol, one.dataset), [])
            for finding in one.findings:
                detail = finding.detail if finding.kind in ("gap", "rejected") else None
                told.append((finding.kind, finding.start, finding.end, finding.count, detail))
    expected = {
        (*truth.name, dataset): list(truth.told(dataset))
        for truth in month.truths
        for dataset in ("ohlcv", "trade", "order_book")
        if truth.has_trades or dataset != "trade"
    }
    assert found.keys() == expected.keys()
    for series, told in found.items():
        assert sorted(told, key=str) == sorted(expected[series], key=str), series


def check_status(month: Month) -> None:
    """A status tells of the many rejected rows of the last 24 hours, and of nothing else."""
    status = read_status(month.connection)
    problems = find_problems(status, Limits(disk_free_share=0.0, disk_days=0.0))
    (many,) = [plant for truth in month.truths for plant in truth.plants if plant.kind is MANY_REJECTED]
    recent = sum(many.start + number * MINUTE >= status.read_at - DAY for number in range(many.kind.minutes))
    told = ("quarantine_rate", "bybit BTC/USDT 1m")
    # For some minutes of the day a part of them is older, and may be too few.
    found = [(one.kind, one.subject) for one in problems]
    assert found == ([told] if recent == many.kind.minutes or (recent and found) else []), problems
    assert {table.due for table in status.tables} == {0}
    assert all(one.lag_s is not None for one in status.series)


def check_retention(month: Month) -> None:
    """Nothing is left before the time that was dropped, everything after it, and all that is gone is archived."""
    start = month.truths[0].start
    for dataset, before in dropped(month).items():
        assert before is not None
        (first,) = month.connection.execute(
            "select min(range_start) from timescaledb_information.chunks "
            "where hypertable_schema = current_schema() and hypertable_name = %s",
            (dataset,),
        ).fetchall()[0]
        assert first == before
        (archived,) = month.connection.execute(
            "select archived from retention where dataset = %s", (dataset,)
        ).fetchall()[0]
        (gone,) = [(one.lower, one.upper) for one in archived]
        assert gone[0] <= start
        assert gone[1] == before
    assert {one.state for one in verify_archive(month.connection, month.root)} == {"sound"}


def savings(month: Month) -> dict[str, float]:
    """Which share of their bytes compression saves, of tables of which anything is compressed."""
    return {
        table: 1 - after / before
        for table in SCALE.keep
        for before, after in month.connection.execute(
            "select before_compression_total_bytes, after_compression_total_bytes "
            "from hypertable_compression_stats(%s)",
            (table,),
        )
        if before
    }


def check_compression(month: Month) -> None:
    saved = savings(month)
    assert saved["ohlcv"] > SCALE.saved
    assert saved["trade"] > SCALE.saved


def check_rows(market: MarketData, month: Month, truth: TruthOfMarket, end: datetime) -> None:
    """All rows of the month, of which retention has dropped a part, read as they were given."""
    window = (*truth.name, truth.start, end)
    price, lot = 10.0**truth.market.price_decimals, 10.0**truth.market.amount_decimals
    expected = truth.candles().loc[: end - timedelta(microseconds=1)] / [price, price, price, price, lot]
    candles = market.candles(*truth.name, "1m", truth.start, end)
    assert_same(candles[VALUES], expected)
    assert candles.attrs["archived"]
    if truth.has_trades:
        trades = truth.trades().loc[: end - timedelta(microseconds=1)]
        found = market.trades(*window)
        assert found["trade_id"].tolist() == trades["trade_id"].tolist()
        assert found["side"].tolist() == trades["side"].tolist()
        assert_same(found[["price", "amount"]], trades[["price", "amount"]] / [price, lot])
    day = truth.start
    while day < end:
        batch, _ = truth.books(day, min(day + DAY, end), SCALE.books_every)
        books = market.order_books(*truth.name, day, min(day + DAY, end), depth=BOOK_DEPTH)
        assert books.index.astype(np.int64).tolist() == batch.time_us.tolist()
        for name in ("bid_price", "bid_amount", "ask_price", "ask_amount"):
            levels = books[[f"{name}_{level}" for level in range(1, BOOK_DEPTH + 1)]].to_numpy().ravel()
            assert levels[~np.isnan(levels)].tolist() == getattr(batch, name).tolist()
        day += DAY


def check_rollups(month: Month, truth: TruthOfMarket, end: datetime) -> None:
    """All rollups, also of what has been dropped, are what pandas makes of the rows."""
    candles = truth.candles().loc[: end - timedelta(microseconds=1)]
    for name in ("5m", "15m", "1h", "4h", "1d"):
        expected = bars_of_candles(candles, timeframe(name).length)
        assert_same(read_rollup(month, truth, f"candle_{name}", expected), expected)
    if truth.has_trades:
        trades = truth.trades().loc[: end - timedelta(microseconds=1)]
        for name in ("1s", "1m"):
            expected = bars_of_trades(trades, timeframe(name).length)
            assert_same(read_rollup(month, truth, f"trade_candle_{name}", expected), expected)


def read_rollup(month: Month, truth: TruthOfMarket, rollup: str, like: pd.DataFrame) -> pd.DataFrame:
    """What is in a rollup, but for what came after the rows that are compared."""
    columns = [Identifier(str(name)) for name in like.columns]
    instrument = find_instrument(month.connection, *truth.name)
    rows = month.connection.execute(
        SQL("select time, {} from {} where instrument_id = %s and time <= %s order by 1").format(
            SQL(", ").join(columns), Identifier(rollup)
        ),
        (instrument.instrument_id, like.index[-1].to_pydatetime()),
    ).fetchall()
    return pd.DataFrame(
        [row[1:] for row in rows], index=pd.DatetimeIndex([row[0] for row in rows]), columns=like.columns
    )


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert pd.DatetimeIndex(found.index).tolist() == pd.DatetimeIndex(expected.index).tolist()
    for name in expected.columns:
        assert found[name].tolist() == expected[name].tolist(), name


def report(month: Month, took_s: float) -> None:
    """Tell what the month was."""
    counted = {
        table: month.connection.execute(SQL("select count(*) from {}").format(Identifier(table))).fetchall()[0][0]
        for table in SCALE.keep
    }
    files = list_archive(month.connection)
    told = [told for truth in month.truths for name in ("ohlcv", "trade", "order_book") for told in truth.told(name)]
    _logger.info(
        "%d days of %d markets in %.0f s (%s): %s rows stored, %d archived in %d files, %d requests, %d refused, "
        "%d findings, saved %s",
        SCALE.days,
        len(month.truths),
        took_s,
        ", ".join(f"{name} {seconds:.0f} s" for name, seconds in month.spent_s.items()),
        counted,
        sum(one.rows for one in files),
        len(files),
        len(month.sandbox.requests),
        month.refused,
        len(told),
        {name: f"{share:.1%}" for name, share in savings(month).items()},
    )
