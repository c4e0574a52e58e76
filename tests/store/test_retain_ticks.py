"""The job that drops old trades and snapshots. What it drops may be other tests' data, so all of it is undone."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import numpy as np
import psycopg
import pytest
from psycopg.errors import LockNotAvailable
from psycopg.types.json import Jsonb
from psycopg.types.range import TimestamptzRange

from tapehouse.book import BookBatch
from tapehouse.errors import BeyondRetention
from tapehouse.instrument import Instrument
from tapehouse.store.books import write_books
from tapehouse.store.connection import Connection, connect, is_embedded
from tapehouse.store.instruments import ensure_book_series, ensure_trade_series
from tapehouse.store.ledger import dropped_before
from tapehouse.store.trades import write_trades
from tapehouse.timeframe import timeframe, to_us
from tapehouse.trade import TradeBatch
from tests.store.conftest import InstrumentFactory

DAY = timeframe("1d")
Writer = Callable[[Connection, Instrument, datetime], None]


def write_trade(connection: Connection, instrument: Instrument, time: datetime) -> None:
    one, amount = np.array([1]), np.array([1.5])
    batch = TradeBatch(
        np.array([to_us(time)]), one, np.array([""]), np.array([10.5]), amount, np.array([1], dtype=np.int16)
    )
    window = [(time, time + timedelta(seconds=1))]
    write_trades(connection, ensure_trade_series(connection, instrument), batch, asked=window, covered=window)


def write_book(connection: Connection, instrument: Instrument, time: datetime) -> None:
    time_us, one, amount = np.array([to_us(time)]), np.array([1]), np.array([1.5])
    batch = BookBatch(time_us, time_us, one, one, one, np.array([99.5]), amount, np.array([100.5]), amount)
    window = [(time, time + timedelta(seconds=1))]
    write_books(connection, ensure_book_series(connection, instrument), batch, asked=window, covered=window)


WRITERS: dict[str, Writer] = {"trade": write_trade, "order_book": write_book}


@pytest.fixture
def undone(connection: Connection) -> Iterator[Connection]:
    """A transaction that is rolled back, in which nothing is noted as stale."""
    with connection.transaction():
        settle(connection)
        yield connection
        raise psycopg.Rollback


def days_ago(connection: Connection, days: float) -> datetime:
    return connection.execute("select now()").fetchall()[0][0] - timedelta(days=days)


def settle(connection: Connection) -> None:
    """Take it that what is derived from all rows was computed."""
    connection.execute("delete from stale_rollup")
    connection.execute("delete from stale_feature")


def retain(connection: Connection) -> None:
    """Run the job as it is set up."""
    ((job_id, config),) = connection.execute(
        "select job_id, config from timescaledb_information.jobs "
        "where proc_schema = current_schema() and proc_name = 'retain_ticks'"
    ).fetchall()
    connection.execute("call retain_ticks(%s, %s)", (job_id, Jsonb(config)))


def kept(connection: Connection, instrument: Instrument, dataset: str) -> list[datetime]:
    rows = connection.execute(
        f"select time from {dataset} where instrument_id = %s order by time",  # pyright: ignore[reportArgumentType] -- a literal of this file
        (instrument.instrument_id,),
    )
    return [time for (time,) in rows]


@pytest.mark.parametrize(("dataset", "keep_days"), [("trade", 90), ("order_book", 30)])
def test_chunks_older_than_is_kept_are_dropped_and_stay_so(
    undone: Connection, make_instrument: InstrumentFactory, dataset: str, keep_days: int
):
    instrument, write = make_instrument(), WRITERS[dataset]
    old, older = days_ago(undone, keep_days - 1), days_ago(undone, keep_days + 2)
    for time in (older, old):
        write(undone, instrument, time)
    settle(undone)
    retain(undone)
    assert kept(undone, instrument, dataset) == [old]
    ensure = {"trade": ensure_trade_series, "order_book": ensure_book_series}[dataset]
    # Chunks are days, and the one that holds the bound is kept.
    assert dropped_before(undone, ensure(undone, instrument)) in (
        DAY.ceil(older),
        DAY.floor(days_ago(undone, keep_days)),
    )
    with pytest.raises(BeyondRetention, match="Retention has dropped"):
        write(undone, instrument, older)


@pytest.mark.parametrize("dataset", WRITERS)
@pytest.mark.parametrize(
    ("note", "noted_dataset", "after"),
    [
        ("stale_rollup", "trade", timedelta(0)),
        ("stale_feature", "trade", timedelta(0)),
        ("stale_feature", "order_book", timedelta(0)),
        # A window of 60 s reaches back over a midnight, into the chunk before.
        ("stale_feature", "order_book", timedelta(days=1, seconds=59)),
    ],
)
def test_nothing_is_dropped_whose_candles_or_features_are_behind(
    undone: Connection,
    make_instrument: InstrumentFactory,
    dataset: str,
    note: str,
    noted_dataset: str,
    after: timedelta,
):
    instrument = make_instrument()
    time = DAY.floor(days_ago(undone, 200))
    WRITERS[dataset](undone, instrument, time)
    settle(undone)
    undone.execute(
        f"insert into {note} (instrument_id, dataset, during) values (%s, %s, %s)",  # pyright: ignore[reportArgumentType] -- a literal of this file
        (instrument.instrument_id, noted_dataset, TimestamptzRange(time + after, time + after + timedelta(seconds=1))),
    )
    retain(undone)
    # Candles are built from trades alone.
    is_needed = note == "stale_feature" or dataset == noted_dataset
    assert kept(undone, instrument, dataset) == ([time] if is_needed else [])


def test_what_is_kept_for_good_is_not_dropped(undone: Connection, make_instrument: InstrumentFactory):
    instrument, time = make_instrument(), days_ago(undone, 200)
    for write in WRITERS.values():
        write(undone, instrument, time)
    settle(undone)
    # What is behind would keep a horizon even without a period.
    undone.execute(
        "insert into stale_rollup (instrument_id, dataset, during) values (%s, 'trade', %s)",
        (instrument.instrument_id, TimestamptzRange(days_ago(undone, 2), days_ago(undone, 1))),
    )
    undone.execute("call retain_ticks(0, %s)", (Jsonb({"keep": {"trade": None, "order_book": "30 days"}}),))
    assert kept(undone, instrument, "trade") == [time]
    assert kept(undone, instrument, "order_book") == []


def test_writers_and_refreshes_wait_for_what_is_being_dropped(undone: Connection, store_url: str):
    if is_embedded(undone):
        pytest.skip("the embedded database runs one transaction at a time anyway")
    retain(undone)
    with connect(store_url) as other:
        for lock in (1919904876, 1717920116):
            assert other.execute("select pg_try_advisory_lock(%s)", (lock,)).fetchone() == (False,)
        with pytest.raises(LockNotAvailable), other.transaction():
            other.execute("lock table coverage in row share mode nowait")
