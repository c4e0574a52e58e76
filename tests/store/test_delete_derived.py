"""What is derived from deleted rows: rollups, trade candles and features of what is left, and their readers."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tapehouse import MarketData
from tapehouse.features.imbalance import SecondsOfBooks
from tapehouse.instrument import Instrument
from tapehouse.store import delete, features
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection, connect, is_embedded
from tapehouse.store.delete import Deletion, delete_rows
from tapehouse.store.feature_sources import read_seconds_of_books
from tapehouse.store.features import refresh_features
from tapehouse.store.instruments import (
    ensure_book_series,
    ensure_candle_series,
    ensure_trade_series,
)
from tapehouse.store.rollups import refresh_rollups
from tapehouse.timeframe import timeframe
from tests.store.conftest import InstrumentFactory, SeriesFactory, TradeSeriesFactory, candles
from tests.store.test_delete import at, facts
from tests.store.test_features import (
    Row,
    assert_recomputed,
    mark_stale,
    recomputed_imbalances,
    sparse,
    write_random_books,
    write_random_trades,
)
from tests.store.test_features import at as feature_time
from tests.store.test_features import stored as stored_features
from tests.store.test_rollups import LEVELS, assert_rollups_equal, frame, random_candles, read_rollup, recomputed
from tests.store.test_rollups import write as write_batch_of
from tests.store.test_write_candles import closes
from tests.store.test_write_trades import minutes
from tests.store.test_write_trades import stored as stored_trades
from tests.store.test_write_trades import write as write_trades

START = datetime(2025, 5, 1, tzinfo=UTC)


@pytest.fixture
def by_tens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deletions of ten rows a transaction."""
    monkeypatch.setattr(delete, "_ROWS_A_STEP", 10)


def compress(connection: Connection, table: str) -> None:
    connection.execute(
        "select compress_chunk(format('%%I.%%I', chunk_schema, chunk_name)::regclass, if_not_compressed => true) "
        "from timescaledb_information.chunks where hypertable_name = %s",
        (table,),
    )


@pytest.mark.usefixtures("by_tens")
@pytest.mark.parametrize("compressed", [False, True], ids=["as written", "compressed"])
def test_rollups_equal_a_recomputation_of_what_is_left(
    connection: Connection, make_series: SeriesFactory, compressed: bool
):
    deleted_from, deleted_to = datetime(2025, 5, 5, 10, 7, tzinfo=UTC), datetime(2025, 5, 5, 11, 31, tzinfo=UTC)
    series, other = make_series(), make_series()
    batch = random_candles(datetime(2025, 5, 4, 15, 33, tzinfo=UTC), 3000, seed=2, keep=0.9)
    for one in (series, other):
        write_batch_of(connection, one, batch)
    refresh_rollups(connection)
    if compressed:
        compress(connection, "ohlcv")

    delete_rows(connection, series, deleted_from, deleted_to)
    refresh_rollups(connection)

    base = frame(batch)
    left = base[(base.index < deleted_from) | (base.index >= deleted_to)]
    assert_rollups_equal(connection, series, left)
    assert_rollups_equal(connection, other, base)
    assert facts(connection, series)["rows"] == len(left)


