"""Deleting: what goes with the rows, what stays, and what another session sees of it."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tapehouse.candle import Reject
from tapehouse.errors import NaiveDatetime, ReversedRange
from tapehouse.ranges import TimeRange, Unavailable
from tapehouse.store import delete
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection, connect, is_embedded
from tapehouse.store.delete import Deletion, delete_rows, preview_deletion
from tapehouse.store.instruments import (
    CandleSeries,
    Series,
)
from tapehouse.store.rollups import refresh_rollups
from tests.store.conftest import SeriesFactory, TradeSeriesFactory, candles
from tests.store.test_rollups import assert_rollups_equal, frame, random_candles
from tests.store.test_rollups import write as write_batch_of
from tests.store.test_write_candles import closes, covered
from tests.store.test_write_trades import wait_until_blocked
from tests.store.test_write_trades import write as write_trades

START = datetime(2025, 5, 1, tzinfo=UTC)


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def write(connection: Connection, series: CandleSeries, first: int, last: int) -> None:
    window = [(at(first), at(last))]
    batch = candles(at(first), [100.0 + minute for minute in range(first, last)])
    write_candles(connection, series, batch, asked=window, covered=window)


def facts(connection: Connection, series: Series) -> dict[str, Any]:
    """What the ledgers hold of a series, but for when."""
    row = connection.execute(
        """
        select s.revision, s.begins_at, c.covered, c.rows, c.rejected,
            (select count(*) from quarantine q where q.series_id = s.series_id)
        from series s join coverage c using (series_id)
        where s.series_id = %s
        """,
        (series.series_id,),
    ).fetchone()
    assert row is not None
    found: dict[str, Any] = dict(
        zip(("revision", "begins_at", "covered", "rows", "rejected", "quarantined"), row, strict=True)
    )
    found["covered"] = [(one.lower, one.upper) for one in found["covered"]]
    for table, facts in {"unavailable": "cause, attempts", "substitute": "source"}.items():
        found[table] = connection.execute(
            f"select lower(during), upper(during), {facts} from {table} where series_id = %s order by during",  # pyright: ignore[reportArgumentType] -- literals of this file
            (series.series_id,),
        ).fetchall()
    return found


def notes(connection: Connection, series: Series, table: str) -> list[TimeRange]:
    return connection.execute(
        f"select lower(during), upper(during) from {table} where instrument_id = %s order by during",  # pyright: ignore[reportArgumentType] -- a literal of this file
        (series.instrument.instrument_id,),
    ).fetchall()  # pyright: ignore[reportReturnType]


@pytest.fixture
def by_tens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deletions of ten rows a transaction."""
    monkeypatch.setattr(delete, "_ROWS_A_STEP", 10)


