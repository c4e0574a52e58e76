"""Chosen trades and books, as a test hands them to the sandbox."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import pytest

from tapehouse.errors import InputError
from tapehouse.sandbox import Market, Sandbox, market_from_rows, market_from_trades
from tests.sandbox.conftest import UNLIMITED, Connect
from tests.sandbox.http import get

T0_MS: Final = 1_777_984_440_000
NOW_MS: Final = T0_MS + 600_000
Row = tuple[int | str, int | str, Literal["buy", "sell"], float | str, float | str]
FEW: Final[list[Row]] = [
    (T0_MS, 11, "buy", "100.5", "1"),
    (T0_MS, 12, "sell", "100.25", "2.125"),
    (T0_MS + 59_999, 15, "buy", "101", "0.5"),
    (T0_MS + 180_000, 16, "sell", "99.75", "3"),
]


NOTHING: Final[list[Any]] = []


def sandbox_of(*markets: Market, now_ms: int = NOW_MS, page_rows: int | None = None) -> Sandbox:
    return Sandbox(markets, limits=UNLIMITED, clock_ms=lambda: now_ms, page_rows=page_rows)


def crowd(count: int) -> list[Row]:
    """So many trades in one millisecond, and one a second before and after it."""
    during: list[Row] = [(T0_MS, 2 + number, "buy", 100 + number % 7, 1) for number in range(count)]
    return [(T0_MS - 1000, 1, "sell", 100, 1), *during, (T0_MS + 1000, 2 + count, "sell", 100, 1)]


def test_trades_come_back_as_they_were_given() -> None:
    with sandbox_of(market_from_trades("binance", "NEW/USDT", FEW)) as sandbox:
        rows = get(sandbox, "api.binance.com/api/v3/aggTrades?symbol=NEWUSDT")

    assert rows == [
        {"a": i, "p": p, "q": q, "f": i, "l": i, "T": t, "m": m, "M": True}
        for i, p, q, t, m in [
            (11, "100.50000000", "1.00000000", T0_MS, False),
            (12, "100.25000000", "2.12500000", T0_MS, True),
            (15, "101.00000000", "0.50000000", T0_MS + 59_999, False),
            (16, "99.75000000", "3.00000000", T0_MS + 180_000, True),
        ]
    ]


def test_ids_may_leave_holes() -> None:
    with sandbox_of(market_from_trades("binance", "NEW/USDT", FEW)) as sandbox:
        rows = get(sandbox, "api.binance.com/api/v3/aggTrades?symbol=NEWUSDT&fromId=13&limit=1")

    assert [row["a"] for row in rows] == [15]


def test_candles_follow_from_the_trades() -> None:
    with sandbox_of(market_from_trades("binance", "NEW/USDT", FEW)) as sandbox:
        rows = get(sandbox, f"api.binance.com/api/v3/klines?symbol=NEWUSDT&interval=1m&startTime={T0_MS}")

    assert [[(row[0] - T0_MS) // 60_000, *(float(value) for value in row[1:6]), row[8]] for row in rows] == [
        [0, 100.5, 101.0, 100.25, 101.0, 3.625, 3],
        [1, 101.0, 101.0, 101.0, 101.0, 0.0, 0],
        [2, 101.0, 101.0, 101.0, 101.0, 0.0, 0],
        [3, 99.75, 99.75, 99.75, 99.75, 3.0, 1],
    ]


def test_nothing_is_seen_before_it_has_happened() -> None:
    market = market_from_trades("binance", "NEW/USDT", FEW, books=[(T0_MS + 5, [(1, 1)], [(2, 1)])])
    with sandbox_of(market, now_ms=T0_MS + 1) as sandbox:
        rows = get(sandbox, "api.binance.com/api/v3/aggTrades?symbol=NEWUSDT")
        book = get(sandbox, "api.binance.com/api/v3/depth?symbol=NEWUSDT")

    assert [row["a"] for row in rows] == [11, 12]
    assert (book["bids"], book["asks"]) == ([], [])


@pytest.mark.parametrize("page_rows", [None, 7])
def test_thousands_of_trades_in_a_millisecond_are_had_by_id(page_rows: int | None) -> None:
    with sandbox_of(market_from_trades("binance", "NEW/USDT", crowd(2500)), page_rows=page_rows) as sandbox:
        times: dict[int, int] = {}
        while page := get(
            sandbox, f"api.binance.com/api/v3/aggTrades?symbol=NEWUSDT&fromId={len(times) + 1}&limit=1000"
        ):
            times |= {row["a"]: row["T"] for row in page}

    assert list(times) == list(range(1, 2503))
    assert list(times.values()) == [T0_MS - 1000, *[T0_MS] * 2500, T0_MS + 1000]


def test_thousands_of_trades_in_a_millisecond_are_had_by_krakens_cursor() -> None:
    with sandbox_of(market_from_trades("kraken", "NEW/USD", crowd(2500))) as sandbox:
        rows: list[Any] = []
        since = "0"
        while page := get(sandbox, f"api.kraken.com/0/public/Trades?pair=NEWUSD&since={since}")["result"]["NEWUSD"]:
            rows += page
            since = get(sandbox, f"api.kraken.com/0/public/Trades?pair=NEWUSD&since={since}")["result"]["last"]

    assert [row[6] for row in rows] == list(range(1, 2503))
    assert [int(row[2] * 1000) for row in rows] == [T0_MS - 1000, *[T0_MS] * 2500, T0_MS + 1000]


def test_a_time_may_have_decimals() -> None:
    rows: list[Row] = [(f"{T0_MS}.2501", 1, "buy", 1, 1), (f"{T0_MS}.250123", 2, "buy", 1, 1)]
    with sandbox_of(
        market_from_trades("kraken", "NEW/USD", rows), market_from_trades("coinbaseexchange", "NEW/USD", rows)
    ) as sandbox:
        kraken = get(sandbox, "api.kraken.com/0/public/Trades?pair=NEWUSD")["result"]
        coinbase = get(sandbox, "api.exchange.coinbase.com/products/NEW-USD/trades")

    assert [str(row[2]) for row in kraken["NEWUSD"]] == ["1777984440.0002501", "1777984440.0002501"]
    assert kraken["last"] == "1777984440000250123"
    assert [row["time"] for row in coinbase] == ["2026-05-05T12:34:00.000250Z"] * 2


async def test_ids_may_be_any_text(connect: Connect) -> None:
    ids = ["0b4d1f0e-2e51-4f3b-8f24-9f57c3a2b0aa", "007", "9223372036854775808"]
    rows: list[Row] = [(T0_MS + place, trade_id, "buy", 5, 1) for place, trade_id in enumerate(ids)]
    with sandbox_of(market_from_trades("kraken", "NEW/USD", rows)) as sandbox:
        exchange = await connect("kraken", sandbox)
        got: list[dict[str, Any]] = await exchange.fetch_trades("NEW/USD")

    assert [row["id"] for row in got] == ids


def test_each_book_holds_until_the_next() -> None:
    books: Sequence[Any] = [
        (T0_MS, [("1.5", 3), ("1.25", "0.001")], [(2, 1)]),
        (T0_MS + 1000, [], [(2, 1), (3, 1)]),
        (T0_MS + 2000, [(4, 1)], [("3.9", 1)]),
    ]
    market = market_from_trades("binance", "NEW/USDT", [], books=books)

    def sides_at(now_ms: int) -> Any:
        with sandbox_of(market, now_ms=now_ms) as sandbox:
            book = get(sandbox, "api.binance.com/api/v3/depth?symbol=NEWUSDT")
        levels = ([[float(value) for value in level] for level in book[side]] for side in ("bids", "asks"))
        return book["lastUpdateId"], *levels

    assert sides_at(T0_MS - 1) == (0, [], [])
    assert sides_at(T0_MS) == sides_at(T0_MS + 999) == (1, [[1.5, 3], [1.25, 0.001]], [[2, 1]])
    assert sides_at(T0_MS + 1000) == (2, [], [[2, 1], [3, 1]])
    assert sides_at(T0_MS + 2000) == sides_at(T0_MS + 900_000) == (3, [[4, 1]], [[3.9, 1]])


def test_a_market_announces_what_its_values_need_or_what_it_is_told() -> None:
    needed = market_from_trades("binance", "NEW/USDT", FEW)
    told = market_from_trades("binance", "NEW/USDT", FEW, price_decimals=0, amount_decimals=1, contract_size=0.1)

    assert (needed.price_decimals, needed.amount_decimals, needed.contract_size) == (2, 3, None)
    assert (told.price_decimals, told.amount_decimals, told.contract_size) == (0, 1, 0.1)


@pytest.mark.parametrize(
    ("rows", "books"),
    [
        (NOTHING, NOTHING),
        (FEW[::-1], NOTHING),
        ([FEW[0], FEW[0]], NOTHING),
        ([(T0_MS, 1, "both", 1, 1)], NOTHING),
        (FEW, [(T0_MS, NOTHING, NOTHING), (T0_MS, NOTHING, NOTHING)]),
    ],
)
def test_rows_that_make_no_market_are_refused(rows: Any, books: Any) -> None:
    with pytest.raises(InputError):
        market_from_trades("binance", "NEW/USDT", rows, books=books)


def test_a_market_of_minutes_has_neither_trades_nor_a_book() -> None:
    market = market_from_rows("binance", "NEW/USDT", [(T0_MS, 1, 2, 1, 2, 5)])
    with sandbox_of(market) as sandbox:
        rows = get(sandbox, "api.binance.com/api/v3/aggTrades?symbol=NEWUSDT&fromId=0")
        book = get(sandbox, "api.binance.com/api/v3/depth?symbol=NEWUSDT")

    assert (rows, book["bids"], book["asks"]) == ([], [], [])
