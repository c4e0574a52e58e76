"""Generated markets: the same everywhere, whatever range is asked for; bars are those of the trades."""

import subprocess
import sys
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from tapehouse.sandbox.bars import DAY_MS, HOUR_MS, MINUTE_MS, Bars, Grid
from tapehouse.sandbox.catalog import generated_markets
from tapehouse.sandbox.generator import GeneratedHistory
from tests.sandbox.conftest import NOW_MS

DAY_START_MS = NOW_MS // DAY_MS * DAY_MS
SYMBOLS = pytest.mark.parametrize(
    ("exchange", "symbol"),
    [("binance", "BTC/USDT"), ("binance", "ETH/BTC"), ("binanceusdm", "QUILL/USDT:USDT"), ("kraken", "BTC/EUR")],
)


def history(exchange: str, symbol: str, *, seed: int = 7) -> GeneratedHistory:
    (found,) = (m.history for m in generated_markets(seed=seed) if (m.exchange, m.symbol) == (exchange, symbol))
    assert isinstance(found, GeneratedHistory)
    return found


def frame(bars: Bars) -> pd.DataFrame:
    return pd.DataFrame({field.name: getattr(bars, field.name) for field in fields(bars)}).set_index("open_ms")


@SYMBOLS
@pytest.mark.parametrize("length_ms", [MINUTE_MS, 5 * MINUTE_MS, HOUR_MS, 4 * HOUR_MS, DAY_MS])
def test_bars_of_every_length_are_those_of_the_trades(exchange: str, symbol: str, length_ms: int) -> None:
    market = history(exchange, symbol)
    start_ms = DAY_START_MS - 3 * DAY_MS
    trades = market.trades(start_ms, NOW_MS)
    groups = pd.DataFrame({"price": trades.price, "amount": trades.amount}).groupby(
        trades.time_ms // length_ms * length_ms
    )

    bars = frame(market.bars(Grid(length_ms), start_ms, DAY_START_MS + DAY_MS, now_ms=NOW_MS))

    assert list(bars.index) == list(groups.groups)
    for column, values in {
        "open": groups["price"].first(),
        "high": groups["price"].max(),
        "low": groups["price"].min(),
        "close": groups["price"].last(),
        "volume": groups["amount"].sum(),
        "trades": groups.size(),
    }.items():
        assert bars[column].to_numpy().tolist() == values.to_numpy().tolist()


@SYMBOLS
def test_any_range_holds_the_trades_of_a_longer_one(exchange: str, symbol: str) -> None:
    market = history(exchange, symbol)
    whole = market.trades(NOW_MS - DAY_MS, NOW_MS)
    start_ms, end_ms = NOW_MS - 7 * HOUR_MS + 1, NOW_MS - 5 * HOUR_MS

    part = market.trades(start_ms, end_ms)

    inside = (whole.time_ms >= start_ms) & (whole.time_ms < end_ms)
    assert len(part.price) > 0
    for name in ("trade_id", "time_ms", "price", "amount", "buyer_took"):
        assert np.array_equal(getattr(part, name), getattr(whole, name)[inside])


@pytest.mark.parametrize("symbol", ["BTC/USD", "QUILL/USD"])
def test_each_trade_is_found_by_its_rank(symbol: str) -> None:
    # Of the second there is one in ten minutes.
    market = history("coinbaseexchange", symbol)
    trades = market.trades(NOW_MS - 30 * DAY_MS, NOW_MS)
    first = market.rank_at((NOW_MS - 30 * DAY_MS) * 1_000_000)

    for place in range(0, len(trades.price), 1 + len(trades.price) // 4000):
        (trade_id,) = market.ranked(first + place, first + place + 1).trade_id
        assert trade_id == trades.trade_id[place]


@SYMBOLS
def test_trades_are_in_order_and_their_ids_have_no_hole(exchange: str, symbol: str) -> None:
    trades = history(exchange, symbol).trades(NOW_MS - 3 * DAY_MS, NOW_MS)

    assert np.all(np.diff(trades.trade_id) == 1)
    assert np.all(np.diff(trades.time_ms) >= 0)
    assert trades.price.min() >= 1
    assert trades.amount.min() >= 1


def test_another_process_gets_the_same_trades() -> None:
    program = (
        "from tapehouse.sandbox.catalog import generated_markets\n"
        f"trades = generated_markets(seed=7)[0].history.trades({DAY_START_MS}, {DAY_START_MS + HOUR_MS})\n"
        "print([*trades.time_ms, *trades.price, *trades.amount])\n"
    )
    trades = history("binance", "BTC/USDT").trades(DAY_START_MS, DAY_START_MS + HOUR_MS)

    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == str([*trades.time_ms, *trades.price, *trades.amount])


def test_another_seed_gives_another_market() -> None:
    first, second = (history("binance", "BTC/USDT", seed=seed).trades(NOW_MS - HOUR_MS, NOW_MS) for seed in (7, 8))

    assert not np.array_equal(first.price[:50], second.price[:50])


def test_one_asset_costs_nearly_the_same_on_every_exchange() -> None:
    grid = Grid(HOUR_MS)

    def closes(exchange: str, symbol: str) -> pd.Series:
        market = history(exchange, symbol)
        bars = frame(market.bars(grid, DAY_START_MS - 2 * DAY_MS, DAY_START_MS, now_ms=NOW_MS))
        return bars["close"] / 10.0**market.price_decimals

    spot, swap, kraken = (
        closes("binance", "BTC/USDT"),
        closes("binanceusdm", "BTC/USDT:USDT"),
        closes("kraken", "BTC/USD"),
    )

    assert (swap / spot - 1).abs().max() < 0.002
    assert (kraken / spot - 1).abs().max() < 0.002
    assert spot.max() / spot.min() > 1.002


def test_the_forming_bar_grows_until_it_closes() -> None:
    market = history("binance", "BTC/USDT")
    grid = Grid(HOUR_MS)
    open_ms = grid.floor(NOW_MS)

    seen = [
        market.bars(grid, open_ms, open_ms + HOUR_MS, now_ms=open_ms + part * HOUR_MS // 4).volume.sum()
        for part in range(6)
    ]

    assert seen[0] == 0
    assert seen[0] < seen[1] < seen[2] < seen[3] < seen[4] == seen[5]


def test_the_last_close_is_found_across_a_quiet_stretch() -> None:
    market = history("kraken", "QUILL/USD")
    trades = market.trades(NOW_MS - DAY_MS, NOW_MS)

    assert market.last_close(int(trades.time_ms[-1])) == trades.price[-2]
    assert market.last_close(market.first_ms) is None
    assert market.last_close(market.first_ms + 1) == market.trades(market.first_ms, market.first_ms + 1).price[0]
