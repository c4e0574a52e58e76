"""What is read in one round trip rests on the ledger that comes with it, whatever an earlier one said."""

from collections.abc import Generator
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from tapehouse import MarketData
from tapehouse.store.rollups import refresh_rollups
from tests.query.conftest import Tape, in_units, pandas_resample, random_bars
from tests.query.moments import write_bars
from tests.query.test_trades import some_trades

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


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
