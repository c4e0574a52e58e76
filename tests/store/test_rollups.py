import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tapehouse.candle import CandleBatch
from tapehouse.errors import StoreUnreachable
from tapehouse.ranges import TimeRange, merge_ranges
from tapehouse.store import rollups
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection, connect, is_embedded
from tapehouse.store.instruments import CandleSeries, find_instrument
from tapehouse.store.rollups import RefreshResult, refresh_rollups
from tapehouse.timeframe import from_us, timeframe, to_us
from tests.store.conftest import SeriesFactory, TradeSeriesFactory, candles

LEVELS = {"5m": "5min", "15m": "15min", "1h": "1h", "4h": "4h", "1d": "1D"}
START = datetime(2025, 5, 4, 15, 33, tzinfo=UTC)


def random_candles(start: datetime, count: int, *, seed: int, keep: float = 1.0) -> CandleBatch:
    rng = np.random.default_rng(seed)
    close = np.round(100 + np.cumsum(rng.normal(size=count)) / 10, 2)
    open_ = np.round(close + rng.normal(size=count) / 10, 2)
    batch = CandleBatch(
        to_us(start) + 60_000_000 * np.arange(count),
        open_,
        np.round(np.maximum(open_, close) + rng.random(count), 2),
        np.round(np.minimum(open_, close) - rng.random(count), 2),
        close,
        np.round(rng.random(count) * 100, 3),
    )
    return batch.take(rng.random(count) < keep)


def write(connection: Connection, series: CandleSeries, batch: CandleBatch) -> None:
    window: list[TimeRange] = [
        (from_us(int(batch.time_us[0])), series.timeframe.close(from_us(int(batch.time_us[-1]))))
    ]
    write_candles(connection, series, batch, asked=window, covered=window)


def frame(batch: CandleBatch) -> pd.DataFrame:
    columns = {name: getattr(batch, name) for name in ("open", "high", "low", "close", "volume")}
    return pd.DataFrame(columns, index=pd.to_datetime(batch.time_us, unit="us", utc=True))


def recomputed(base: pd.DataFrame, level: str) -> pd.DataFrame:
    """The rollup as pandas makes it from the 1m candles; volumes added as whole lots."""
    groups = base.resample(LEVELS[level])
    rollup = groups.agg({"open": "first", "high": "max", "low": "min", "close": "last"})
    rollup["volume"] = (base["volume"] * 1000).round().resample(LEVELS[level]).sum() / 1000
    rollup["minutes"] = groups["close"].count()
    return rollup[rollup["minutes"] > 0]


def read_rollup(connection: Connection, series: CandleSeries, level: str) -> pd.DataFrame:
    rows = connection.execute(
        f"select time, open, high, low, close, volume, minutes from candle_{level}_view "  # pyright: ignore[reportArgumentType] -- a name of LEVELS
        "where exchange = %s order by time",
        (series.instrument.exchange,),
    ).fetchall()
    names = ["time", "open", "high", "low", "close", "volume", "minutes"]
    return pd.DataFrame(rows, columns=pd.Index(names)).set_index("time")


def assert_rollups_equal(connection: Connection, series: CandleSeries, base: pd.DataFrame) -> None:
    for level in LEVELS:
        pd.testing.assert_frame_equal(
            read_rollup(connection, series, level),
            recomputed(base, level),
            check_exact=True,
            check_names=False,
            check_freq=False,
            check_index_type=False,
            check_dtype=False,
        )


def days_of_2025(result: RefreshResult) -> list[TimeRange]:
    """The days refreshed without those of today, which stay noted for as long as they are today."""
    return [(start, end) for start, end in result.candles if start.year == 2025]


def materialized_until(connection: Connection, level: str) -> datetime:
    row = connection.execute(
        """
        select _timescaledb_functions.to_timestamp(_timescaledb_functions.cagg_watermark(h.id))
        from timescaledb_information.continuous_aggregates a
        join _timescaledb_catalog.hypertable h on h.table_name = a.materialization_hypertable_name
        where a.view_name = %s
        """,
        (f"candle_{level}",),
    ).fetchone()
    assert row is not None
    return row[0]


