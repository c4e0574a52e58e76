"""What tests of moments share: writing as ingest does, and telling whether two answers are the same."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from tapehouse.candle import CandleBatch
from tapehouse.query.inference import InferenceDataFrame
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import (
    Series,
    ensure_book_series,
    ensure_candle_series,
    ensure_trade_series,
    find_instrument,
)
from tapehouse.timeframe import timeframe, to_us
from tests.query.conftest import COLUMNS, Tape, in_units, times

LADDER = ("1s", "1m", "5m", "15m", "1h", "4h", "1d")


def write_bars(tape: Tape, bars: pd.DataFrame, name: str = "1m", *, lasting: timedelta | None = None) -> None:
    """Write bars in ticks and lots as ingest does, from the first one on all covered, or as long as that."""
    instrument = find_instrument(tape.connection, tape.exchange, tape.symbol)
    series = ensure_candle_series(tape.connection, instrument, timeframe(name))
    start: datetime = bars.index[0].to_pydatetime()
    end = start + lasting if lasting else timeframe(name).close(bars.index[-1].to_pydatetime())
    units = in_units(bars)
    time_us = np.array([to_us(time.to_pydatetime()) for time in bars.index], dtype=np.int64)
    batch = CandleBatch(time_us, *(units[column].to_numpy() for column in COLUMNS))
    write_candles(tape.connection, series, batch, asked=[(start, end)], covered=[(start, end)])


def closed_by(bars: pd.DataFrame, length: timedelta, at: datetime) -> pd.DataFrame:
    """The bars, so long each, that had closed by a moment."""
    return bars[times(bars) <= pd.Timestamp(at - length)]


def all_series(connection: Connection, tape: Tape) -> list[Series]:
    """The series of a market that `write_bars` and the tape write."""
    instrument = find_instrument(connection, tape.exchange, tape.symbol)
    return [
        *(ensure_candle_series(connection, instrument, timeframe(name)) for name in ("1m", "1h")),
        ensure_trade_series(connection, instrument),
        ensure_book_series(connection, instrument),
    ]


def assert_same(left: InferenceDataFrame, right: InferenceDataFrame) -> None:
    """Both know the same, to the last bit."""
    assert left.timestamp == right.timestamp
    for name in LADDER:
        pd.testing.assert_frame_equal(left.ohlcv(name), right.ohlcv(name), check_exact=True)
    for noun in ("trades", "imbalances", "indicators"):
        pd.testing.assert_frame_equal(getattr(left, noun), getattr(right, noun), check_exact=True)
    books = left.order_book, right.order_book
    assert (books[0] is None) == (books[1] is None)
    if books[0] and books[1]:
        assert (books[0].time, books[0].received_at) == (books[1].time, books[1].received_at)
        np.testing.assert_array_equal(books[0].to_numpy(), books[1].to_numpy())
    arrays = left.to_numpy(), right.to_numpy()
    assert arrays[0].keys() == arrays[1].keys()
    for name, values in arrays[0].items():
        np.testing.assert_array_equal(values, arrays[1][name])
    assert left.get_latest_price() == right.get_latest_price()
