"""How long rows are kept. What a run of retention drops may be other tests' data, so all of it is undone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb

from tapehouse.errors import BeyondRetention, InputError
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import CandleSeries, Series, ensure_candle_series, ensure_trade_series
from tapehouse.store.retention import Kept, change_kept, read_kept, require_kept
from tapehouse.timeframe import timeframe
from tests.store.conftest import InstrumentFactory, candles
from tests.store.test_retain_ticks import settle

DAY = timedelta(days=1)
# What sql/migrations set up.
USUAL = {
    "ohlcv": "2 years",
    "trade": "90 days",
    "order_book": "30 days",
    "order_book_1s": "1 year",
    "imbalance": "1 year",
}


@pytest.fixture
def undone(connection: Connection) -> Iterator[Connection]:
    """A transaction that is rolled back, in which retention is as in a new database and nothing is noted as stale."""
    with connection.transaction():
        settle(connection)
        connection.execute("delete from retention")
        change_kept(connection, USUAL)
        yield connection
        raise psycopg.Rollback


def kept(connection: Connection, dataset: str) -> Kept:
    return next(one for one in read_kept(connection) if one.dataset == dataset)


def now(connection: Connection) -> datetime:
    return connection.execute("select now()").fetchall()[0][0]


def since(connection: Connection, dataset: str) -> datetime:
    found = kept(connection, dataset).kept_since
    assert found is not None
    return found


def retain_candles(connection: Connection) -> None:
    """Run the job as it is set up."""
    ((job_id, config),) = connection.execute(
        "select job_id, config from timescaledb_information.jobs "
        "where proc_schema = current_schema() and proc_name = 'retain_ohlcv'"
    ).fetchall()
    connection.execute("call retain_ohlcv(%s, %s)", (job_id, Jsonb(config)))


def retain_features(connection: Connection) -> None:
    """Run the job as it is set up."""
    ((job_id, config),) = connection.execute(
        "select job_id, config from timescaledb_information.jobs "
        "where proc_schema = current_schema() and proc_name = 'retain_features'"
    ).fetchall()
    connection.execute("call retain_features(%s, %s)", (job_id, Jsonb(config)))


def insert_feature(connection: Connection, table: str, instrument_id: int, time: datetime) -> None:
    """A row in which every number is 1."""
    columns = connection.execute(SQL("select * from {} limit 0").format(Identifier(table)))
    numbers = len(columns.description or ()) - 2
    statement = SQL("insert into {} values (%s, %s, {})").format(
        Identifier(table), SQL(", ").join([SQL("1.0")] * numbers)
    )
    connection.execute(statement, (instrument_id, time))


def write_days(connection: Connection, series: CandleSeries, first: datetime, count: int) -> None:
    """A candle each noon of so many days."""
    for number in range(count):
        opened = first.replace(hour=12, minute=0, second=0, microsecond=0) + number * DAY
        window = [(opened, opened + timedelta(minutes=1))]
        write_candles(connection, series, candles(opened, [100.0]), asked=window, covered=window)
    settle(connection)


@pytest.fixture
def minutes(undone: Connection, make_instrument: InstrumentFactory) -> CandleSeries:
    return ensure_candle_series(undone, make_instrument(), timeframe("1m"))


def test_what_a_new_database_keeps(undone: Connection):
    found = read_kept(undone)
    assert {one.dataset: one.keep for one in found} == USUAL
    assert all(one.dropped_before is None for one in found)
    assert kept(undone, "trade").kept_since == (now(undone) - timedelta(days=90)).replace(
        hour=0, minute=0, second=0, microsecond=0
    )


def test_rows_are_kept_from_where_the_next_run_leaves_them(undone: Connection, minutes: CandleSeries):
    change_kept(undone, {"ohlcv": "100 days"})
    horizon = since(undone, "ohlcv")
    assert timedelta(0) <= now(undone) - 100 * DAY - horizon < 30 * DAY
    write_days(undone, minutes, horizon - 40 * DAY, 80)

    retain_candles(undone)

    ((first,),) = undone.execute(
        "select min(time) from ohlcv where instrument_id = %s", (minutes.instrument.instrument_id,)
    ).fetchall()
    assert first == horizon + DAY / 2
    assert kept(undone, "ohlcv").dropped_before == horizon


@pytest.mark.parametrize("dataset", ["order_book_1s", "imbalance"])
def test_features_are_kept_from_where_the_next_run_leaves_them(
    undone: Connection, make_instrument: InstrumentFactory, dataset: str
):
    instrument_id = make_instrument().instrument_id
    change_kept(undone, {dataset: "100 days"})
    horizon = since(undone, dataset)
    assert timedelta(0) <= now(undone) - 100 * DAY - horizon < 7 * DAY
    for time in (horizon - DAY, horizon, horizon + 30 * DAY):
        insert_feature(undone, dataset, instrument_id, time)

    retain_features(undone)

    rows = undone.execute(
        f"select time from {dataset} where instrument_id = %s order by time",  # pyright: ignore[reportArgumentType] -- a literal of this file
        (instrument_id,),
    ).fetchall()
    assert rows == [(horizon,), (horizon + 30 * DAY,)]
    assert kept(undone, dataset).dropped_before == horizon


@pytest.mark.parametrize("dataset", list(USUAL))
def test_a_dataset_can_be_kept_for_good_and_again_for_a_time(undone: Connection, dataset: str):
    others = [one for one in read_kept(undone) if one.dataset != dataset]

    change_kept(undone, {dataset: None})

    found = kept(undone, dataset)
    assert (found.keep, found.kept_since, found.next_run_at) == (None, None, None)
    assert [one for one in read_kept(undone) if one.dataset != dataset] == others
    assert change_kept(undone, {dataset: "3 years"}) == read_kept(undone)
    assert kept(undone, dataset).keep == "3 years"


def test_nothing_is_dropped_of_what_is_kept_for_good(undone: Connection, minutes: CandleSeries):
    write_days(undone, minutes, datetime(2001, 1, 1, tzinfo=UTC), 3)
    change_kept(undone, {"ohlcv": None})

    retain_candles(undone)

    rows = undone.execute(
        "select count(*) from ohlcv where instrument_id = %s", (minutes.instrument.instrument_id,)
    ).fetchall()
    assert rows == [(3,)]


def test_a_dry_run_tells_and_changes_nothing(undone: Connection):
    before = read_kept(undone)
    told = change_kept(undone, {"ohlcv": "100 days", "trade": None}, dry_run=True)
    assert {one.dataset: one.keep for one in told} == USUAL | {"ohlcv": "100 days", "trade": None}
    assert read_kept(undone) == before


def test_a_dataset_without_retention_is_refused(undone: Connection):
    with pytest.raises(InputError, match="no retention job for candle_1h"):
        change_kept(undone, {"ohlcv": "100 days", "candle_1h": "5 years"})
    assert kept(undone, "ohlcv").keep == "2 years"


@pytest.mark.parametrize("dataset", ["ohlcv", "trade"])
def test_what_would_be_dropped_is_refused_unless_forced(
    undone: Connection, make_instrument: InstrumentFactory, dataset: str
):
    instrument = make_instrument()
    series: Series = (
        ensure_trade_series(undone, instrument)
        if dataset == "trade"
        else ensure_candle_series(undone, instrument, timeframe("1m"))
    )
    horizon = since(undone, dataset)

    require_kept(undone, series, horizon)
    with pytest.raises(BeyondRetention) as refused:
        require_kept(undone, series, horizon - timedelta(microseconds=1))
    require_kept(undone, series, horizon - DAY, force=True)

    message = str(refused.value)
    assert all(
        word in message for word in (str(series), USUAL[dataset], horizon.isoformat(), f"--keep {dataset}=", "--force")
    )


def test_longer_candles_are_kept_for_good(undone: Connection, make_instrument: InstrumentFactory):
    instrument = make_instrument()
    for name in ("5m", "1h", "1M"):
        require_kept(
            undone, ensure_candle_series(undone, instrument, timeframe(name)), datetime(1990, 1, 1, tzinfo=UTC)
        )


@pytest.mark.parametrize("force", [False, True])
def test_what_was_dropped_stays_so_even_if_more_is_kept_then(undone: Connection, minutes: CandleSeries, force: bool):
    change_kept(undone, {"ohlcv": "100 days"})
    horizon = since(undone, "ohlcv")
    write_days(undone, minutes, horizon - 3 * DAY, 6)
    retain_candles(undone)
    change_kept(undone, {"ohlcv": None})

    require_kept(undone, minutes, horizon, force=force)
    with pytest.raises(BeyondRetention, match="nothing older can be stored again"):
        require_kept(undone, minutes, horizon - DAY, force=force)
