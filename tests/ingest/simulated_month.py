"""A month that goes by in minutes: its clock, its faulty exchanges, and the maintenance of each of its days.

The database's clock can't be moved, so the month ends now: on each of its days the exchanges' clock stands where it
was then, and all periods (how long is kept, when is compressed) are longer by the day's age, so that the server's own
jobs do what they would have done that day.

Which faults are planted, and what is expected, is in `month`; what is looked at in the end, in `test_month_campaign`.
"""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from tapehouse.archive.archiving import archive_due
from tapehouse.errors import ExchangeError
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
from tapehouse.quality import report_quality
from tapehouse.sandbox import Fault, Sandbox
from tapehouse.status import check_storage
from tapehouse.store.agreement import compare_candles
from tapehouse.store.books import write_books
from tapehouse.store.connection import Connection, is_embedded
from tapehouse.store.features import refresh_features
from tapehouse.store.gaps import find_gaps
from tapehouse.store.instruments import ensure_book_series, find_instrument, list_any_series
from tapehouse.store.retention import change_kept
from tapehouse.store.rollups import refresh_rollups
from tapehouse.timeframe import timeframe, to_ms
from tests.ingest.conftest import OpenExchange
from tests.ingest.month import (
    DAY,
    TruthOfMarket,
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
            assert repair.failures() == {}

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
