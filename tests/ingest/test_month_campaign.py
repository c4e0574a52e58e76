"""A month goes by in minutes: data of faulty exchanges comes day by day, and each day all maintenance is done.

The database's clock can't be moved, so the month ends now: on each of its days the exchanges' clock stands where it
was then, and all periods (how long is kept, when is compressed) are longer by the day's age, so that the server's own
jobs do what they would have done that day. A few days in every test run; thirty with `make campaign`.
"""

import asyncio
import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pytest
from psycopg.sql import SQL, Identifier

from tapehouse import MarketData
from tapehouse.archive.archiving import archive_due
from tapehouse.archive.verifying import verify_archive
from tapehouse.errors import ExchangeError, QualityError
from tapehouse.ingest import (
    CandleRequest,
    SeriesRequest,
    TradeRequest,
    due_by_exchange,
    ingest_series,
    open_series,
    repair_exchange,
    sync_instruments,
)
from tapehouse.quality import read_quality, report_quality
from tapehouse.sandbox import Fault, Sandbox, generated_markets
from tapehouse.status import Limits, check_storage, find_problems, read_status
from tapehouse.store.agreement import compare_candles
from tapehouse.store.archive import ARCHIVED_DATASETS, list_archive, switch_archiving
from tapehouse.store.books import write_books
from tapehouse.store.connection import Connection, connect, is_embedded
from tapehouse.store.features import refresh_features
from tapehouse.store.gaps import find_gaps
from tapehouse.store.instruments import ensure_book_series, find_instrument, list_any_series
from tapehouse.store.retention import change_kept, read_kept
from tapehouse.store.rollups import refresh_rollups
from tapehouse.timeframe import timeframe, to_ms
from tests.archive.conftest import own_schema
from tests.ingest.conftest import OpenExchange
from tests.ingest.month import (
    BOOK_DEPTH,
    CANDLE_PATHS,
    DAY,
    MANY_REJECTED,
    VALUES,
    Told,
    TruthOfMarket,
    bars_of_candles,
    bars_of_trades,
    plant_all,
)

IS_FULL: Final = os.environ.get("TAPEHOUSE_CAMPAIGN") == "full"
ONE_MINUTE: Final = timeframe("1m")
HOUR: Final = timedelta(hours=1)
# Kraken gives the last 720 candles, whatever is asked for.
FETCHED_EVERY: Final = timedelta(hours=8)
# What goes wrong all the time: answers that never come or are none, rows twice or in disorder.
NOISE: Final = (
    Fault("status", status=429, probability=0.02, seed=1),
    Fault("status", status=503, probability=0.02, seed=2),
    Fault("drop", probability=0.01, seed=3),
    Fault("html", probability=0.01, seed=4),
    Fault("broken_json", probability=0.01, seed=5),
    Fault("duplicate_rows", probability=0.1, seed=6, rows=5),
    Fault("unordered_rows", probability=0.1, seed=7, rows=5),
)
_logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scale:
    """How long the month is, which markets it has, and for how many days what is kept."""

    days: int
    symbols: Mapping[str, Sequence[str]]
    keep: Mapping[str, timedelta]
    chunk: timedelta
    books_every: timedelta
    # Periods after which the jobs compress, where theirs are longer.
    compressed_within: timedelta
    # What compression saves of candles and trades at least: of chunks of a day, less.
    saved: float
    # Days on which the archive's volume is away.
    away: range


SHORT: Final = Scale(
    days=3,
    symbols={"binance": ["BTC/USDT"], "kraken": ["BTC/USD"], "bybit": ["BTC/USDT"]},
    keep={"ohlcv": 2 * DAY, "trade": 2 * DAY, "order_book": DAY},
    chunk=DAY,
    books_every=timedelta(minutes=20),
    compressed_within=DAY,
    saved=0.7,
    away=range(0),
)
FULL: Final = Scale(
    days=30,
    symbols={
        "binance": ["BTC/USDT", "ETH/BTC", "SOL/USDT", "QUILL/USDT"],
        "kraken": ["BTC/USD", "BTC/EUR", "SOL/USD"],
        "bybit": ["BTC/USDT", "ETH/USDT", "QUILL/USDT"],
    },
    keep={"ohlcv": 20 * DAY, "trade": 10 * DAY, "order_book": 5 * DAY},
    chunk=5 * DAY,
    books_every=timedelta(minutes=30),
    compressed_within=30 * DAY,
    saved=0.8,
    # Longer than archiving is ahead of retention.
    away=range(18, 22),
)
SCALE: Final = FULL if IS_FULL else SHORT


