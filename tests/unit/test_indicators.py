"""Names of indicators, and the lengths that they take."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tapehouse.errors import InputError
from tapehouse.indicators import DEFAULT_INDICATORS, indicator
from tapehouse.timeframe import EPOCH, timeframe, to_us

MINUTE = timeframe("1m")
LEAST = ("ema_1", "rsi_2", "macd_2_2_1", "bbands_2_1", "atr_1", "obv", "vwap")
LONGEST = ("ema_1000", "rsi_1000", "macd_1000_1000_1000", "bbands_1000_1000", "atr_1000")


@pytest.mark.parametrize("name", [*DEFAULT_INDICATORS, *LEAST, *LONGEST, "macd_26_12_9"])
def test_what_has_a_name_can_be_computed(name: str):
    one = indicator(name)
    assert one.name == name
    assert one.columns[0].startswith(name)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    time_us = np.array([to_us(start + timedelta(minutes=number)) for number in range(300)])
    candles = np.random.default_rng(1).uniform(90, 110, (5, 300))
    known = [(start, start + timedelta(minutes=300))]
    assert one.values(MINUTE, time_us, candles, known).shape == (len(one.columns), 300)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sma_20", "write ema_20"),
        ("EMA_20", "write ema_20"),
        ("ema_020", "write ema_20"),
        ("ema_-3", "write ema_20"),
        ("", "write ema_20"),
        ("ema", "write it like ema_20, with numbers"),
        ("obv_3", "write it like obv, without numbers"),
        ("macd_12_26", "write it like macd_12_26_9"),
        ("ema_1001", "ema takes numbers of 1 to 1000"),
        ("rsi_1", "rsi takes numbers of 2 to 1000"),
        ("macd_1_2_1", "macd takes numbers of 2 to 1000, 2 to 1000, 1 to 1000"),
        ("macd_2_1_1", "macd takes numbers"),
        ("bbands_1_2", "bbands takes numbers of 2 to 1000, 1 to 1000"),
        ("atr_1001", "atr takes numbers of 1 to 1000"),
    ],
)
def test_what_can_not_be_computed_is_no_indicator(name: str, words: str):
    with pytest.raises(InputError, match=words):
        indicator(name)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        # Blocks of 256 bars, each with 320 before it: that of 512 is known up to the hole, that of 1024 lies behind it.
        ("ema_20", {*range(512, 700), *range(1024, 2000)}),
        ("vwap", {*range(700), *range(1440, 2000)}),
    ],
)
def test_where_not_all_bars_that_it_depends_on_are_known_there_is_no_value(name: str, known: set[int]):
    # The 700th minute of 1970, when a day and a block begin, was not fetched.
    bars = np.delete(np.arange(2000), 700)
    start, end = EPOCH, EPOCH + 2000 * MINUTE.length
    hole = EPOCH + 700 * MINUTE.length
    candles = np.full((5, len(bars)), 5.0)
    fetched = [(start, hole), (hole + MINUTE.length, end)]
    (values,) = indicator(name).values(MINUTE, bars * 60_000_000, candles, fetched)
    assert set(bars[~np.isnan(values)].tolist()) == known