def test_rows_coverage_and_count_go_together(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    write(connection, series, 0, 100)
    before = facts(connection, series)

    deletion = delete_rows(connection, series, at(20), at(50))

    after = facts(connection, series)
    assert deletion == Deletion((at(20), at(50)), 30, ((at(20), at(50)),))
    assert list(closes(connection, series)) == [*range(20), *range(50, 100)]
    assert after["covered"] == [(at(0), at(20)), (at(50), at(100))]
    assert after["rows"] == 70
    assert after["revision"] == before["revision"] + 1
    assert (at(20), at(50)) in notes(connection, series, "stale_rollup")


def test_what_was_never_stored_is_no_deletion(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    assert delete_rows(connection, series) is None
    write(connection, series, 0, 5)
    before = facts(connection, series)
    assert delete_rows(connection, series, at(5), at(9)) is None
    assert delete_rows(connection, series, None, at(0)) is None
    assert facts(connection, series) == before


def test_a_preview_tells_what_a_deletion_then_does(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    write(connection, series, 0, 10)
    write(connection, series, 15, 20)
    before = facts(connection, series)

    preview = preview_deletion(connection, series, at(8), at(40))

    assert preview == Deletion((at(8), at(20)), 7, ((at(8), at(10)), (at(15), at(20))))
    assert facts(connection, series) == before
    assert delete_rows(connection, series, at(8), at(40)) == preview


@pytest.mark.parametrize(
    ("start", "end", "left"),
    [
        # A candle belongs to the range in which it opens.
        (30, 150, [0, 180, 240]),
        (60, 61, [0, 120, 180, 240]),
        (61, 119, [0, 60, 120, 180, 240]),
        (None, 121, [180, 240]),
        (121, None, [0, 60, 120]),
    ],
)
def test_candles_go_whole(
    connection: Connection, make_series: SeriesFactory, start: int | None, end: int | None, left: list[int]
):
    series = make_series("1h")
    batch = candles(START, [1.0, 2.0, 3.0, 4.0, 5.0], step_s=3600)
    window = [(START, at(300))]
    write_candles(connection, series, batch, asked=window, covered=window)

    delete_rows(connection, series, at(start) if start else None, at(end) if end else None)

    assert list(closes(connection, series)) == left
    assert sum((end - start for start, end in covered(connection, series)), timedelta()) == timedelta(hours=len(left))


def test_months_go_whole(connection: Connection, make_series: SeriesFactory):
    series = make_series("1M")
    for month in (1, 2, 3):
        opened = datetime(2025, month, 1, tzinfo=UTC)
        window = [(opened, series.timeframe.close(opened))]
        write_candles(connection, series, candles(opened, [1.0]), asked=window, covered=window)

    delete_rows(connection, series, datetime(2025, 1, 2, tzinfo=UTC), datetime(2025, 2, 2, tzinfo=UTC))

    february, march = datetime(2025, 2, 1, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC)
    assert covered(connection, series) == [
        (datetime(2025, 1, 1, tzinfo=UTC), february),
        (march, datetime(2025, 4, 1, tzinfo=UTC)),
    ]


def test_what_could_not_be_had_or_came_from_elsewhere_is_cut_to_what_lies_outside(
    connection: Connection, make_series: SeriesFactory
):
    series = make_series()
    write(connection, series, 0, 20)
    refused = [Unavailable(at(20), at(40), "beyond_exchange_history")]
    write_candles(connection, series, candles(at(20), []), asked=[], covered=[], refused=refused)
    connection.execute(
        "insert into substitute values (%s, tstzrange(%s, %s), 'trades')", (series.series_id, at(5), at(15))
    )

    delete_rows(connection, series, at(10), at(30))

    after = facts(connection, series)
    assert after["unavailable"] == [(at(30), at(40), "beyond_exchange_history", 1)]
    assert after["substitute"] == [(at(5), at(10), "trades")]
    assert after["covered"] == [(at(0), at(10))]


def test_quarantine_stays_and_its_hole_is_asked_for_again(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    window = [(at(0), at(10))]
    rejected = [Reject(at(4), ("high_below_low",), [1, 2])]
    left = [(at(0), at(4)), (at(5), at(10))]
    batch = candles(at(0), [1.0] * 4)
    write_candles(connection, series, batch, asked=window, covered=left, rejected=rejected)
    assert len(facts(connection, series)["unavailable"]) == 1

    delete_rows(connection, series)

    after = facts(connection, series)
    assert (after["covered"], after["rows"], after["unavailable"]) == ([], 0, [])
    assert (after["quarantined"], after["rejected"]) == (1, 1)


@pytest.mark.parametrize(("start", "end", "stays"), [(0, 10, False), (5, 6, False), (2, 4, False), (6, 20, True)])
def test_where_a_series_begins_is_forgotten_with_what_lies_there(
    connection: Connection, make_series: SeriesFactory, start: int, end: int, stays: bool
):
    series = make_series()
    write(connection, series, 5, 20)
    connection.execute("update series set begins_at = %s where series_id = %s", (at(5), series.series_id))
    connection.execute(
        "update coverage set covered = covered + tstzmultirange(tstzrange(%s, %s)) where series_id = %s",
        (at(0), at(5), series.series_id),
    )

    delete_rows(connection, series, at(start), at(end))

    assert facts(connection, series)["begins_at"] == (at(5) if stays else None)


def test_what_is_written_again_restores_the_state(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    batch = random_candles(at(0), 2000, seed=1)
    write_batch_of(connection, series, batch)
    refresh_rollups(connection)
    before, rows = facts(connection, series), closes(connection, series)

    delete_rows(connection, series, at(500), at(1500))
    refresh_rollups(connection)
    write_batch_of(connection, series, batch)
    refresh_rollups(connection)

    after = facts(connection, series)
    assert after.pop("revision") > before.pop("revision")
    assert after == before
    assert closes(connection, series) == rows
    assert_rollups_equal(connection, series, frame(batch))


@pytest.mark.usefixtures("by_tens")
def test_trades_of_one_time_go_in_one_step(connection: Connection, make_trade_series: TradeSeriesFactory):
    series = make_trade_series()
    write_trades(connection, series, *((500, number, 10.0, 1.0, 1) for number in range(25)), (600, 25, 10.0, 1.0, 1))
    steps: list[Deletion] = []

    delete_rows(connection, series, progress=steps.append)

    assert [step.rows for step in steps] == [26, 0]
    assert facts(connection, series)["rows"] == 0


@pytest.mark.usefixtures("by_tens")
def test_a_deletion_that_is_stopped_leaves_what_is_older_and_goes_on(
    connection: Connection, make_series: SeriesFactory
):
    series = make_series()
    write(connection, series, 0, 45)

    def stop(step: Deletion) -> None:
        if step.span[0] <= at(25):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        delete_rows(connection, series, at(5), at(45), progress=stop)
    assert list(closes(connection, series)) == [*range(25)]
    assert facts(connection, series)["covered"] == [(at(0), at(25))]
    assert facts(connection, series)["rows"] == 25

    rest = delete_rows(connection, series, at(5), at(45))
    assert rest == Deletion((at(5), at(25)), 20, ((at(5), at(25)),))
    assert list(closes(connection, series)) == [*range(5)]


@pytest.mark.usefixtures("by_tens")
def test_what_another_session_writes_meanwhile_is_whole(
    connection: Connection, store_url: str, make_series: SeriesFactory
):
    series = make_series()
    write(connection, series, 0, 40)

    def write_behind(step: Deletion) -> None:
        if step.span == (at(30), at(40)):
            with connect(store_url) as other:
                write(other, series, 35, 50)

    delete_rows(connection, series, at(0), at(40), progress=write_behind)

    after = facts(connection, series)
    assert list(closes(connection, series)) == [*range(35, 50)]
    assert after["covered"] == [(at(35), at(50))]
    assert after["rows"] == 15


@pytest.fixture
def other(connection: Connection, store_url: str) -> Iterator[Connection]:
    if is_embedded(connection):
        pytest.skip("the embedded database runs one transaction at a time anyway")
    with connect(store_url) as other:
        yield other


def test_a_writer_and_a_deletion_take_turns(connection: Connection, other: Connection, make_series: SeriesFactory):
    series = make_series()
    write(connection, series, 0, 20)
    deleting = threading.Thread(target=delete_rows, args=(other, series, at(10), at(30)))

    with connection.transaction():
        write(connection, series, 10, 40)
        deleting.start()
        wait_until_blocked(connection, other)
    deleting.join()

    after = facts(connection, series)
    assert list(closes(connection, series)) == [*range(10), *range(20, 40)]
    assert after["rows"] == 30
    assert after["covered"] == [(at(0), at(10)), (at(20), at(40))]


def test_a_deletion_tries_again_where_it_did_not_get_a_lock(
    connection: Connection, other: Connection, make_series: SeriesFactory
):
    series = make_series()
    write(connection, series, 0, 20)
    other.execute("set lock_timeout = '300ms'")
    deleting = threading.Thread(target=delete_rows, args=(other, series, at(10), at(30)))

    with connection.transaction():
        write(connection, series, 20, 30)
        deleting.start()
        wait_until_blocked(connection, other)
        wait_until_free(connection, other)
    deleting.join()

    assert list(closes(connection, series)) == [*range(10), *range(20, 30)]


def wait_until_free(connection: Connection, other: Connection) -> None:
    """Wait until the other session no longer waits for a lock."""
    for _ in range(600):
        (blockers,) = connection.execute("select pg_blocking_pids(%s)", (other.info.backend_pid,)).fetchall()[0]
        if not blockers:
            return
        time.sleep(0.05)
    pytest.fail("the other session still waits")


def test_listeners_hear_of_a_deletion(connection: Connection, store_url: str, make_series: SeriesFactory):
    series = make_series()
    write(connection, series, 0, 20)
    with connect(store_url) as listener:
        listener.execute("listen tapehouse")
        delete_rows(connection, series, at(5), at(10))
        (heard,) = [
            one.payload
            for one in listener.notifies(timeout=10, stop_after=1)
            if series.instrument.exchange in one.payload
        ]
    assert at(5).isoformat() in heard
    assert at(10).isoformat() in heard


def test_ranges_that_make_no_sense_are_refused(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    with pytest.raises(ReversedRange):
        delete_rows(connection, series, at(2), at(1))
    with pytest.raises(NaiveDatetime):
        delete_rows(connection, series, at(2).replace(tzinfo=None))
