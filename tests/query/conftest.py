"""Fixtures of the query tests: a reader, and instruments whose rows are written with plain SQL."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from psycopg.sql import SQL, Identifier
from psycopg.types.multirange import TimestamptzMultirange
from psycopg.types.range import TimestamptzRange

from tapehouse import MarketData
from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection, connect
from tapehouse.timeframe import timeframe

PRICE_DECIMALS = 2
AMOUNT_DECIMALS = 3
COLUMNS = ["open", "high", "low", "close", "volume"]


@dataclass(frozen=True)
class Tape:
    """One instrument of an exchange of its own; values are whole ticks and lots."""

    connection: Connection
    exchange: str
    symbol: str
    instrument_id: int

    def series_id(self, name: str) -> int:
        row = self.connection.execute(
            """
            insert into series (instrument_id, dataset, timeframe_s) values (%s, 'ohlcv', %s)
            on conflict (instrument_id, dataset, timeframe_s) do update set revision = series.revision
            returning series_id
            """,
            (self.instrument_id, timeframe(name).seconds),
        ).fetchone()
        assert row is not None
        return row[0]

    def cover(self, start: datetime, end: datetime, name: str = "1m") -> None:
        self.cover_all([(start, end)], name)

    def cover_all(self, ranges: Iterable[TimeRange], name: str = "1m") -> None:
        self.connection.execute(
            """
            insert into coverage (series_id, covered) values (%s, %s)
            on conflict (series_id) do update set covered = coverage.covered + excluded.covered
            """,
            (self.series_id(name), TimestamptzMultirange(TimestamptzRange(*one) for one in ranges)),
        )

    def insert(self, bars: pd.DataFrame, name: str = "1m") -> None:
        self.connection.execute(
            """
            insert into ohlcv
            select %s, %s, * from unnest(%s::timestamptz[], %s::float8[], %s::float8[], %s::float8[], %s::float8[],
                %s::float8[])
            on conflict (instrument_id, timeframe_s, time) do update
            set open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
                volume = excluded.volume
            """,
            (
                self.instrument_id,
                timeframe(name).seconds,
                [time.to_pydatetime() for time in bars.index],
                *(bars[column].tolist() for column in COLUMNS),
            ),
        )

    def write(self, bars: pd.DataFrame, name: str = "1m") -> None:
        """Insert bars and cover them from the first to the last."""
        self.insert(bars, name)
        self.cover(bars.index[0].to_pydatetime(), timeframe(name).close(bars.index[-1].to_pydatetime()), name)

    def mark_stale(self, start: datetime, end: datetime) -> None:
        self.connection.execute(
            "insert into stale_rollup (instrument_id, during) values (%s, tstzrange(%s, %s))",
            (self.instrument_id, start, end),
        )

    def delete_from(self, start: datetime) -> None:
        self.connection.execute(
            "delete from ohlcv where instrument_id = %s and time >= %s", (self.instrument_id, start)
        )

    def refresh_rollups(self, start: datetime, end: datetime) -> None:
        for rollup in ("candle_5m", "candle_15m", "candle_1h", "candle_4h", "candle_1d"):
            call = SQL("call refresh_continuous_aggregate({}, %s::timestamptz, %s::timestamptz, options => %s::jsonb)")
            # In one batch: the default is ten buckets at a time.
            self.connection.execute(call.format(rollup), (start, end, '{"buckets_per_batch": 100000}'))

    def rollup_closes(self, rollup: str) -> list[float]:
        statement = SQL("select close from {} where instrument_id = %s order by time").format(Identifier(rollup))
        return [close for (close,) in self.connection.execute(statement, (self.instrument_id,))]


@pytest.fixture(scope="session")
def quiet_url(store_url: str) -> str:
    """The migrated database; its retention, which a native server runs by itself, is off and has dropped nothing."""
    with connect(store_url) as connection:
        connection.execute(
            """
            select alter_job(job_id, scheduled => false)
            from timescaledb_information.jobs
            where proc_name = 'retain_ohlcv'
            """
        )
        connection.execute("delete from retention")
    return store_url


@pytest.fixture
def connection(quiet_url: str) -> Iterator[Connection]:
    with connect(quiet_url) as connection:
        yield connection


@pytest.fixture
def market(quiet_url: str) -> Iterator[MarketData]:
    with MarketData.connect(quiet_url) as market:
        yield market


@pytest.fixture
def make_tape(connection: Connection) -> Callable[..., Tape]:
    def make(symbol: str = "BTC/USDT", *, exchange: str | None = None) -> Tape:
        exchange = exchange or f"exchange-{uuid4().hex[:12]}"
        row = connection.execute(
            """
            insert into instrument
                (exchange, symbol, base, quote, kind, amount_unit, price_decimals, amount_decimals, active,
                    from_sandbox, raw)
            values (%s, %s, 'BTC', 'USDT', 'spot', 'base', %s, %s, true, false, '{}')
            returning instrument_id
            """,
            (exchange, symbol, PRICE_DECIMALS, AMOUNT_DECIMALS),
        ).fetchone()
        assert row is not None
        return Tape(connection, exchange, symbol, row[0])

    return make


@pytest.fixture
def tape(make_tape: Callable[..., Tape]) -> Tape:
    return make_tape()


def random_bars(start: datetime, count: int, *, step: timedelta = timedelta(minutes=1), seed: int = 0) -> pd.DataFrame:
    """Bars one after another in whole ticks and lots."""
    rng = np.random.default_rng(seed)
    opened = 6_000_000 + rng.integers(-400, 400, count).cumsum()
    closed = opened + rng.integers(-300, 300, count)
    bars = {
        "open": opened,
        "high": np.maximum(opened, closed) + rng.integers(0, 200, count),
        "low": np.minimum(opened, closed) - rng.integers(0, 200, count),
        "close": closed,
        "volume": rng.integers(0, 3_000_000, count),
    }
    index = pd.DatetimeIndex([start + number * step for number in range(count)])
    return pd.DataFrame(bars, index=index, dtype=np.float64)


def times(frame: pd.DataFrame) -> pd.DatetimeIndex:
    assert isinstance(frame.index, pd.DatetimeIndex)
    return frame.index


def in_units(bars: pd.DataFrame) -> pd.DataFrame:
    """The same bars at ordinary prices and amounts, as a reader should get them."""
    units = bars[COLUMNS] / 10.0**PRICE_DECIMALS
    units["volume"] = bars["volume"] / 10.0**AMOUNT_DECIMALS
    units.index = times(units).as_unit("us").rename("time")
    return units


def pandas_resample(bars: pd.DataFrame, rule: str) -> pd.DataFrame:
    """Longer bars by pandas, in ticks and lots; bars of which there is nothing are left out."""
    grouped = bars.resample(rule, label="left", closed="left")
    return grouped.agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}).dropna()
