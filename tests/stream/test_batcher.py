"""What waits for the database: bounded in memory, the rest on disk, in order, and nothing of it lost."""

import asyncio
import resource
from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tapehouse.errors import InputError, ServiceError
from tapehouse.store.connection import connect, is_embedded
from tapehouse.store.instruments import TradeSeries, ensure_trade_series
from tapehouse.store.ledger import missing_ranges
from tapehouse.stream.batcher import Batcher, Flushing
from tapehouse.stream.parcel import Parcel
from tapehouse.stream.spill import FindSeries, Spill
from tapehouse.stream.statistics import StreamStatistics
from tapehouse.stream.trade_lane import TradeLane
from tapehouse.stream.writer import Writer
from tapehouse.timeframe import from_ms
from tests.listings import stored_instrument
from tests.query.relay import Relay
from tests.stream.test_trade_lane import START_MS, in_ms, trade

ROWS = 20_000
BOUND = 2_000


@pytest.fixture
def series(store_url: str) -> TradeSeries:
    """The trades of a market of an exchange of its own."""
    return new_series(store_url)


def new_series(url: str) -> TradeSeries:
    with connect(url) as connection:
        return ensure_trade_series(connection, stored_instrument(connection, from_sandbox=True))


def stored_ids(url: str, series: TradeSeries) -> list[int]:
    with connect(url) as connection:
        rows = connection.execute(
            "select trade_id from trade where instrument_id = %s order by time, trade_id",
            (series.instrument.instrument_id,),
        ).fetchall()
    return [trade_id for (trade_id,) in rows]


def missing_ms(url: str, series: TradeSeries, until_ms: int) -> list[tuple[int, int]]:
    with connect(url) as connection:
        return [in_ms(one) for one in missing_ranges(connection, series, (from_ms(START_MS), from_ms(until_ms)))]


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def a_parcel(series: TradeSeries) -> Parcel:
    return Parcel(series, [trade(1, 1), trade(2, 2)], [(from_ms(START_MS + 1), from_ms(START_MS + 3))], 0.0)


def a_spill(folder: Path, series: TradeSeries) -> Spill:
    return Spill(folder, "binance", found(series))


def found(series: TradeSeries | None) -> FindSeries:
    """Whatever is looked for, that series."""

    def find(symbol: str, dataset: str, timeframe: str | None) -> TradeSeries | None:
        del symbol, dataset, timeframe
        return series

    return find


async def test_what_memory_can_not_hold_waits_on_disk_and_is_written_in_the_end(
    store_url: str, series: TradeSeries, tmp_path: Path
):
    lane, statistics = TradeLane(series, counts_trades=True, known_until_ms=None), StreamStatistics()
    with Relay(store_url) as relay, closing(Writer(relay.url, depth=20)) as writer:
        relay.go_away()
        with closing(a_spill(tmp_path, series)) as spill:
            batcher = Batcher([lane], writer, spill, Flushing(100, timedelta(seconds=0.1), BOUND), statistics)
            running = asyncio.create_task(batcher.run())
            most = 0
            for number in range(ROWS):
                lane.add(trade(number, number), 1, now_s=0.0)
                batcher.told()
                most = max(most, statistics.waiting)
                if number % 500 == 0:
                    await asyncio.sleep(0.01)
            # A piece more than the bound, as what goes to disk does so a thousand rows at a time.
            assert most <= BOUND + 1001
            assert statistics.spilled >= ROWS - BOUND - 1001
            relay.come_back()
            while statistics.spilled or statistics.waiting > 10:
                await asyncio.wait([running], timeout=0.05)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await batcher.finish()
    assert stored_ids(store_url, series) == list(range(ROWS))
    assert (statistics.inserted, statistics.waiting, statistics.spilled) == (ROWS, 0, 0)
    assert left_in(tmp_path) == []


async def test_a_database_that_hangs_does_not_hold_up_the_end(store_url: str, series: TradeSeries, tmp_path: Path):
    with connect(store_url) as connection:
        if is_embedded(connection):
            pytest.skip("the embedded database lets nobody connect while a transaction is open")
    statistics, lane = StreamStatistics(), TradeLane(series, counts_trades=True, known_until_ms=None)
    for number in range(50):
        lane.add(trade(number, number), 1, now_s=0.0)
        statistics.waiting += 1
    with (
        closing(Writer(store_url, depth=20)) as writer,
        closing(a_spill(tmp_path, series)) as spill,
        connect(store_url) as other,
        other.transaction(),
    ):
        other.execute("select from series where series_id = %s for update", (series.series_id,))
        running = asyncio.create_task(Batcher([lane], writer, spill, Flushing(), statistics).flush())
        await asyncio.sleep(0.5)
        running.cancel()
        await asyncio.wait([running], timeout=20)
        # It would go on once the other transaction has ended.
        assert running.cancelled()
    assert stored_ids(store_url, series) == []


async def test_the_ends_of_a_hole_that_nobody_filled_are_stored_and_asked_for_again(
    store_url: str, series: TradeSeries, tmp_path: Path
):
    lane, statistics = TradeLane(series, counts_trades=True, known_until_ms=None), StreamStatistics()
    with closing(Writer(store_url, depth=20)) as writer, closing(a_spill(tmp_path, series)) as spill:
        batcher = Batcher([lane], writer, spill, Flushing(), statistics)
        for trade_id, time_ms in ((1, 0), (2, 5), (3, 7), (6, 20), (7, 21)):
            lane.add(trade(trade_id, time_ms), 1, now_s=0.0)
            batcher.told()
        await batcher.finish()
        assert stored_ids(store_url, series) == [1, 2, 3, 6, 7]
        # Trades of the same milliseconds as the third and the sixth may be among those that were missed.
        assert missing_ms(store_url, series, START_MS + 22) == [(0, 1), (7, 21)]
        fetched = Parcel(series, [trade(one, at) for one, at in ((3, 7), (4, 7), (5, 20), (6, 20))], [], 0.0)
        written = writer.write(replace(fetched, windows=[(from_ms(START_MS + 7), from_ms(START_MS + 21))]))
    assert (written.inserted, written.unchanged) == (2, 2)
    assert stored_ids(store_url, series) == [1, 2, 3, 4, 5, 6, 7]
    assert missing_ms(store_url, series, START_MS + 22) == [(0, 1)]


