"""Candles are read the quick way as ccxt itself reads them, one by one."""

from typing import Any, Final, cast

import ccxt
import pytest

from tapehouse.exchange.habits import habits_of
from tapehouse.exchange.watched import watched_exchange

ROW: Final[list[Any]] = [
    1_735_689_600_000,
    "61682.38",
    "61700.01",
    "61650.55",
    "61690.12",
    "12.34567",
    1_735_689_659_999,
    "7",
    12,
]
ROWS: Final[dict[str, list[Any]]] = {
    "usual": [ROW, [ROW[0] + 60_000, *ROW[1:]]],
    "none": [],
    "one is short": [ROW, ROW[:3]],
    "one is empty": [ROW, []],
    "numbers": [[ROW[0], 1.5, 2, 1.5, 1.5, 3]],
    "null": [[ROW[0], None, *ROW[2:]]],
    "no number": [[*ROW[:4], "n/a", *ROW[5:]]],
    "empty text": [[*ROW[:5], "", *ROW[6:]]],
    "infinite": [[*ROW[:5], "inf", *ROW[6:]]],
    "time as text": [["1735689600000", *ROW[1:]]],
    "time is true": [[True, *ROW[1:]]],
    "exponent": [[*ROW[:5], "1e-7", *ROW[6:]]],
}


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_candles_are_read_as_ccxt_reads_each(rows: list[Any]):
    exchange: Any = watched_exchange(
        "binance",
        habits_of("binance"),
        timeout_s=1,
        on_request=lambda: None,
        on_headers=lambda headers: None,
        pacer=None,
    )
    plain: Any = ccxt.binance()
    parsed: list[Any] = exchange.parse_ohlcvs(rows, {"inverse": False})
    assert [list(cast("tuple[Any, ...]", row)) if isinstance(row, tuple) else row for row in parsed] == [
        plain.parse_ohlcv(row, {"inverse": False}) for row in rows
    ]