class Clock:
    """The exchanges' clock, which goes on from where it is set."""

    def __init__(self) -> None:
        self.age = timedelta()

    def set(self, time: datetime) -> None:
        self.age = datetime.now(UTC) - time

    def now(self) -> datetime:
        return datetime.now(UTC) - self.age

    def now_ms(self) -> int:
        return to_ms(self.now())


@dataclass
class Month:
    """The month, as far as it has gone by."""

    sandbox: Sandbox
    clock: Clock
    connection: Connection
    open_exchange: OpenExchange
    root: Path
    truths: list[TruthOfMarket]
    # Each job's periods as they are set up.
    periods: list[tuple[int, str, timedelta]]
    lasting: list[Fault] = field(default_factory=list[Fault])
    archived_at: datetime | None = None
    refused: int = 0
    spent_s: dict[str, float] = field(default_factory=partial(defaultdict[str, float], float))

    def fetch_day(self, day: datetime, end: datetime) -> None:
        """Bring all series up to the end of the day, as it goes on."""
        plants = [plant for truth in self.truths for plant in truth.plants if day <= plant.start < end]
        planted = [plant for plant in plants if plant.kind.fault != "unsampled"]
        self._break_exchanges([plant.fault() for plant in planted])
        at = day
        while at < end:
            at = min(at + FETCHED_EVERY, end)
            self.clock.set(at)
            exchanges = self.exchanges if at == end else ["kraken"]
            self._timed("fetch", partial(asyncio.run, self._fetch(day, exchanges)))
        self._timed("sample", lambda: self._sample(day, end))
        # From now on only what lasts is wrong with the exchanges.
        self.lasting += [plant.fault() for plant in planted if plant.kind.lasts]
        self._break_exchanges([])

    @property
    def exchanges(self) -> list[str]:
        return list(dict.fromkeys(truth.market.exchange for truth in self.truths))

    def _break_exchanges(self, faults: Sequence[Fault]) -> None:
        self.sandbox.faults.clear()
        for fault in (*faults, *self.lasting, *NOISE):
            self.sandbox.faults.add(fault)

    async def _fetch(self, day: datetime, exchanges: Sequence[str]) -> None:
        for exchange_id in exchanges:
            async with self.open_exchange(exchange_id, self.sandbox.url) as exchange:
                for request in self._requests(exchange_id, day):
                    series = await open_series(exchange, self.connection, request)
                    try:
                        await ingest_series(exchange, self.connection, series, request.start)
                    except ExchangeError:
                        self.refused += 1

    def _requests(self, exchange_id: str, day: datetime) -> Iterator[SeriesRequest]:
        for truth in self.truths:
            if truth.market.exchange == exchange_id:
                yield CandleRequest(truth.market.symbol, ONE_MINUTE, day)
                if truth.has_trades:
                    yield TradeRequest(truth.market.symbol, day)

    def _sample(self, day: datetime, end: datetime) -> None:
        """Write the day's order books, which could only be sampled while it went on."""
        for truth in self.truths:
            series = ensure_book_series(self.connection, find_instrument(self.connection, *truth.name))
            batch, sampled = truth.books(day, end, SCALE.books_every)
            write_books(self.connection, series, batch, asked=[(day, end)], covered=sampled)

    def maintain(self, day: datetime, end: datetime, *, is_archive_away: bool) -> None:
        """What the schedules have done by the next day, in their order."""
        self.clock.set(max(end, min(end + HOUR, datetime.now(UTC))))
        self._pass_a_day()
        self._timed("refresh", self._refresh)
        self._timed("compare", lambda: compare_candles(self.connection, start=day, end=end))
        self._timed("repair", lambda: asyncio.run(self._repair(day, end)))
        self._timed("refresh", self._refresh)
        self._timed("quality", lambda: report_quality(self.connection, start=day, end=end))
        self._lengthen_periods()
        if not is_archive_away:
            self._timed("archive", self._archive)
        self._timed("storage", self._check_storage)
        self._timed("sync", lambda: asyncio.run(self._sync()))

    def _timed(self, name: str, what: Callable[[], object]) -> None:
        began_s = time.perf_counter()
        what()
        self.spent_s[name] += time.perf_counter() - began_s

    def _pass_a_day(self) -> None:
        """What the ledgers note of the database's clock was a day ago."""
        self.connection.execute("update unavailable set next_try_at = next_try_at - interval '1 day'")
        self.connection.execute("update job_run set started_at = started_at - interval '1 day'")

    def _refresh(self) -> None:
        refresh_rollups(self.connection)
        refresh_features(self.connection)

    async def _repair(self, day: datetime, end: datetime) -> None:
        series = list_any_series(self.connection, ["ohlcv", "trade"])
        gaps = [gap for one in series for gap in find_gaps(self.connection, one, day, end)]  # pyright: ignore[reportArgumentType] -- no order books
        for exchange_id, its_gaps in due_by_exchange(gaps).items():
            repair = await repair_exchange(
                exchange_id,
                self.connection,
                its_gaps,
                open_exchange=lambda name: self.open_exchange(name, self.sandbox.url),
            )
            assert repair.error is None
            # Of a page with many bad rows a person is to be told.
            assert {type(error) for error in repair.failures().values()} <= {QualityError}

    async def _sync(self) -> None:
        for exchange_id in self.exchanges:
            async with self.open_exchange(exchange_id, self.sandbox.url) as exchange:
                assert (await sync_instruments(exchange, self.connection)).changes == ()

    def _archive(self) -> None:
        self.archived_at = self.clock.now()
        results = archive_due(self.connection, self.root)
        assert [one for one in results if one.status != "archived"] == []

    def _lengthen_periods(self) -> None:
        """Let the database's now be the month's: what is older than a period then is that old now."""
        age = self.clock.age
        change_kept(self.connection, {name: _interval(keep + age) for name, keep in SCALE.keep.items()})
        for job_id, key, period in self.periods:
            self.connection.execute(
                "select alter_job(job_id, config => config || jsonb_build_object(%s::text, %s::text)) "
                "from timescaledb_information.jobs where job_id = %s",
                (key, _interval(min(period, SCALE.compressed_within) + age), job_id),
            )

    def _check_storage(self) -> None:
        if not is_embedded(self.connection):
            # This server would run them by itself, but none is due in its time.
            jobs = self.connection.execute(
                "select job_id from timescaledb_information.jobs "
                "where coalesce(hypertable_schema, proc_schema) = current_schema() "
                "order by proc_name not like 'retain%', proc_name desc, job_id"
            ).fetchall()
            for (job_id,) in jobs:
                self.connection.execute("call run_job(%s)", (job_id,))
        check = check_storage(self.connection)
        assert [run for run in check.runs if run.error] == []

    def expected_dropped(self, dataset: str) -> datetime | None:
        """Before when retention has to have dropped everything: what is too old, and was archived in time."""
        chunk = SCALE.chunk if dataset == "ohlcv" else DAY
        assert self.archived_at is not None
        old = min(self.clock.now(), self.archived_at + 2 * DAY) - SCALE.keep[dataset]
        horizon = old - (old - datetime(1970, 1, 1, tzinfo=UTC)) % chunk
        return horizon if horizon > self.truths[0].start else None


def _interval(span: timedelta) -> str:
    return f"{span.total_seconds():.0f} seconds"


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
    expected = [("quarantine_rate", "bybit BTC/USDT 1m")] if status.read_at - many.start < DAY else []
    assert [(one.kind, one.subject) for one in problems] == expected, problems
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
    assert found.index.as_unit("us").tolist() == expected.index.as_unit("us").tolist()
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
