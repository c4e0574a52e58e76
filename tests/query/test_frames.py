"""Frames are their reader's own: whatever is done to one, neither what is kept nor another one changes."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from tapehouse import MarketData
from tests.query.conftest import Tape, random_bars, random_books, random_trades, times
from tests.query.moments import assert_same, write_bars

END = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
SPOILING: dict[str, Callable[[pd.DataFrame], Any]] = {
    "array": lambda frame: frame.iloc[:, 0].array.__setitem__(0, -1),
    "values": lambda frame: frame.iloc[:, 0].to_numpy().__setitem__(0, -1),
    "last array": lambda frame: frame.iloc[:, -1].array.__setitem__(0, frame.iloc[-1, -1]),
    "last values": lambda frame: frame.iloc[:, -1].values.__setitem__(0, frame.iloc[-1, -1]),
    "asi8": lambda frame: times(frame).asi8.__setitem__(0, 0),
    "index array": lambda frame: times(frame).array.__setitem__(0, times(frame)[1]),
    "flags": lambda frame: frame.iloc[:, 1].to_numpy().setflags(write=True),
}


@pytest.fixture
def told(tape: Tape) -> Tape:
    write_bars(tape, random_bars(END - timedelta(hours=5), 300))
    start = END - timedelta(minutes=4)
    tape.write_trades(random_trades(start, 200, span=timedelta(minutes=4)), (start, END))
    tape.write_books(random_books([start + timedelta(seconds=5 * number) for number in range(40)]), (start, END))
    return tape


@pytest.mark.parametrize("spoil", SPOILING)
def test_nothing_can_be_written_into_what_is_kept(market: MarketData, quiet_url: str, told: Tape, spoil: str):
    def candles() -> pd.DataFrame:
        return market.candles(told.exchange, told.symbol, "1m", END - timedelta(hours=2), END)

    def trades() -> pd.DataFrame:
        return market.trades(told.exchange, told.symbol, END - timedelta(minutes=5), END)

    data = market.get_inference_data(told.symbol, exchange=told.exchange, timestamp=END)
    asked = [
        candles,
        trades,
        lambda: data.ohlcv_1m,
        lambda: data.ohlcv_1s,
        lambda: data.trades,
        lambda: data.indicators,
    ]
    for ask in asked:
        # The second answer is from memory.
        ask()
        before = ask().copy()
        with suppress(ValueError):
            SPOILING[spoil](ask())
        pd.testing.assert_frame_equal(ask(), before)
        # pandas looks at the numbers themselves only where it does not remember how it was indexed.
        assert times(ask()).asi8.tolist() == times(before).asi8.tolist()
    if spoil != "flags":
        with pytest.raises(ValueError, match="read-only"):
            SPOILING["array"](candles())
    with MarketData.connect(quiet_url, cache_mb=0) as plain:
        assert_same(data, plain.get_inference_data(told.symbol, exchange=told.exchange, timestamp=END))


def test_what_readers_change_is_theirs(quiet_url: str, told: Tape):
    market = MarketData.connect(quiet_url)
    window = told.exchange, told.symbol, "1m", END - timedelta(hours=2), END
    with market:
        market.candles(*window)
        before, mine = market.candles(*window).copy(), market.candles(*window)
        mine.loc[times(mine)[0], "open"] = 1.0
        mine["more"] = mine["close"] * 2
        mine += 1
        mine.iloc[2:5] *= 3
        assert mine["open"].iloc[0] == 2.0
        part, column = market.candles(*window).iloc[3:9], market.candles(*window)["volume"]
        pd.testing.assert_frame_equal(market.candles(*window), before)
    # Nothing else holds these rows any more.
    del market
    part.iloc[0, 0] = 7.0
    column.iloc[0] = 8.0
    assert (part.iloc[0, 0], column.iloc[0]) == (7.0, 8.0)


@pytest.mark.parametrize("cache_mb", [0, 256])
def test_tables_do_not_change_with_the_frame(quiet_url: str, told: Tape, cache_mb: float):
    with MarketData.connect(quiet_url, cache_mb=cache_mb) as market:
        frame = market.candles(told.exchange, told.symbol, "1m", END - timedelta(hours=2), END)
        tables = frame.to_arrow(), frame.to_polars()
        opened, closed = frame["open"].iloc[0], frame["close"].iloc[-1]
        frame.iloc[0, 0] = -1.0
        frame.loc[:, "close"] = 0.0
    for table in tables:
        assert float(table["open"].to_numpy()[0]) == opened
        assert float(table["close"].to_numpy()[-1]) == closed