async def test_what_can_not_be_written_at_the_end_is_written_by_the_next_run(
    store_url: str, series: TradeSeries, tmp_path: Path
):
    lane, statistics = TradeLane(series, counts_trades=True, known_until_ms=None), StreamStatistics()
    with Relay(store_url) as relay, closing(Writer(relay.url, depth=20)) as writer:
        relay.go_away()
        with closing(a_spill(tmp_path, series)) as spill:
            batcher = Batcher([lane], writer, spill, Flushing(), statistics)
            for number in range(50):
                lane.add(trade(number, number), 1, now_s=0.0)
                batcher.told()
            await batcher.finish()
    assert statistics.spilled == 50
    assert stored_ids(store_url, series) == []

    with closing(Writer(store_url, depth=20)) as writer, closing(a_spill(tmp_path, series)) as spill:
        assert spill.rows == 50
        await Batcher([], writer, spill, Flushing(), StreamStatistics()).flush()
    assert stored_ids(store_url, series) == list(range(50))
    assert left_in(tmp_path) == []


def test_a_line_that_was_cut_off_is_left_out(series: TradeSeries, tmp_path: Path):
    (tmp_path / "binance-0123.jsonl").write_text('3 {"symbol":"BTC/USDT","dataset":"trade","timefr')
    with closing(Spill(tmp_path, "binance", found(None))) as spill:
        assert spill.first() is None
    assert left_in(tmp_path) == []


def test_what_was_not_written_to_another_database_is_left_to_it(series: TradeSeries, tmp_path: Path):
    parcel = a_parcel(series)
    with closing(a_spill(tmp_path, series)) as spill:
        spill.append(parcel)
    # There the first series has the same number.
    instrument = series.instrument
    elsewhere = replace(instrument, first_seen_at=instrument.first_seen_at + timedelta(seconds=1))
    for other in (None, replace(series, instrument=elsewhere)):
        with closing(Spill(tmp_path, "binance", found(other))) as spill:
            assert (spill.first(), spill.rows) == (None, 0)
    with closing(a_spill(tmp_path, series)) as spill:
        assert (waiting := spill.first()) is not None
        assert (list(waiting.rows), waiting.windows) == (list(parcel.rows), parcel.windows)


def test_the_series_of_what_others_have_left_is_looked_up_once(series: TradeSeries, tmp_path: Path):
    looked_up: list[str] = []

    def find(symbol: str, dataset: str, timeframe: str | None) -> TradeSeries:
        looked_up.append(f"{symbol} {dataset} {timeframe}")
        return series

    with closing(a_spill(tmp_path, series)) as spill:
        for _ in range(5):
            spill.append(a_parcel(series))
    with closing(Spill(tmp_path, "binance", find)) as spill:
        while spill.first() is not None:
            spill.drop()
    assert looked_up == ["BTC/USDT trade None"]


def test_a_full_disk_is_said_once(series: TradeSeries, tmp_path: Path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(a_spill(tmp_path, series)) as spill:
        spill.append(a_parcel(series))
        (path,) = tmp_path.iterdir()
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limits[1]))
        try:
            with pytest.raises(ServiceError, match="make room"):
                spill.append(a_parcel(series))
            # What waits in a buffer is too much for the disk still.
            spill.close()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with closing(a_spill(tmp_path, series)) as spill:
        assert spill.first() is not None
        spill.drop()
        assert spill.first() is None


def test_what_another_process_has_is_left_to_it(series: TradeSeries, tmp_path: Path):
    with closing(a_spill(tmp_path, series)), closing(a_spill(tmp_path, series)):
        assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_can_not_be_written_is_said_so(series: TradeSeries, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ServiceError, match="choose another folder"):
        a_spill(tmp_path / "file", series)


@pytest.mark.parametrize("values", [(0, 1, 10), (1, 0, 10), (100, 1, 10)])
def test_flushes_that_make_no_sense_are_refused(values: tuple[int, int, int]):
    rows, seconds, most = values
    with pytest.raises(InputError):
        Flushing(rows, timedelta(seconds=seconds), most)


async def test_what_retention_has_dropped_holds_up_nothing(schema_url: str, tmp_path: Path):
    series = new_series(schema_url)
    with connect(schema_url) as connection:
        connection.execute("insert into retention values ('trade', 0, %s)", (from_ms(START_MS + 10),))
    lanes = [a_lane_of(series, first_ms=first_ms) for first_ms in (0, 100)]
    with closing(Writer(schema_url, depth=20)) as writer, closing(a_spill(tmp_path, series)) as spill:
        await Batcher(lanes, writer, spill, Flushing(), StreamStatistics()).finish()
    assert stored_ids(schema_url, series) == [100, 101, 102]


def a_lane_of(series: TradeSeries, *, first_ms: int) -> TradeLane:
    """A lane with three trades, the first of them at that millisecond."""
    lane = TradeLane(series, counts_trades=True, known_until_ms=None)
    for number in range(first_ms, first_ms + 3):
        lane.add(trade(number, number), 1, now_s=0.0)
    return lane
