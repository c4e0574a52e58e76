"""Rows that are columns already are split as the same rows are one by one."""

from datetime import UTC, datetime
from math import nan

import numpy as np
import pytest

from tapehouse.timeframe import timeframe
from tapehouse.validate import TradeColumns, split_candle_columns, split_candles, split_trade_columns, split_trades
from tapehouse.validate.ids import ids_of

START = datetime(2025, 1, 3, tzinfo=UTC)
END = datetime(2025, 1, 3, 1, tzinfo=UTC)
START_MS = 1_735_862_400_000

GOOD_CANDLES = [[START_MS + n * 60_000.0, 10.0, 12.0, 9.0, 11.0, 3.0] for n in range(4)]


@pytest.mark.parametrize(
    "bad",
    [
        [],
        [[nan, 10.0, 12.0, 9.0, 11.0, 3.0]],
        [[5.0, 10.0, 12.0, 9.0, 11.0, 3.0]],
        [[START_MS + 30_000.0, 10.0, 12.0, 9.0, 11.0, 3.0]],
        [[START_MS - 60_000.0, 10.0, 12.0, 9.0, 11.0, 3.0]],
        [[START_MS + 240_000.0, -10.0, 12.0, nan, 11.0, -3.0], [START_MS + 300_000.0, 10.0, 8.0, 9.0, 11.0, 3.0]],
        [[START_MS + 60_000.0, 10.0, 12.0, 9.0, 10.5, 4.0]],
    ],
    ids=["all good", "no time", "not believable", "not aligned", "outside", "values", "again"],
)
def test_columns_of_candles(bad: list[list[float]]):
    rows = [*GOOD_CANDLES[:2], *bad, *GOOD_CANDLES[2:]]
    cells = np.array(rows)
    by_row = split_candles(rows, timeframe("1m"), start=START, end=END)
    by_column = split_candle_columns(
        cells[:, 0], cells[:, 1:], timeframe("1m"), start=START, end=END, raw_of=rows.__getitem__
    )
    assert by_column.rejected == by_row.rejected
    assert by_column.covered == by_row.covered
    for name in ("time_us", "open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(by_column.good, name), getattr(by_row.good, name))


@pytest.mark.parametrize(
    "bad",
    [
        [],
        [(nan, "7", "buy", 10.0, 1.0)],
        [(START_MS + 1500.0, "", "buy", 10.0, 1.0)],
        [(START_MS + 1500.0, "7", "maybe", -10.0, 0.0)],
        [(START_MS + 1000.0, "1", "sell", 10.0, 2.0)],
    ],
    ids=["all good", "no time", "no id", "values", "again"],
)
def test_columns_of_trades(bad: list[tuple[float, str, str, float, float]]):
    good = [(START_MS + n * 1000.0, str(n), "buy", 10.0, 1.0) for n in range(4)]
    rows = [(*row, {"line": n}) for n, row in enumerate([*good[:2], *bad, *good[2:]])]
    times, ids, sides, prices, amounts, raws = zip(*rows, strict=True)
    columns = TradeColumns(
        np.array(times),
        ids_of(ids),
        np.array([{"buy": 1.0, "sell": -1.0}.get(side, nan) for side in sides]),
        np.array(prices),
        np.array(amounts),
    )
    by_row = split_trades(rows, start=START, end=END)
    by_column = split_trade_columns(columns, start=START, end=END, raw_of=raws.__getitem__)
    assert by_column.rejected == by_row.rejected
    assert by_column.covered == by_row.covered
    for name in ("time_us", "trade_id", "id_text", "price", "amount", "side"):
        np.testing.assert_array_equal(getattr(by_column.good, name), getattr(by_row.good, name))
