"""Bars that stand still and bars that jump away and back: by hand, and on recorded markets, fast ones among them."""

import math
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from tapehouse.quality.rules import Bars, Thresholds, flat_runs, log_odds_of_run, spikes
from tapehouse.sandbox.bars import MINUTE_MS, Grid
from tapehouse.sandbox.recorded import RecordedHistory, recorded_markets
from tapehouse.timeframe import timeframe

MINUTE: Final = timeframe("1m")
RECORDED: Final = Path(__file__).parents[3] / "shared" / "data"
DAY_US: Final = 86_400_000_000


def walk(*, seed: int = 5, count: int = 400, step: float = 0.0005) -> Bars:
    """A market that moves by about that share a minute, each bar's range about as much."""
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, step, count)))
    opened = np.concatenate(([100.0], close[:-1]))
    high = np.maximum(opened, close) * np.exp(random.exponential(step / 2, count))
    low = np.minimum(opened, close) * np.exp(-random.exponential(step / 2, count))
    return Bars(60_000_000 * np.arange(count), opened, high, low, close, np.ones(count))


def flat(closes: list[float], *, minutes: list[int] | None = None) -> Bars:
    price = np.array(closes)
    times = np.array(minutes if minutes is not None else range(len(closes)), dtype=np.int64)
    return Bars(60_000_000 * times, price, price.copy(), price.copy(), price.copy(), np.ones(len(price)))


def test_a_market_that_just_moves_has_no_spike():
    assert spikes(walk(), Thresholds()).tolist() == []


@pytest.mark.parametrize(("column", "factor"), [("high", 1.03), ("low", 0.97)])
def test_a_bar_that_jumps_away_and_back_is_a_spike(column: str, factor: float):
    bars = walk()
    getattr(bars, column)[200] *= factor

    assert spikes(bars, Thresholds()).tolist() == [200]
    assert spikes(bars, Thresholds(outlier_move=0.04)).tolist() == []
    assert spikes(bars, Thresholds(outlier_ranges=100)).tolist() == []


def test_a_whole_bar_elsewhere_is_a_spike():
    bars = walk()
    for column in (bars.open, bars.high, bars.low, bars.close):
        column[200] *= 1.03

    assert spikes(bars, Thresholds()).tolist() == [200]


def test_a_price_that_jumps_and_stays_is_no_spike():
    bars = walk()
    for column in (bars.open, bars.high, bars.low, bars.close):
        column[200:] *= 1.2

    assert spikes(bars, Thresholds()).tolist() == []


def test_a_wick_in_a_market_that_has_become_fast_is_no_spike():
    bars = walk()
    for place in range(190, 212):
        bars.high[place] *= 1.01
        bars.low[place] *= 0.99
    bars.high[200] *= 1.06

    assert spikes(bars, Thresholds()).tolist() == []


def test_bars_without_volume_are_neither_spikes_nor_neighbours():
    bars = walk()
    bars.high[200] *= 1.03
    bars.volume[[199, 201]] = 0
    assert spikes(bars, Thresholds()).tolist() == [200]

    bars.volume[200] = 0
    assert spikes(bars, Thresholds()).tolist() == []


def test_of_a_bar_with_few_neighbours_nothing_is_said():
    bars = walk(count=25)
    bars.high[12] *= 2

    assert spikes(bars, Thresholds()).tolist() == []
    assert spikes(walk(count=2), Thresholds()).tolist() == []


def test_flat_runs_are_of_bars_next_to_each_other_at_one_price():
    bars = flat([1, 1, 1, 2, 2, 3, 3, 3, 3, 3], minutes=[0, 1, 2, 3, 4, 5, 6, 8, 9, 10])
    bars.high[9] = 4

    # From the sixth bar on two and two, with a minute missing between them.
    assert flat_runs(bars, MINUTE, least=2) == [(0, 3), (3, 5), (5, 7), (7, 9)]
    assert flat_runs(bars, MINUTE, least=3) == [(0, 3)]
    assert flat_runs(flat([]), MINUTE, least=1) == []


def test_a_run_is_as_likely_as_the_market_stands_still():
    restless = flat([float(price) for price in range(90)] + [7.0] * 10)
    # No other bar of 90 was unchanged: q is 1/92.
    assert log_odds_of_run(restless, 90, 100) == pytest.approx(math.log(100) + 10 * math.log(1 / 92))

    lazy = flat([float(place // 3) for place in range(90)] + [777.0] * 10)
    # Two of three bars outside were unchanged, 60 of 90.
    assert log_odds_of_run(lazy, 90, 100) == pytest.approx(math.log(100) + 10 * math.log(61 / 92))


@pytest.mark.skipif(not RECORDED.is_dir(), reason="needs the recorded market data in ../shared/data")
def test_no_recorded_day_is_suspicious():
    """154 days of nine markets: a crash of 2021 on Binance, liquidations in futures, Coinbase in 2018."""
    days, thresholds = 0, Thresholds()
    for market in recorded_markets(RECORDED):
        history = market.history
        if not isinstance(history, RecordedHistory):
            continue
        assert history.end_ms is not None
        for minutes in (1, 5, 60):
            grid = Grid(minutes * MINUTE_MS)
            first, stop = grid.ceil(history.first_ms), grid.floor(history.end_ms)
            found = history.bars(grid, first, stop, now_ms=stop)
            columns = (getattr(found, name).astype(np.float64) for name in ("open", "high", "low", "close", "volume"))
            bars = Bars(found.open_ms * 1000, *columns)
            assert spikes(bars, thresholds).tolist() == [], market
            assert flat_runs(bars, timeframe(f"{minutes}m"), least=thresholds.stale_bars) == [], market
            days += len(np.unique(bars.time_us // DAY_US)) if minutes == 1 else 0
    assert days == 154
