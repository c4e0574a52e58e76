"""Stores of these tests' own, since a status is of a whole store: schemas of the database that the store tests use."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tapehouse.instrument import Instrument
from tapehouse.ranges import TimeRange
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection, connect
from tapehouse.store.features import refresh_features
from tapehouse.store.instruments import CandleSeries, ensure_candle_series
from tapehouse.store.ledger import record_asked, record_wanted
from tapehouse.store.migrate import migrate
from tapehouse.store.rollups import refresh_rollups
from tapehouse.timeframe import timeframe
from tests.listings import stored_instrument
from tests.store.conftest import candles

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@contextmanager
def new_store(server_url: str) -> Generator[str]:
    """The URL of a store in which nothing is stored, that lives as long as the block."""
    schema = f"status_{uuid4().hex[:12]}"
    url = make_conninfo(server_url, options=f"-c search_path={schema},public")
    with connect(server_url) as connection:
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
    with connect(url) as connection:
        # Its own ledger of migrations, so that the one of schema public is out of sight.
        migrate(connection, [])
        migrate(connection)
    yield url
    with connect(server_url) as connection:
        # The server's own jobs may be looking at the tables just now.
        for _ in range(10):
            with suppress(psycopg.errors.DeadlockDetected):
                connection.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))
                break


@pytest.fixture
def empty(server_url: str) -> Iterator[Connection]:
    """A store that a test may do with what it likes."""
    with new_store(server_url) as url, connect(url) as connection:
        yield connection


@pytest.fixture(scope="module")
def sound_url(server_url: str) -> Iterator[str]:
    """A store that nothing is wrong with."""
    with new_store(server_url) as url:
        with connect(url) as connection:
            fill(connection)
        yield url


@pytest.fixture
def sound(sound_url: str) -> Iterator[Connection]:
    """That store, in a transaction that is rolled back."""
    with connect(sound_url) as connection, connection.transaction(force_rollback=True):
        yield connection


def fill(connection: Connection) -> None:
    """A market's minutes of the last days, kept up to date once a minute until now."""
    series = make_series(connection)
    until = timeframe("1m").floor(datetime.now(UTC))
    write(connection, series, (until - 3 * DAY, until))
    follow(connection, series, every=MINUTE)
    refresh_rollups(connection)
    refresh_features(connection)


def make_instrument(connection: Connection, symbol: str = "BTC/USDT", exchange: str | None = None) -> Instrument:
    """An instrument, of an exchange of its own if none is named."""
    return stored_instrument(connection, symbol=symbol, **({} if exchange is None else {"exchange": exchange}))


def make_series(connection: Connection, timeframe_name: str = "1m") -> CandleSeries:
    """Candles of an instrument of its own."""
    return ensure_candle_series(connection, make_instrument(connection), timeframe(timeframe_name))


def write(connection: Connection, series: CandleSeries, *spans: TimeRange) -> None:
    """A candle in each bar of the spans, which were wanted from the first to the last."""
    record_wanted(connection, series, (spans[0][0], spans[-1][1]))
    for start, end in spans:
        count = series.timeframe.count(start, end)
        closes = [100.0 + number % 7 for number in range(count)]
        batch = candles(start, closes, step_s=series.timeframe.seconds)
        write_candles(connection, series, batch, asked=[(start, end)], covered=[(start, end)])


def follow(connection: Connection, series: CandleSeries, *, every: timedelta, last: timedelta = timedelta(0)) -> None:
    """Let runs have brought the series up to date twice, the last time so long ago."""
    record_asked(connection, series)
    record_asked(connection, series)
    connection.execute(
        "update series set asked_at = now() - %(last)s, asked_before = now() - %(last)s - %(every)s "
        "where series_id = %(series_id)s",
        {"last": last, "every": every, "series_id": series.series_id},
    )