@pytest.mark.usefixtures("by_tens")
def test_a_whole_series_leaves_nothing_but_itself(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    write_batch_of(connection, series, random_candles(at(0), 3000, seed=3, keep=0.01))
    hours = ensure_candle_series(connection, series.instrument, timeframe("1h"))
    write_candles(connection, hours, candles(START, [1.0], step_s=3600), asked=[(START, at(60))], covered=[])
    refresh_rollups(connection)

    delete_rows(connection, series)
    refresh_rollups(connection)

    after = facts(connection, series)
    assert (after["covered"], after["rows"]) == ([], 0)
    assert all(read_rollup(connection, series, level).empty for level in LEVELS)
    assert len(closes(connection, hours)) == 1


def test_readers_are_shown_the_gap_before_and_after_the_refresh(
    connection: Connection, store_url: str, make_series: SeriesFactory
):
    series = make_series()
    write_batch_of(connection, series, random_candles(START, 3 * 1440, seed=4))
    refresh_rollups(connection)
    delete_rows(connection, series, at(120), at(180))
    with MarketData.connect(store_url) as market:
        asked = (series.instrument.exchange, "BTC/USDT", "1h", START, at(300))
        before = market.candles(*asked)
        refresh_rollups(connection)
        after = market.candles(*asked)
    for answer in (before, after):
        assert list(answer.index) == [at(0), at(60), at(180), at(240)]
        assert answer.attrs["gaps"] == [[at(120).isoformat(), at(180).isoformat()]]


@pytest.mark.usefixtures("by_tens")
def test_trades_their_candles_and_features_go(connection: Connection, make_trade_series: TradeSeriesFactory):
    series = make_trade_series()
    rows = [(second * 1000, second, 10.0 + second, 1.0, 1) for second in range(180)]
    write_trades(connection, series, *rows, until=180_000)
    refresh_rollups(connection)

    deletion = delete_rows(connection, series, at(1), at(2))
    refresh_rollups(connection)

    assert deletion is not None
    assert deletion.rows == 60
    assert len(stored_trades(connection, series)) == 120
    assert [row[0] for row in minutes(connection, series)] == [10.0, 130.0]
    assert facts(connection, series)["covered"] == [(at(0), at(1)), (at(2), at(3))]


@pytest.fixture
def watched(connection: Connection, make_instrument: InstrumentFactory) -> Instrument:
    """An instrument with books and trades whose features are computed."""
    made = make_instrument()
    write_random_books(connection, made, sparse(0, 95, seed=1, count=70), seed=2)
    write_random_trades(connection, made, sparse(0, 95, seed=3, count=60), seed=4)
    refresh_features(connection)
    return made


@pytest.mark.parametrize("dataset", ["trade", "order_book"])
def test_features_equal_a_recomputation_of_what_is_left(connection: Connection, watched: Instrument, dataset: str):
    ensure = {"trade": ensure_trade_series, "order_book": ensure_book_series}[dataset]
    series = ensure(connection, watched)
    rows = facts(connection, series)["rows"]

    deletion = delete_rows(connection, series, feature_time(20), feature_time(60))
    refresh_features(connection)

    assert deletion is not None
    assert deletion.rows > 0
    assert facts(connection, series)["rows"] == rows - deletion.rows
    assert_recomputed(connection, watched)


@pytest.fixture
def nothing_dropped(connection: Connection) -> Iterator[None]:
    """What a test says that retention has dropped is forgotten after it."""
    yield
    connection.execute("delete from retention")


@pytest.mark.usefixtures("nothing_dropped")
def test_rollups_that_retention_has_left_go_with_what_they_were_built_from(
    connection: Connection, make_series: SeriesFactory
):
    series, other = make_series(), make_series()
    start = datetime(2005, 1, 1, tzinfo=UTC)
    batch = random_candles(start, 3 * 1440, seed=7)
    for one in (series, other):
        write_batch_of(connection, one, batch)
    refresh_rollups(connection)
    compress(connection, "ohlcv")
    connection.execute('call retain_ohlcv(0, \'{"keep": "20 years"}\')')
    deleted_from, deleted_to = start + timedelta(hours=23, minutes=7), start + timedelta(hours=25)

    deletion = delete_rows(connection, series, deleted_from, deleted_to)
    refresh_rollups(connection)

    assert deletion == Deletion((deleted_from, deleted_to), 0, ((deleted_from, deleted_to),))
    for level in LEVELS:
        length = timeframe(level).length
        opened: list[datetime] = [time.to_pydatetime() for time in recomputed(frame(batch), level).index]
        whole = [time for time in opened if time + length <= deleted_from or time >= deleted_to]
        assert list(read_rollup(connection, series, level).index) == whole
    assert_rollups_equal(connection, other, frame(batch))

    delete_rows(connection, series)
    assert all(read_rollup(connection, series, level).empty for level in LEVELS)


def drop(connection: Connection, instrument: Instrument, dataset: str, before: datetime) -> None:
    """Drop rows as retention does, of that instrument alone."""
    connection.execute(
        f"delete from {dataset} where instrument_id = %s and time < %s",  # pyright: ignore[reportArgumentType] -- a literal of this file
        (instrument.instrument_id, before),
    )
    connection.execute("insert into retention values (%s, 0, %s)", (dataset, before))


def without(row: Row, prefix: str) -> Row | None:
    """An imbalance without the values of trades or of order books; None where none is left."""
    left = {name: math.nan if name.startswith(prefix) else value for name, value in row.items()}
    return None if all(math.isnan(value) for value in left.values()) else left


@pytest.mark.usefixtures("nothing_dropped")
def test_trade_imbalances_that_retention_has_left_go_with_what_they_were_computed_from(
    connection: Connection, watched: Instrument
):
    books, before = (stored_features(connection, watched, table) for table in ("order_book_1s", "imbalance"))
    drop(connection, watched, "trade", feature_time(500))

    delete_rows(connection, ensure_trade_series(connection, watched), feature_time(20), feature_time(29))
    refresh_features(connection)

    assert stored_features(connection, watched, "order_book_1s") == books
    # The window of second 88 begins with second 29.
    touched = {time for time in before if feature_time(20) <= time < feature_time(88)}
    left = {time: without(row, "trade") if time in touched else row for time, row in before.items()}
    np.testing.assert_equal(
        stored_features(connection, watched, "imbalance"), {time: row for time, row in left.items() if row is not None}
    )


@pytest.mark.usefixtures("nothing_dropped")
def test_book_features_that_retention_has_left_go_with_what_they_were_computed_from(
    connection: Connection, watched: Instrument
):
    books = stored_features(connection, watched, "order_book_1s")
    deleted = {time for time in books if feature_time(20) <= time < feature_time(30)}
    assert deleted
    connection.execute(
        "delete from order_book where instrument_id = %s and time >= %s and time < %s",
        (watched.instrument_id, feature_time(20), feature_time(30)),
    )
    expected = recomputed_imbalances(connection, watched)
    drop(connection, watched, "order_book", feature_time(500))

    delete_rows(connection, ensure_book_series(connection, watched), feature_time(20), feature_time(30))
    refresh_features(connection)

    left = stored_features(connection, watched, "order_book_1s")
    assert left == {time: row for time, row in books.items() if time not in deleted}
    assert_imbalances(connection, watched, expected)


def assert_imbalances(connection: Connection, instrument: Instrument, expected: dict[datetime, Row]) -> None:
    found = stored_features(connection, instrument, "imbalance")
    assert sorted(found) == sorted(expected)
    for time, row in expected.items():
        assert found[time] == pytest.approx(row, rel=1e-13, abs=1e-13, nan_ok=True), time


@pytest.mark.usefixtures("nothing_dropped", "by_tens")
def test_imbalances_of_books_kept_longer_than_trades_go_with_them(
    connection: Connection, make_instrument: InstrumentFactory
):
    instrument = make_instrument()
    write_random_books(connection, instrument, sparse(0, 95, seed=1, count=70), seed=2)
    refresh_features(connection)
    drop(connection, instrument, "trade", feature_time(500))

    delete_rows(connection, ensure_book_series(connection, instrument))
    refresh_features(connection)

    assert stored_features(connection, instrument, "order_book_1s") == {}
    assert stored_features(connection, instrument, "imbalance") == {}


@pytest.mark.usefixtures("nothing_dropped")
@pytest.mark.parametrize(("deleted_from", "deleted_to"), [(25, 200), (25, 40), (70, 85)])
def test_trade_imbalances_right_behind_what_retention_has_dropped_go_with_them(
    connection: Connection, watched: Instrument, deleted_from: int, deleted_to: int
):
    before = stored_features(connection, watched, "imbalance")
    drop(connection, watched, "trade", feature_time(20))

    delete_rows(
        connection, ensure_trade_series(connection, watched), feature_time(deleted_from), feature_time(deleted_to)
    )
    refresh_features(connection)

    now = stored_features(connection, watched, "imbalance")
    recomputed = recomputed_imbalances(connection, watched)
    # Refreshes compute second 79 and later ones: their windows begin with second 20.
    for second in before:
        is_touched = feature_time(deleted_from) <= second < feature_time(deleted_to + 59)
        if second >= feature_time(79):
            expected = recomputed.get(second)
        else:
            expected = without(before[second], "trade") if is_touched else before[second]
        assert now.get(second) == (expected and pytest.approx(expected, rel=1e-13, abs=1e-13, nan_ok=True)), second
    assert now.keys() <= before.keys()


@pytest.mark.usefixtures("nothing_dropped")
def test_deleting_seconds_without_rows_takes_no_imbalances(connection: Connection, make_instrument: InstrumentFactory):
    instrument = make_instrument()
    write_random_books(connection, instrument, [*range(10), *range(40, 50)], seed=2)
    write_random_trades(connection, instrument, [*range(10), *range(40, 50)], seed=4)
    refresh_features(connection)
    before = stored_features(connection, instrument, "imbalance")
    connection.execute("insert into retention values ('trade', 0, %s)", (feature_time(0),))

    for series in (ensure_trade_series(connection, instrument), ensure_book_series(connection, instrument)):
        delete_rows(connection, series, feature_time(20), feature_time(30))

    assert stored_features(connection, instrument, "imbalance") == before


@pytest.mark.usefixtures("nothing_dropped")
def test_what_a_refresh_wrote_back_during_a_deletion_goes_with_the_next_one(
    connection: Connection, watched: Instrument, store_url: str, monkeypatch: pytest.MonkeyPatch
):
    if is_embedded(connection):
        pytest.skip("the embedded database lets nobody write while a transaction is open")
    connection.execute(
        "delete from order_book where instrument_id = %s and time >= %s and time < %s",
        (watched.instrument_id, feature_time(20), feature_time(30)),
    )
    expected = recomputed_imbalances(connection, watched)
    drop(connection, watched, "order_book", feature_time(500))
    mark_stale(connection, watched, feature_time(0), feature_time(95))

    def after_a_deletion(*asked: Any) -> SecondsOfBooks:
        books = read_seconds_of_books(*asked)
        with connect(store_url) as other:
            delete_rows(other, ensure_book_series(other, watched), feature_time(20), feature_time(30))
        return books

    monkeypatch.setattr(features, "read_seconds_of_books", after_a_deletion)
    refresh_features(connection)
    monkeypatch.undo()
    refresh_features(connection)

    assert_imbalances(connection, watched, expected)


def test_what_was_found_of_deleted_days_goes(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    write_batch_of(connection, series, random_candles(START, 3 * 1440, seed=5))
    connection.execute(
        "insert into candle_agreement select %s, day, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 "
        "from generate_series(%s, %s, interval '1 day') as day",
        (series.instrument.instrument_id, START, at(2 * 1440)),
    )

    delete_rows(connection, series, at(1440), at(1440 + 60))

    days = connection.execute(
        "select day from candle_agreement where instrument_id = %s order by 1", (series.instrument.instrument_id,)
    ).fetchall()
    assert days == [(START,), (at(2 * 1440),)]
