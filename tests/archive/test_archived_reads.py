"""What retention has dropped reads as before, from the archive; what is kept apart in pandas says what that was."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from tapehouse import MarketData
from tapehouse.archive.archiving import ArchiveResult
from tapehouse.book import NO_NONCE
from tapehouse.errors import ArchiveError
from tapehouse.store.archive import ARCHIVED_DATASETS, switch_archiving
from tapehouse.store.connection import Connection
from tapehouse.store.delete import delete_rows
from tapehouse.store.instruments import find_instrument, find_series
from tapehouse.timeframe import timeframe
from tests.archive.conftest import CHUNK, DAY, KEPT_SINCE, TODAY, compress, make_tape, retain, stored
from tests.query.conftest import (
    AMOUNT_DECIMALS,
    PRICE_DECIMALS,
    Snapshot,
    Tape,
    in_units,
    pandas_resample,
    random_bars,
    random_books,
    random_trades,
    times,
)
from tests.query.moments import write_bars
from tests.query.test_books import assert_same, wide

Archiving = Callable[[], list[ArchiveResult]]
# Candles over the end of a chunk and into the time that is kept; ticks over three days, the last one kept.
BARS_FROM = KEPT_SINCE - CHUNK - timedelta(hours=3)
KEPT_BARS_FROM = KEPT_SINCE - timedelta(hours=2)
TICKS_FROM = TODAY - 32 * DAY
TICKS_UNTIL = TODAY - 29 * DAY


@pytest.fixture
def market(schema_url: str, root: Path) -> Iterator[MarketData]:
    with MarketData.connect(schema_url, archive=root) as market:
        yield market


def write_all(tape: Tape) -> tuple[pd.DataFrame, pd.DataFrame, list[Snapshot]]:
    """Candles, trades and order books, some of which retention is to drop."""
    bars = pd.concat([random_bars(BARS_FROM, 399, seed=1), random_bars(KEPT_BARS_FROM, 300, seed=2)])
    # A minute without trades has no candle; all of it was fetched.
    bars = bars.drop(bars.index[100:103])
    for part in (bars[:396], bars[396:]):
        write_bars(tape, part)
    trades = random_trades(TICKS_FROM, 2000, span=TICKS_UNTIL - TICKS_FROM)
    tape.write_trades(trades, (TICKS_FROM, TICKS_UNTIL))
    moments = [TICKS_FROM + number * timedelta(minutes=20) for number in range(3 * 72)]
    books = random_books(moments, levels=(0, 20))
    books[::5] = [replace(one, nonce=NO_NONCE) for one in books[::5]]
    tape.write_books(books, (TICKS_FROM, TICKS_UNTIL))
    return bars, trades, books


def candles(market: MarketData, tape: Tape, name: str, start: datetime, end: datetime, **options: str) -> pd.DataFrame:
    return market.candles(tape.exchange, tape.symbol, name, start, end, **options)  # pyright: ignore[reportArgumentType] -- options of tests


@pytest.mark.parametrize("is_compressed", [False, True], ids=["rows", "compressed"])
def test_what_was_dropped_reads_as_before(
    connection: Connection, tape: Tape, market: MarketData, archived: Archiving, is_compressed: bool
):
    bars, trades, books = write_all(tape)
    other = make_tape(connection)
    others = random_trades(TICKS_FROM, 300, span=DAY, seed=5).astype({"trade_id": "object"})
    others["trade_id"] = [f"a-{number:x}é" for number in range(300)]
    other.write_trades(others, (TICKS_FROM, TICKS_FROM + DAY))
    if is_compressed:
        compress(connection)

    archived()
    retain(connection)

    ((first,),) = connection.execute("select min(time) from ohlcv").fetchall()
    assert first >= KEPT_SINCE
    assert stored(connection, "trade") == (trades.index >= TODAY - 30 * DAY).sum()
    assert stored(connection, "order_book") == 72

    end = KEPT_BARS_FROM + timedelta(minutes=300)
    found = candles(market, tape, "1m", BARS_FROM, end)
    pd.testing.assert_frame_equal(found, in_units(bars), check_exact=True, check_freq=False)
    assert found.attrs["dropped_before"] is None
    assert found.attrs["archived"] == [
        [BARS_FROM.isoformat(), (BARS_FROM + timedelta(minutes=399)).isoformat()],
        [KEPT_BARS_FROM.isoformat(), KEPT_SINCE.isoformat()],
    ]
    assert found.attrs["candles_empty"] == 3

    three = candles(market, tape, "3m", BARS_FROM, end)
    pd.testing.assert_frame_equal(three, in_units(pandas_resample(bars, "3min")), check_exact=True, check_freq=False)
    assert three.attrs["source"] == "resampled"

    found = market.trades(tape.exchange, tape.symbol, TICKS_FROM, TICKS_UNTIL)
    pd.testing.assert_frame_equal(found, trades, check_exact=True, check_freq=False)
    assert found.attrs["archived"] == [[TICKS_FROM.isoformat(), (TODAY - 30 * DAY).isoformat()]]
    assert (found.attrs["gaps"], found.attrs["dropped_before"]) == ([], None)
    found = market.trades(other.exchange, other.symbol, TICKS_FROM, TICKS_UNTIL)
    pd.testing.assert_frame_equal(found, others.astype({"trade_id": "str"}), check_exact=True, check_freq=False)

    for depth in (3, 20):
        found = market.order_books(tape.exchange, tape.symbol, TICKS_FROM, TICKS_UNTIL, depth=depth)
        assert_same(found, wide(books, depth))
    assert found.attrs["archived"] == [[TICKS_FROM.isoformat(), (TODAY - 30 * DAY).isoformat()]]


def test_a_part_of_what_was_dropped_is_cut_to_the_microsecond(
    connection: Connection, tape: Tape, market: MarketData, archived: Archiving
):
    bars, trades, _ = write_all(tape)
    archived()
    retain(connection)

    start, end = trades.index[50].to_pydatetime(), trades.index[700].to_pydatetime()
    found = market.trades(tape.exchange, tape.symbol, start, end)
    expected = trades[(times(trades) >= pd.Timestamp(start)) & (times(trades) < pd.Timestamp(end))]
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_freq=False)
    found = candles(market, tape, "1m", BARS_FROM + timedelta(seconds=90), BARS_FROM + timedelta(minutes=9))
    pd.testing.assert_frame_equal(found, in_units(bars[2:9]), check_exact=True, check_freq=False)


def test_a_market_that_had_nothing_is_known_to_have_had_nothing(
    connection: Connection, tape: Tape, market: MarketData, archived: Archiving
):
    _, trades, _ = write_all(tape)
    quiet = make_tape(connection)
    quiet.write_trades(trades[:0], (TICKS_FROM, TICKS_FROM + DAY))
    archived()
    retain(connection)

    found = market.trades(quiet.exchange, quiet.symbol, TICKS_FROM, TICKS_FROM + 2 * DAY)

    assert len(found) == 0
    assert found.attrs["covered"] == [[TICKS_FROM.isoformat(), (TICKS_FROM + DAY).isoformat()]]
    assert found.attrs["dropped_before"] is None


def test_a_reader_without_the_archive_says_what_was_dropped(
    connection: Connection, tape: Tape, schema_url: str, archived: Archiving
):
    _, trades, _ = write_all(tape)
    archived()
    retain(connection)

    with MarketData.connect(schema_url) as market:
        found = market.trades(tape.exchange, tape.symbol, TICKS_FROM, TICKS_UNTIL)

    kept = trades[trades.index >= TODAY - 30 * DAY]
    pd.testing.assert_frame_equal(found, kept, check_exact=True, check_freq=False)
    assert (found.attrs["archived"], found.attrs["dropped_before"]) == ([], (TODAY - 30 * DAY).isoformat())


def test_filled_bars_know_the_archived_close_before(
    connection: Connection, tape: Tape, market: MarketData, archived: Archiving
):
    bars, _, _ = write_all(tape)
    archived()
    retain(connection)

    # The three minutes without a candle, right behind the hundredth.
    start = BARS_FROM + timedelta(minutes=100)
    filled = candles(market, tape, "1m", start, start + timedelta(minutes=3), fill="empty")

    assert filled["filled"].tolist() == [True] * 3
    assert set(filled["close"]) == {bars["close"].iloc[99] / 10.0**PRICE_DECIMALS}


def test_what_was_dropped_before_archiving_was_on_stays_dropped(
    connection: Connection, tape: Tape, market: MarketData, archived: Archiving
):
    _, trades, _ = write_all(tape)
    write_bars(tape, random_bars(KEPT_SINCE - 9 * DAY, 5, step=timedelta(hours=1)), "1h")
    switch_archiving(connection, off=ARCHIVED_DATASETS)
    retain(connection)
    switch_archiving(connection, on=ARCHIVED_DATASETS)
    archived()
    # The chunk that holds hours is come to again.
    retain(connection)
    assert stored(connection, "ohlcv") == 180 + 5

    found = market.trades(tape.exchange, tape.symbol, TICKS_FROM, TICKS_UNTIL)
    assert len(found) == (trades.index >= TODAY - 30 * DAY).sum()
    assert (found.attrs["archived"], found.attrs["dropped_before"]) == ([], (TODAY - 30 * DAY).isoformat())
    found = candles(market, tape, "1m", BARS_FROM, TODAY)
    assert (found.attrs["archived"], found.attrs["dropped_before"]) == ([], KEPT_SINCE.isoformat())


def test_widening_changes_nothing_of_what_is_archived(
    connection: Connection, tape: Tape, market: MarketData, archived: Archiving
):
    bars, trades, books = write_all(tape)
    archived()
    finer = random_bars(TODAY - 3 * DAY, 5, seed=7) + 0.25
    write_bars(tape, finer)
    decimals = connection.execute(
        "select price_decimals, amount_decimals from instrument where exchange = %s", (tape.exchange,)
    ).fetchall()
    assert decimals == [(PRICE_DECIMALS + 2, AMOUNT_DECIMALS + 2)]

    assert archived() == []
    retain(connection)

    found = candles(market, tape, "1m", BARS_FROM, TODAY)
    expected = pd.concat([in_units(bars), in_units(finer)])
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_freq=False)
    found = market.trades(tape.exchange, tape.symbol, TICKS_FROM, TICKS_UNTIL)
    pd.testing.assert_frame_equal(found, trades, check_exact=True, check_freq=False)
    assert_same(market.order_books(tape.exchange, tape.symbol, TICKS_FROM, TICKS_UNTIL), wide(books, 20))


@pytest.mark.parametrize("dataset", ["ohlcv", "trade", "order_book"])
def test_what_is_deleted_is_gone_from_answers_too(
    connection: Connection, tape: Tape, market: MarketData, archived: Archiving, dataset: str
):
    bars, trades, books = write_all(tape)
    archived()
    retain(connection)
    first = BARS_FROM if dataset == "ohlcv" else TICKS_FROM
    start, end = first + timedelta(minutes=30), first + timedelta(hours=2)
    instrument = find_instrument(connection, tape.exchange, tape.symbol)
    series = find_series(connection, instrument, dataset, timeframe("1m") if dataset == "ohlcv" else None)  # pyright: ignore[reportArgumentType] -- of the three

    delete_rows(connection, series, start, end)

    match dataset:
        case "ohlcv":
            found = candles(market, tape, "1m", BARS_FROM, TODAY)
            expected = in_units(bars)
        case "trade":
            found = market.trades(tape.exchange, tape.symbol, TICKS_FROM, TICKS_UNTIL)
            expected = trades
        case _:
            found = market.order_books(tape.exchange, tape.symbol, TICKS_FROM, TICKS_UNTIL)
            expected = wide(books, 20)
    left = expected[(expected.index < start) | (expected.index >= end)]
    pd.testing.assert_frame_equal(found, left, check_exact=True, check_freq=False)
    assert [start.isoformat(), end.isoformat()] in found.attrs["gaps"]


def test_answers_from_memory_are_those_of_a_new_reader(
    connection: Connection, tape: Tape, schema_url: str, root: Path, archived: Archiving
):
    write_all(tape)

    def ask(market: MarketData) -> list[pd.DataFrame]:
        return [
            candles(market, tape, "1m", BARS_FROM, TODAY - DAY),
            candles(market, tape, "1m", BARS_FROM, BARS_FROM + timedelta(minutes=20)),
            candles(market, tape, "3m", BARS_FROM, TODAY - DAY),
            market.trades(tape.exchange, tape.symbol, TICKS_FROM, TICKS_UNTIL),
            market.order_books(tape.exchange, tape.symbol, TICKS_FROM, TICKS_UNTIL, depth=2),
        ]

    with (
        MarketData.connect(schema_url, archive=root) as keeping,
        MarketData.connect(schema_url, archive=root, cache_mb=0) as reading,
    ):
        before = ask(keeping)
        archived()
        for change in (lambda: None, lambda: retain(connection), lambda: retain(connection)):
            change()
            for found, again, read, known in zip(ask(keeping), ask(keeping), ask(reading), before, strict=True):
                pd.testing.assert_frame_equal(found, known, check_exact=True)
                pd.testing.assert_frame_equal(again, known, check_exact=True)
                pd.testing.assert_frame_equal(read, known, check_exact=True)
                for name in ("covered", "gaps", "archived", "dropped_before", "revision"):
                    assert found.attrs[name] == again.attrs[name] == read.attrs[name]
        assert all(one.attrs["archived"] for one in ask(keeping))


def test_a_file_that_is_missing_or_another_is_an_error_that_names_it(
    connection: Connection, tape: Tape, market: MarketData, root: Path, archived: Archiving
):
    write_all(tape)
    (path, *_) = [root / one.path for one in archived() if one.series.dataset == "trade"]
    retain(connection)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1

    path.write_bytes(content)
    with pytest.raises(ArchiveError) as changed:
        market.trades(tape.exchange, tape.symbol, TICKS_FROM, TICKS_UNTIL)
    path.unlink()
    with pytest.raises(ArchiveError) as missing:
        market.trades(tape.exchange, tape.symbol, TICKS_FROM, TICKS_UNTIL)

    assert str(path) in str(changed.value)
    assert "not what was archived" in str(changed.value)
    assert str(path) in str(missing.value)
    assert "TAPEHOUSE_ARCHIVE" in str(missing.value)
    # What doesn't need the file is answered.
    assert len(market.trades(tape.exchange, tape.symbol, TODAY - 30 * DAY, TICKS_UNTIL))