def test_rollups_equal_a_recomputation_after_writes_late_writes_and_corrections(
    connection: Connection, make_series: SeriesFactory
):
    series = make_series()
    first = random_candles(START, 4000, seed=1, keep=0.9)
    write(connection, series, first)
    refresh_rollups(connection)
    base = frame(first)
    assert_rollups_equal(connection, series, base)

    corrected = random_candles(START + timedelta(minutes=1000), 300, seed=2, keep=0.5)
    earlier = random_candles(START - timedelta(days=3), 700, seed=3)
    write(connection, series, corrected)
    write(connection, series, earlier)
    result = refresh_rollups(connection)
    base = pd.concat(
        [frame(earlier), base.drop(frame(corrected).index, errors="ignore"), frame(corrected)]
    ).sort_index()
    assert_rollups_equal(connection, series, base)
    assert days_of_2025(result) == [
        (datetime(2025, 5, 1, tzinfo=UTC), datetime(2025, 5, 3, tzinfo=UTC)),
        (datetime(2025, 5, 5, tzinfo=UTC), datetime(2025, 5, 6, tzinfo=UTC)),
    ]
    assert days_of_2025(refresh_rollups(connection)) == []


def test_rollups_are_widened_with_their_candles(connection: Connection, make_series: SeriesFactory):
    series = make_series(price_decimals=2, amount_decimals=3)
    first = random_candles(START, 3000, seed=4)
    write(connection, series, first)
    refresh_rollups(connection)
    connection.execute('call compress_rollups(0, \'{"after": "0 days", "views": ["candle_5m"]}\')')
    write(connection, series, candles(START + timedelta(minutes=5000), [100.125], volume=0.00001))
    widened = find_instrument(connection, series.instrument.exchange, series.instrument.symbol)
    assert (widened.price_decimals, widened.amount_decimals) == (3, 5)
    expected = recomputed(frame(first), "1h")
    stored = read_rollup(connection, series, "1h")
    pd.testing.assert_frame_equal(
        # The bar of the candle just written may show or not: that is the refresh's business.
        stored[stored.index.isin(expected.index)],
        expected,
        check_exact=True,
        check_names=False,
        check_freq=False,
        check_index_type=False,
        check_dtype=False,
    )


def test_candles_of_today_stay_noted_and_their_open_buckets_unmaterialized(
    connection: Connection, make_series: SeriesFactory
):
    series = make_series()
    row = connection.execute("select now()").fetchone()
    assert row is not None
    now: datetime = row[0]
    batch = random_candles(timeframe("1m").floor(now) - timedelta(days=2), 2 * 1440, seed=5)
    write(connection, series, batch)
    refresh_rollups(connection)
    for level in LEVELS:
        assert materialized_until(connection, level) <= timeframe(level).floor(now)
    assert_rollups_equal(connection, series, frame(batch))
    stale = connection.execute(
        "select lower(during), upper(during) from stale_rollup where instrument_id = %s",
        (series.instrument.instrument_id,),
    ).fetchall()
    assert stale == [(timeframe("1d").floor(now), timeframe("1m").floor(now))]


def test_only_one_minute_candles_make_rollups_stale(connection: Connection, make_series: SeriesFactory):
    series = make_series("1h")
    batch = candles(START, [100.0, 101.0], step_s=3600)
    write_candles(connection, series, batch, asked=[(START, START + timedelta(hours=2))], covered=[])
    rows = connection.execute(
        "select count(*) from stale_rollup where instrument_id = %s", (series.instrument.instrument_id,)
    ).fetchone()
    assert rows == (0,)


def retain(connection: Connection, keep: str) -> None:
    connection.execute("call retain_ohlcv(0, jsonb_build_object('keep', %s::text))", (keep,))


@pytest.fixture
def old_series(connection: Connection, make_series: SeriesFactory) -> Any:
    series = make_series()
    batch = random_candles(datetime(2005, 1, 1, tzinfo=UTC), 3 * 1440, seed=6)
    write(connection, series, batch)
    yield series, batch
    connection.execute("delete from retention")


def test_retention_drops_no_candle_that_is_not_rolled_up(connection: Connection, old_series: Any):
    series, batch = old_series
    retain(connection, "20 years")
    kept = connection.execute(
        "select count(*) from ohlcv where instrument_id = %s", (series.instrument.instrument_id,)
    ).fetchone()
    assert kept == (len(batch),)


def test_rollups_outlive_the_candles_that_retention_drops(connection: Connection, old_series: Any):
    series, batch = old_series
    refresh_rollups(connection)
    retain(connection, "20 years")
    kept = connection.execute(
        "select count(*) from ohlcv where instrument_id = %s", (series.instrument.instrument_id,)
    ).fetchone()
    assert kept == (0,)
    # A write after the horizon makes a day stale again; its refresh must not reach behind it.
    connection.execute(
        "insert into stale_rollup (instrument_id, during) values (%s, '[2005-01-01 00:00+00, 2005-01-04 00:00+00)')",
        (series.instrument.instrument_id,),
    )
    refresh_rollups(connection)
    assert_rollups_equal(connection, series, frame(batch))


