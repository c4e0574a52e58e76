"""What is read in one round trip rests on the ledger that comes with it, whatever an earlier one said."""

from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from tapehouse import MarketData
from tapehouse.query import few_candles
from tapehouse.query.question import Question
from tapehouse.store.connection import Connection
from tapehouse.store.rollups import refresh_rollups
from tapehouse.timeframe import Timeframe
from tests.query.conftest import Tape, in_units, pandas_resample, random_bars
from tests.query.moments import write_bars
from tests.query.test_trades import some_trades

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)

MakeTape = Callable[..., Tape]


@pytest.fixture
def uncached(quiet_url: str) -> Generator[MarketData]:
    with MarketData.connect(quiet_url, cache_mb=0) as market:
        yield market


def test_ids_that_became_texts_are_read_as_texts(uncached: MarketData, tape: Tape):
    def ids() -> list[object]:
        data = uncached.get_inference_data(
            tape.symbol, exchange=tape.exchange, timestamp=START + timedelta(seconds=30), context_window_minutes=1
        )
        return data.trades["trade_id"].tolist()

    span = (START, START + timedelta(minutes=1))
    tape.write_trades(some_trades((0, 7, 5.0, 1.0, "buy")), span)
    assert ids() == [7]
    tape.write_trades(some_trades((1, "x-8", 5.0, 1.0, "buy")), span)
    assert ids() == ["7", "x-8"]


def test_candles_follow_from_rollups_rows_or_the_exchange_as_the_store_changes(uncached: MarketData, tape: Tape):
    def hours() -> pd.DataFrame:
        return uncached.candles(tape.exchange, tape.symbol, "1h", START, START + 6 * HOUR)

    first, second = random_bars(START, 360, seed=1), random_bars(START + 2 * HOUR, 60, seed=2)
    write_bars(tape, first)
    for is_refreshed in (False, True):
        if is_refreshed:
            refresh_rollups(tape.connection)
        assert_candles(hours(), pandas_resample(first, "1h"), source="rollup" if is_refreshed else "resampled")
    # The third hour is behind now.
    write_bars(tape, second)
    both = pd.concat([first.drop(second.index), second]).sort_index()
    assert_candles(hours(), pandas_resample(both, "1h"), source="rollup+resampled")
    native = random_bars(START, 6, step=HOUR, seed=3)
    write_bars(tape, native, "1h")
    assert_candles(hours(), native, source="native")


def assert_candles(found: pd.DataFrame, expected: pd.DataFrame, *, source: str) -> None:
    assert found.attrs["source"] == source
    pd.testing.assert_frame_equal(found, in_units(expected), check_exact=True, check_freq=False)


def test_a_window_that_moves_with_the_time_needs_no_second_round_trip(
    uncached: MarketData, tape: Tape, monkeypatch: pytest.MonkeyPatch
):
    bars = random_bars(START, 600)
    write_bars(tape, bars)
    read, read_anew = few_candles.read_candles, 0

    def count(connection: Connection, question: Question, length: Timeframe) -> object:
        nonlocal read_anew
        read_anew += 1
        return read(connection, question, length)

    monkeypatch.setattr(few_candles, "read_candles", count)
    for minutes in range(10, 100, 10):
        start = START + timedelta(minutes=minutes)
        found = uncached.candles(tape.exchange, tape.symbol, "1m", start, start + 5 * HOUR)
        assert_candles(found, bars[minutes : minutes + 300], source="native")
    assert read_anew == 1


def test_of_a_symbol_that_another_instrument_has_now_its_rows_are_read(uncached: MarketData, make_tape: MakeTape):
    one = make_tape()
    other = make_tape("ETH/USDT", exchange=one.exchange)
    for tape, seed in ((one, 1), (other, 2)):
        write_bars(tape, random_bars(START, 60, seed=seed))

    def found() -> tuple[list[float], list[float]]:
        end = START + timedelta(minutes=60)
        candles = uncached.candles(one.exchange, one.symbol, "1m", START, end)
        data = uncached.get_inference_data(one.symbol, exchange=one.exchange, timestamp=end)
        return candles["close"].tolist(), data.ohlcv_1m["close"].tolist()

    for seed in (1, 2):
        expected = in_units(random_bars(START, 60, seed=seed))["close"].tolist()
        assert found() == (expected, expected)
        for tape, symbol in ((one, "OLD/USDT"), (other, one.symbol)):
            one.connection.execute(
                "update instrument set symbol = %s where instrument_id = %s", (symbol, tape.instrument_id)
            )
