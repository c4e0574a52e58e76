"""The counts of a series' rows and rejects: whatever writes or removes rows keeps them equal to count(*)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapehouse.candle import Reject
from tapehouse.errors import StoreError
from tapehouse.instrument import Instrument
from tapehouse.ranges import TimeRange
from tapehouse.store.books import write_books
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import ensure_book_series, ensure_candle_series, ensure_trade_series
from tapehouse.store.trades import write_trades
from tapehouse.timeframe import timeframe
from tests.store.conftest import InstrumentFactory, candles
from tests.store.test_write_books import books
from tests.store.test_write_trades import trades

START = datetime(2025, 5, 1, tzinfo=UTC)
DATASETS = ("ohlcv", "trade", "order_book")

# Rows and rejects of an instrument's series, by dataset and timeframe.
Counts = dict[tuple[str, int], tuple[int, int]]


@dataclass(frozen=True)
class Write:
    """A write of rows a minute apart, with numbers, if any, of which rows are rejected instead."""

    dataset: str
    first: int
    prices: Sequence[float]
    rejected: frozenset[int] = frozenset()
    texts: bool = False

    def into(self, connection: Connection, instrument: Instrument, *, start: datetime = START) -> None:
        time = start + timedelta(minutes=self.first)
        asked = [(time, time + timedelta(minutes=len(self.prices) + 1))]
        good = [n for n in range(len(self.prices)) if n not in self.rejected]
        covered: list[TimeRange] = [
            (time + timedelta(minutes=n), time + timedelta(minutes=n + 1))
            for n in [*good, len(self.prices)]  # The last minute is known to be empty.
        ]
        rejects = [
            Reject(time + timedelta(minutes=n), ("price_not_positive",), [n, -self.prices[n]])
            for n in sorted(self.rejected)
            if n < len(self.prices)
        ]
        kept = np.array(good, dtype=np.int64)
        match self.dataset:
            case "ohlcv":
                series = ensure_candle_series(connection, instrument, timeframe("1m"))
                batch = candles(time, list(self.prices))
                batch = batch.take(np.isin(np.arange(len(batch)), kept))
                write_candles(connection, series, batch, asked=asked, covered=covered, rejected=rejects)
            case "trade":
                offset_ms = (time - datetime(2025, 5, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
                rows = [
                    (offset_ms + 60_000 * n, f"id{n}" if self.texts else n + 1, self.prices[n], 1.5, 1) for n in good
                ]
                series = ensure_trade_series(connection, instrument)
                write_trades(connection, series, trades(*rows), asked=asked, covered=covered, rejected=rejects)
            case _:
                offset_s = (time - datetime(2025, 5, 1, tzinfo=UTC)).total_seconds()
                snapshots = [(offset_s + 60 * n, [(self.prices[n], 1.0)], [(self.prices[n] + 1, 1.0)]) for n in good]
                series = ensure_book_series(connection, instrument)
                batch = books(*snapshots)
                write_books(connection, series, batch, asked=asked, covered=covered, rejected=rejects)


def kept_counts(connection: Connection, *instruments: Instrument) -> Counts:
    rows = connection.execute(
        "select dataset, timeframe_s, sum(rows)::int, sum(rejected)::int from series join coverage using (series_id) "
        "where instrument_id = any(%s) group by 1, 2",
        ([one.instrument_id for one in instruments],),
    )
    return {(dataset, seconds): (stored, rejected) for dataset, seconds, stored, rejected in rows}


def true_counts(connection: Connection, *instruments: Instrument) -> Counts:
    """Of every series that was ever written, counted row by row."""
    ids = [one.instrument_id for one in instruments]
    counts: Counts = {}
    for dataset, seconds in connection.execute(
        "select distinct dataset, timeframe_s from series where instrument_id = any(%s)", (ids,)
    ).fetchall():
        of_timeframe = "and timeframe_s = %(seconds)s" if dataset == "ohlcv" else ""
        parameters = {"ids": ids, "seconds": seconds, "dataset": dataset}
        ((rows,),) = connection.execute(
            f"select count(*) from {dataset} where instrument_id = any(%(ids)s) {of_timeframe}",  # pyright: ignore[reportArgumentType] -- literals of this file
            parameters,
        ).fetchall()
        ((rejected,),) = connection.execute(
            "select count(*) from quarantine join series using (series_id) where instrument_id = any(%(ids)s) "
            "and dataset = %(dataset)s and timeframe_s = %(seconds)s",
            parameters,
        ).fetchall()
        counts[dataset, seconds] = (rows, rejected)
    return counts


writes = st.builds(
    Write,
    dataset=st.sampled_from(DATASETS),
    first=st.integers(0, 12),
    # Some need more decimals than the instrument has, some more than any scale holds.
    prices=st.lists(st.sampled_from([100.0, 101.5, 102.123456, 1.5e15, 0.1 + 0.2]), max_size=6),
    rejected=st.frozensets(st.integers(0, 5), max_size=3),
    texts=st.booleans(),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(done=st.lists(writes, min_size=1, max_size=6))
def test_counts_are_those_of_the_rows_after_any_writes(
    connection: Connection, make_instrument: InstrumentFactory, done: list[Write]
):
    instrument = make_instrument()
    for write in done:
        write.into(connection, instrument)
        assert kept_counts(connection, instrument) == true_counts(connection, instrument)


@pytest.mark.parametrize("dataset", DATASETS)
def test_each_kind_of_write_counts_what_is_new(
    connection: Connection, make_instrument: InstrumentFactory, dataset: str
):
    instrument = make_instrument()
    key = (dataset, 60 if dataset == "ohlcv" else 0)
    steps = [
        (Write(dataset, 0, [100.0, 101.0, 102.0]), (3, 0)),
        (Write(dataset, 0, [100.0, 101.0, 102.0]), (3, 0)),
        (Write(dataset, 1, [101.0, 107.0]), (3, 0)) if dataset != "trade" else (Write(dataset, 0, [90.0]), (3, 0)),
        (Write(dataset, 20, [100.0, 101.0, 102.0], frozenset({1})), (5, 1)),
        (Write(dataset, 20, [100.0, 101.0, 102.0], frozenset({1})), (5, 1)),
        (Write(dataset, 30, []), (5, 1)),
        (Write(dataset, 10, [100.123456]), (6, 1)),
        # What needs 2^53 ticks or more joins the rejected.
        (Write(dataset, 40, [1.5e15, 50.0]), (7, 2)),
    ]
    for write, expected in steps:
        write.into(connection, instrument)
        assert kept_counts(connection, instrument)[key] == expected
        assert true_counts(connection, instrument)[key] == expected


@pytest.mark.parametrize("dataset", DATASETS)
def test_rows_among_compressed_ones_are_counted(
    connection: Connection, make_instrument: InstrumentFactory, dataset: str
):
    instrument = make_instrument()
    Write(dataset, 0, [100.0, 101.0, 102.0, 103.0], frozenset({1, 2})).into(connection, instrument)
    connection.execute(
        "select compress_chunk(c, if_not_compressed => true) from show_chunks(%s::regclass) c", (dataset,)
    )
    Write(dataset, 0, [100.0, 101.0, 99.0, 98.0]).into(connection, instrument)
    assert kept_counts(connection, instrument) == true_counts(connection, instrument)
    assert set(kept_counts(connection, instrument).values()) == {(4, 2)}


def test_a_write_that_fails_counts_nothing(connection: Connection, make_instrument: InstrumentFactory):
    instrument = make_instrument()
    Write("ohlcv", 0, [100.0]).into(connection, instrument)
    series = ensure_candle_series(connection, instrument, timeframe("1m"))
    window = [(START, START + timedelta(hours=1))]
    twice = candles(START + timedelta(minutes=30), [100.0, 101.0], step_s=0)
    with pytest.raises(StoreError):
        write_candles(connection, series, twice, asked=window, covered=window, rejected=[Reject(START, ("x",), [1])])
    assert kept_counts(connection, instrument) == true_counts(connection, instrument) == {("ohlcv", 60): (1, 0)}


@pytest.fixture
def undone(connection: Connection) -> Iterator[Connection]:
    """A transaction that is rolled back, for what looks at other tests' rows, too."""
    with connection.transaction():
        yield connection
        raise psycopg.Rollback


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
def test_retention_takes_what_it_drops_off_the_counts(
    undone: Connection, make_instrument: InstrumentFactory, compressed: bool
):
    old = datetime(2005, 1, 3, tzinfo=UTC)
    instruments = [make_instrument(), make_instrument()]
    hours = [ensure_candle_series(undone, one, timeframe("1h")) for one in instruments]
    for number, instrument in enumerate(instruments):
        for dataset in DATASETS:
            Write(dataset, 0, [100.0] * (3 + number), frozenset({0})).into(undone, instrument, start=old)
            Write(dataset, 0, [100.0] * 5).into(undone, instrument)
        window = [(old, old + timedelta(hours=2))]
        write_candles(undone, hours[number], candles(old, [1.0, 2.0], step_s=3600), asked=window, covered=window)
    assert kept_counts(undone, *instruments)["ohlcv", 60] == (2 + 3 + 5 + 5, 2)
    if compressed:
        for dataset in DATASETS:
            undone.execute(
                "select compress_chunk(c, if_not_compressed => true) "
                "from show_chunks(%s::regclass, older_than => '2006-01-01'::timestamptz) c",
                (dataset,),
            )
    undone.execute("delete from stale_rollup")
    undone.execute("delete from stale_feature")
    undone.execute("""call retain_ohlcv(0, '{"keep": "15 years"}')""")
    undone.execute("""call retain_ticks(0, '{"keep": {"trade": "15 years", "order_book": "15 years"}}')""")
    expected = {
        **{(dataset, 60 if dataset == "ohlcv" else 0): (10, 2) for dataset in DATASETS},
        ("ohlcv", 3600): (4, 0),
    }
    assert kept_counts(undone, *instruments) == true_counts(undone, *instruments) == expected


def test_rows_changed_by_hand_can_be_counted_anew(connection: Connection, make_instrument: InstrumentFactory):
    instrument = make_instrument()
    for dataset in DATASETS:
        Write(dataset, 0, [100.0, 101.0, 102.0, 103.0], frozenset({0})).into(connection, instrument)
        connection.execute(
            f"delete from {dataset} where instrument_id = %s and time > %s",  # pyright: ignore[reportArgumentType] -- literals of this file
            (instrument.instrument_id, START + timedelta(minutes=1)),
        )
    connection.execute(
        "delete from quarantine where series_id in (select series_id from series where dataset = 'trade')"
    )
    assert kept_counts(connection, instrument) != true_counts(connection, instrument)
    connection.execute("call count_stored_rows()")
    assert kept_counts(connection, instrument) == true_counts(connection, instrument)