def test_longer_candles_outlive_retention(connection: Connection, make_series: SeriesFactory):
    minutes, hours = make_series("1m"), make_series("1h")
    start = datetime(2003, 1, 1, tzinfo=UTC)
    write(connection, minutes, random_candles(start, 600, seed=8))
    write(connection, hours, candles(start, [100.0, 101.0], step_s=3600))
    refresh_rollups(connection)
    try:
        retain(connection, "20 years")
        kept = connection.execute(
            "select timeframe_s, count(*) from ohlcv where time < '2004-01-01 00:00+00' and instrument_id in (%s, %s) "
            "group by 1",
            (minutes.instrument.instrument_id, hours.instrument.instrument_id),
        ).fetchall()
        assert kept == [(3600, 2)]
    finally:
        connection.execute("delete from retention")


def test_rollup_chunks_that_were_written_to_are_compressed_again(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    write(connection, series, random_candles(START, 3000, seed=9))
    refresh_rollups(connection)
    connection.execute('call compress_rollups(0, \'{"after": "0 days", "views": ["candle_5m"]}\')')
    write(connection, series, random_candles(START + timedelta(minutes=60), 60, seed=10))
    refresh_rollups(connection)
    connection.execute('call compress_rollups(0, \'{"after": "0 days", "views": ["candle_5m"]}\')')
    states = connection.execute(
        """
        select distinct
            _timescaledb_functions.chunk_status_text(format('%I.%I', c.chunk_schema, c.chunk_name)::regclass)
        from timescaledb_information.continuous_aggregates a
        join timescaledb_information.chunks c on c.hypertable_name = a.materialization_hypertable_name
        where a.view_schema = current_schema() and a.view_name = 'candle_5m' and c.range_end < now()
        """
    ).fetchall()
    assert states == [(["COMPRESSED"],)]


def interrupted_at(call: int) -> Callable[[str, TimeRange], None]:
    """A progress callback that stops the refresh before its level of that number in START's year.

    Other tests' notes of today are refreshed first.
    """
    calls = iter(range(call + 1))

    def count(name: str, span: TimeRange) -> None:
        if span[0].year == START.year and next(calls) == call:
            raise KeyboardInterrupt

    return count


def notes_of(connection: Connection, series: CandleSeries) -> list[TimeRange]:
    rows = connection.execute(
        "select lower(during), upper(during) from stale_rollup where instrument_id = %s order by during",
        (series.instrument.instrument_id,),
    )
    return list(rows)


@pytest.fixture
def by_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refreshes of a day of candles a step."""
    by_day = [replace(family, step=timedelta(days=1)) for family in vars(rollups)["_FAMILIES"]]
    monkeypatch.setattr(rollups, "_FAMILIES", tuple(by_day))


@pytest.mark.usefixtures("by_days")
def test_an_interrupted_refresh_loses_a_step_at_most_and_goes_on(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    refresh_rollups(connection)
    base = random_candles(START, 4 * 1440, seed=11, keep=0.9)
    write(connection, series, base)
    late = random_candles(START + timedelta(days=1), 1440, seed=12)
    write(connection, series, late)
    first = from_us(int(base.time_us[0]))
    days = [timeframe("1d").floor(START) + timedelta(days=day) for day in range(6)]

    # The last two days are done, and the third last up to its second level.
    with pytest.raises(KeyboardInterrupt):
        refresh_rollups(connection, progress=interrupted_at(2 * len(LEVELS) + 2))
    assert merge_ranges(notes_of(connection, series)) == [(first, days[3])]

    seen: list[TimeRange] = []
    result = refresh_rollups(connection, progress=lambda _, span: seen.append(span))
    assert days_of_2025(result) == [(days[0], days[3])]
    assert [span for span in seen if span[0].year == 2025] == [
        (day, next_day) for day, next_day in reversed([*pairwise(days[:4])]) for _ in LEVELS
    ]
    frame_of_all = pd.concat([frame(base).drop(frame(late).index, errors="ignore"), frame(late)]).sort_index()
    assert_rollups_equal(connection, series, frame_of_all)
    assert notes_of(connection, series) == []


def latest_of(batches: list[CandleBatch]) -> pd.DataFrame:
    """All the candles, the last written where there are several of a minute."""
    together = pd.concat([frame(batch) for batch in batches])
    return together[~together.index.duplicated(keep="last")].sort_index()


@pytest.mark.usefixtures("by_days")
def test_rollups_equal_a_recomputation_wherever_refreshes_were_interrupted(
    connection: Connection, make_series: SeriesFactory
):
    series = make_series()
    refresh_rollups(connection)
    batches: list[CandleBatch] = []
    for number in range(2 * len(LEVELS)):
        batches.append(random_candles(START + timedelta(hours=3 * number), 1800, seed=20 + number, keep=0.8))
        write(connection, series, batches[-1])
        with suppress(KeyboardInterrupt):
            refresh_rollups(connection, progress=interrupted_at(number))
    refresh_rollups(connection)
    assert_rollups_equal(connection, series, latest_of(batches))


@pytest.mark.usefixtures("by_days")
def test_rollups_equal_a_recomputation_after_their_session_was_killed(
    connection: Connection, store_url: str, make_series: SeriesFactory
):
    if is_embedded(connection):
        pytest.skip("the embedded database has one session for all")
    series = make_series()
    batches: list[CandleBatch] = []
    for number in range(8):
        batches.append(random_candles(START + timedelta(hours=5 * number), 2880, seed=40 + number, keep=0.8))
        write(connection, series, batches[-1])
        with connect(store_url) as victim:
            kill = "select pg_terminate_backend(%s)"
            killer = threading.Timer(0.02 * number, connection.execute, [kill, [victim.info.backend_pid]])
            killer.start()
            with suppress(StoreUnreachable):
                refresh_rollups(victim)
            killer.join()
    refresh_rollups(connection)
    assert_rollups_equal(connection, series, latest_of(batches))
    assert notes_of(connection, series) == []


def test_what_is_written_while_its_days_are_refreshed_stays_noted(
    connection: Connection, store_url: str, make_series: SeriesFactory
):
    series = make_series()
    batches = [random_candles(START, 1440, seed=60), random_candles(START + timedelta(hours=1), 60, seed=61)]
    write(connection, series, batches[0])

    def write_more(name: str, span: TimeRange) -> None:
        if name == "candle_1h" and span[0] <= START < span[1]:
            with connect(store_url) as other:
                write(other, series, batches[1])

    refresh_rollups(connection, progress=write_more)
    assert notes_of(connection, series) == [(START + timedelta(hours=1), START + timedelta(hours=2))]
    refresh_rollups(connection)
    assert_rollups_equal(connection, series, latest_of(batches))


def test_long_ranges_are_refreshed_by_thirty_days_and_trades_by_a_day(
    connection: Connection, make_series: SeriesFactory, make_trade_series: TradeSeriesFactory
):
    refresh_rollups(connection)
    candle, trade = make_series().instrument.instrument_id, make_trade_series().instrument.instrument_id
    start = datetime(2015, 1, 1, 12, tzinfo=UTC)
    connection.execute(
        "insert into stale_rollup (instrument_id, dataset, during) "
        "values (%s, 'ohlcv', tstzrange(%s, %s)), (%s, 'trade', tstzrange(%s, %s))",
        (candle, start, start + timedelta(days=70), trade, start, start + timedelta(days=2)),
    )
    seen: dict[str, list[TimeRange]] = {}
    result = refresh_rollups(connection, progress=lambda name, span: seen.setdefault(name, []).append(span))
    midnight = timeframe("1d").floor(start)
    assert list(seen)[:5] == [f"candle_{level}" for level in LEVELS]
    assert all(end - start <= timedelta(days=30) for start, end in seen["candle_5m"])
    assert merge_ranges(seen["candle_1d"])[0] == (midnight, midnight + timedelta(days=71))
    assert seen["trade_candle_1s"][-3:] == [
        (midnight + timedelta(days=2), start + timedelta(days=2)),
        (midnight + timedelta(days=1), midnight + timedelta(days=2)),
        (start, midnight + timedelta(days=1)),
    ]
    assert (midnight, midnight + timedelta(days=71)) in result.candles
    assert result.settled == 2


def test_notes_of_a_refresh_that_only_touch_today_are_joined(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    ((today,),) = connection.execute("select date_trunc('day', now())").fetchall()
    for number in range(3):
        connection.execute(
            "insert into stale_rollup (instrument_id, during) values (%s, tstzrange(%s, %s))",
            (
                series.instrument.instrument_id,
                today + timedelta(minutes=number),
                today + timedelta(minutes=number + 1),
            ),
        )
    refresh_rollups(connection)
    assert notes_of(connection, series) == [(today, today + timedelta(minutes=3))]
