import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest

from tapehouse.candle import CandleBatch, Reject
from tapehouse.errors import BeyondRetention, NaiveDatetime, StoreError
from tapehouse.ranges import TimeRange, Unavailable
from tapehouse.store.batch import WriteResult
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection, connect
from tapehouse.store.instruments import CandleSeries
from tapehouse.store.ledger import missing_ranges
from tapehouse.timeframe import to_us
from tests.store.conftest import SeriesFactory, candles

START = datetime(2025, 5, 1, tzinfo=UTC)


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def span(first: int, last: int) -> list[TimeRange]:
    return [(at(first), at(last))]


def write(connection: Connection, series: CandleSeries, first: int, closes: list[float], **options: Any) -> WriteResult:
    window = span(first, first + len(closes))
    return write_candles(connection, series, candles(at(first), closes), asked=window, covered=window, **options)


def stored(connection: Connection, series: CandleSeries) -> list[tuple[Any, ...]]:
    """The series' candles at ordinary prices: time, open, high, low, close, volume."""
    return connection.execute(
        "select time, open, high, low, close, volume from candle where exchange = %s and timeframe_s = %s order by 1",
        (series.instrument.exchange, series.timeframe.seconds),
    ).fetchall()


def closes(connection: Connection, series: CandleSeries) -> dict[int, float]:
    return {(row[0] - START) // timedelta(minutes=1): row[4] for row in stored(connection, series)}


def covered(connection: Connection, series: CandleSeries) -> list[TimeRange]:
    row = connection.execute("select covered from coverage where series_id = %s", (series.series_id,)).fetchone()
    assert row is not None
    return [(one.lower, one.upper) for one in row[0]]


def ledger(connection: Connection, series: CandleSeries) -> tuple[Any, ...]:
    row = connection.execute(
        """
        select s.revision,
            (select count(*) from stale_rollup r where r.instrument_id = s.instrument_id),
            (select count(*) from quarantine q where q.series_id = s.series_id)
        from series s where s.series_id = %s
        """,
        (series.series_id,),
    ).fetchone()
    assert row is not None
    return row


def test_new_candles_are_stored_as_they_are_and_covered(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    result = write(connection, series, 0, [100.25, 101.5])
    assert result == WriteResult(inserted=2, changed=0, unchanged=0, rejected=0, revision=0)
    assert stored(connection, series) == [
        (at(0), 99.25, 102.25, 98.25, 100.25, 1.5),
        (at(1), 100.5, 103.5, 99.5, 101.5, 1.5),
    ]
    assert covered(connection, series) == span(0, 2)


def test_the_same_again_writes_nothing_and_changes_no_revision(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    write(connection, series, 0, [100.0, 101.0, 102.0])
    before = ledger(connection, series)
    assert write(connection, series, 0, [100.0, 101.0, 102.0]) == WriteResult(0, 0, 3, 0, 0)
    assert ledger(connection, series) == before


def test_the_last_good_write_wins_as_a_whole_row(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    write(connection, series, 0, [100.0, 101.0])
    result = write(connection, series, 1, [90.0])
    assert (result.changed, result.inserted, result.revision) == (1, 0, 1)
    assert stored(connection, series)[1] == (at(1), 89.0, 92.0, 88.0, 90.0, 1.5)


def test_appending_changes_nothing_a_reader_has_seen(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    write(connection, series, 0, [100.0])
    assert write(connection, series, 0, [100.0, 101.0, 102.0]).revision == 0
    assert write(connection, series, 3, [103.0]).revision == 0


def test_a_candle_where_there_was_none_changes_what_a_reader_has_seen(
    connection: Connection, make_series: SeriesFactory
):
    series = make_series()
    window = span(0, 3)
    write_candles(connection, series, candles(at(0), [100.0]), asked=window, covered=window)
    assert write(connection, series, 1, [101.0]).revision == 1


@pytest.mark.parametrize("rows", [[], [105.0]], ids=["known empty", "with a candle"])
def test_closing_a_gap_changes_what_a_reader_has_seen(
    connection: Connection, make_series: SeriesFactory, rows: list[float]
):
    series = make_series()
    write(connection, series, 0, [100.0])
    write(connection, series, 10, [110.0])
    result = write_candles(connection, series, candles(at(5), rows), asked=span(5, 6), covered=span(5, 6))
    assert result.revision == 1
    assert covered(connection, series) == [*span(0, 1), *span(5, 6), *span(10, 11)]


def test_rejected_rows_are_kept_with_reasons_and_their_time_is_not_covered(
    connection: Connection, make_series: SeriesFactory
):
    series = make_series()
    reject = Reject(at(1), ("price_not_positive", "volume_negative"), [1, -5.0, float("nan"), "a\x00b"])
    options: dict[str, Any] = {"asked": span(0, 3), "covered": [*span(0, 1), *span(2, 3)], "rejected": [reject]}
    batch = candles(at(0), [100.0, 101.0, 102.0]).take(np.array([True, False, True]))
    for times_seen in (1, 2):
        result = write_candles(connection, series, batch, **options)
        assert result.rejected == 1
        rows = connection.execute(
            "select time, reasons, raw::text, seen from quarantine where series_id = %s", (series.series_id,)
        ).fetchall()
        assert rows == [(at(1), ["price_not_positive", "volume_negative"], '[1, -5.0, "NaN", "a\\u0000b"]', times_seen)]
    assert covered(connection, series) == [*span(0, 1), *span(2, 3)]
    # It waits before it is asked for again.
    assert missing_ranges(connection, series, span(0, 3)[0]) == []


def test_a_refused_range_waits_until_it_is_had(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    refused = [Unavailable(at(0), at(60), "beyond_exchange_history")]
    write_candles(
        connection, series, candles(at(60), [100.0]), asked=span(60, 61), covered=span(60, 61), refused=refused
    )
    assert missing_ranges(connection, series, (at(-10), at(70))) == [*span(-10, 0), *span(61, 70)]
    assert covered(connection, series) == span(60, 61)
    write_candles(connection, series, candles(at(0), []), asked=span(0, 60), covered=span(0, 60))
    left = connection.execute("select count(*) from unavailable where series_id = %s", (series.series_id,)).fetchone()
    assert left == (0,)


def test_a_write_that_fails_late_leaves_nothing(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    nameless: Any = Unavailable(at(5), at(6), None)  # pyright: ignore[reportArgumentType] -- refused by the ledger
    with pytest.raises((StoreError, TypeError)):
        write(connection, series, 0, [100.0, 101.0], refused=[nameless], rejected=[Reject(at(2), ("x",), [])])
    assert stored(connection, series) == []
    assert covered(connection, series) == []
    assert ledger(connection, series) == (0, 0, 0)


def test_a_value_with_more_decimals_widens_all_of_the_instrument(connection: Connection, make_series: SeriesFactory):
    series = make_series(price_decimals=1, amount_decimals=0)
    write_candles(connection, series, candles(at(0), [100.5], volume=7.0), asked=span(0, 1), covered=span(0, 1))
    columns = (np.array([value]) for value in (2.12345678, 5.5, 1.1, 3.25, 0.001))
    precise = CandleBatch(np.array([to_us(at(1))]), *columns)
    result = write_candles(connection, series, precise, asked=span(1, 2), covered=span(1, 2))
    assert result.revision == 1
    assert stored(connection, series) == [
        (at(0), 99.5, 102.5, 98.5, 100.5, 7.0),
        (at(1), 2.12345678, 5.5, 1.1, 3.25, 0.001),
    ]


def test_a_value_beyond_2_53_ticks_is_rejected_and_never_rounded(connection: Connection, make_series: SeriesFactory):
    series = make_series(price_decimals=2, amount_decimals=0)
    batch = candles(at(0), [100.0, 101.0, 102.0])
    volume = np.array([5.0, 2.0**53, 0.1 + 0.2])
    result = write_candles(
        connection,
        series,
        CandleBatch(batch.time_us, batch.open, batch.high, batch.low, batch.close, volume),
        asked=span(0, 3),
        covered=span(0, 3),
    )
    assert (result.inserted, result.rejected) == (1, 2)
    assert closes(connection, series) == {0: 100.0}
    assert covered(connection, series) == span(0, 1)
    reasons = connection.execute("select reasons from quarantine where series_id = %s", (series.series_id,)).fetchall()
    assert reasons == [(["beyond_float_precision"],)] * 2


def test_a_large_stored_value_limits_widening(connection: Connection, make_series: SeriesFactory):
    series = make_series(amount_decimals=0)
    write_candles(connection, series, candles(at(0), [10.0], volume=2.0**50), asked=span(0, 1), covered=span(0, 1))
    result = write_candles(
        connection, series, candles(at(1), [10.0], volume=0.0001), asked=span(1, 2), covered=span(1, 2)
    )
    assert (result.inserted, result.rejected) == (0, 1)
    assert stored(connection, series)[0][5] == 2.0**50


@pytest.mark.parametrize("noisy", [0.7999999999999999, 12.34567890123456])
def test_float_noise_leaves_room_for_ordinary_values(connection: Connection, make_series: SeriesFactory, noisy: float):
    series = make_series(amount_decimals=1)
    write_candles(connection, series, candles(at(0), [10.0], volume=0.2), asked=span(0, 1), covered=span(0, 1))
    noise = write_candles(
        connection, series, candles(at(1), [10.0], volume=noisy), asked=span(1, 2), covered=span(1, 2)
    )
    assert (noise.inserted, noise.rejected) == (0, 1)
    for minute, volume in enumerate([0.5, 91.25, 100_000.125], start=2):
        window = span(minute, minute + 1)
        result = write_candles(
            connection, series, candles(at(minute), [10.0], volume=volume), asked=window, covered=window
        )
        assert (result.inserted, result.rejected) == (1, 0)


def test_a_candle_may_be_rejected_any_number_of_times(connection: Connection, make_series: SeriesFactory):
    series = make_series("1d")
    reject = Reject(at(0), ("price_not_positive",), [0, -1.0])
    window: list[TimeRange] = [(at(0), at(1440))]
    for _ in range(40):
        write_candles(connection, series, candles(at(0), []), asked=window, covered=[], rejected=[reject])
    waiting = connection.execute(
        "select attempts, next_try_at - last_at from unavailable where series_id = %s", (series.series_id,)
    ).fetchall()
    assert waiting == [(40, timedelta(days=30))]


def test_a_range_waits_for_what_was_asked_of_it_in_vain_alone(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    for minute in (0, 0, 0, 10, 20):
        reject = Reject(at(minute), ("price_not_positive",), [minute, -1.0])
        window = span(minute, minute + 1)
        write_candles(connection, series, candles(at(minute), []), asked=window, covered=[], rejected=[reject])
    waiting = connection.execute(
        "select lower(during), attempts, next_try_at - last_at from unavailable where series_id = %s order by 1",
        (series.series_id,),
    ).fetchall()
    quarter = timedelta(minutes=15)
    assert waiting == [(at(0), 3, 4 * quarter), (at(10), 1, quarter), (at(20), 1, quarter)]


def test_naive_ranges_are_refused(connection: Connection, make_series: SeriesFactory):
    naive = (at(0).replace(tzinfo=None), at(1).replace(tzinfo=None))
    with pytest.raises(NaiveDatetime):
        write_candles(connection, make_series(), candles(at(0), [10.0]), asked=[naive], covered=[naive])


def test_compressed_candles_can_be_corrected_and_widened(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    write(connection, series, 0, [float(100 + n) for n in range(2000)])
    connection.execute("select compress_chunk(c, if_not_compressed => true) from show_chunks('ohlcv') c")
    write(connection, series, 500, [1.0, 1.125])
    expected = {n: float(100 + n) for n in range(2000)} | {500: 1.0, 501: 1.125}
    assert closes(connection, series) == expected


def test_candles_can_be_added_between_compressed_ones(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    values = {n: float(100 + n) for n in range(2000)}
    batch = candles(at(0), list(values.values()))
    window: dict[str, Any] = {"asked": span(0, 2000), "covered": span(0, 2000)}
    write_candles(connection, series, batch.take(np.arange(2000) % 7 != 0), **window)
    connection.execute("select compress_chunk(c, if_not_compressed => true) from show_chunks('ohlcv') c")
    result = write_candles(connection, series, batch, **window)
    assert (result.inserted, result.changed, result.revision) == (286, 0, 1)
    assert closes(connection, series) == values


def test_nothing_is_written_where_retention_has_been(connection: Connection, make_series: SeriesFactory):
    series = make_series("1s")
    connection.execute("insert into retention values ('ohlcv', 1, %s)", (at(10),))
    try:
        batch = candles(at(9), [100.0], step_s=1)
        with pytest.raises(BeyondRetention, match="2025-05-01T00:10"):
            write_candles(connection, series, batch, asked=span(9, 10), covered=span(9, 10))
        assert missing_ranges(connection, series, (at(0), at(20))) == span(10, 20)
    finally:
        connection.execute("delete from retention where timeframe_s = 1")


def test_writers_of_one_series_take_turns(store_url: str, connection: Connection, make_series: SeriesFactory):
    series = make_series(price_decimals=0)

    def write_many(offset: float) -> None:
        with connect(store_url) as own:
            for _ in range(5):
                write(own, series, 0, [10 + offset + n for n in range(200)])

    writers = [threading.Thread(target=write_many, args=(offset,)) for offset in (0.0, 0.5, 0.25)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    values = closes(connection, series)
    fractions = {value % 1 for value in values.values()}
    assert len(values) == 200
    assert len(fractions) == 1


def test_listeners_hear_what_was_written(store_url: str, connection: Connection, make_series: SeriesFactory):
    series = make_series()
    with psycopg.connect(store_url, autocommit=True, prepare_threshold=None) as listener:
        listener.execute("listen tapehouse")
        write(connection, series, 0, [100.0, 101.0])
        heard = [
            notify.payload
            for notify in listener.notifies(timeout=5, stop_after=1)
            if series.instrument.exchange in notify.payload
        ]
    assert len(heard) == 1
    assert '"revision": 0' in heard[0]
    assert at(2).isoformat() in heard[0]
