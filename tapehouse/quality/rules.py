"""When prices are suspicious: bars that stand still, and bars that jump away and back; in numpy.

Which of them are faults is decided with other witnesses, see `witness`. Prices may be in any unit.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.timeframe import Timeframe

# Bars on each side of a bar that it is compared with, as in rule Q4 of Barndorff-Nielsen, Hansen, Lunde, Shephard
# (2009), "Realized kernels in practice", Econometrics Journal 12; and the fewest of both sides together.
_NEIGHBOURS: Final = 25
_FEWEST_NEIGHBOURS: Final = 25


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on something is suspicious.

    - `stale_bars`: so many flat bars, one after the other at one price, are looked at;
    - `stale_odds`: where no trades are stored, such a run must be as unlikely as that, by the market's own habits;
    - `stale_move`: and the same pair must have moved by that share elsewhere meanwhile, unless the run has volume;
    - `outlier_ranges`: a bar must reach so many mean ranges of its neighbours beyond both of those next to it;
    - `outlier_move`: and by that share of the price;
    - `still_book_s`: so long the best prices and amounts of an order book must stay the same, from the first to the
      last snapshot that says so;
    - `still_book_trades`: while so many trades are made.
    """

    stale_bars: int = 10
    stale_odds: float = 1e-9
    stale_move: float = 0.001
    outlier_ranges: float = 20.0
    outlier_move: float = 0.01
    still_book_s: float = 60.0
    still_book_trades: int = 3


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Bars in order of time; `time_us` is when each opens, in microseconds since 1970 UTC."""

    time_us: Int64Array
    open: Float64Array
    high: Float64Array
    low: Float64Array
    close: Float64Array
    volume: Float64Array

    def __len__(self) -> int:
        return len(self.time_us)


def flat_runs(bars: Bars, timeframe: Timeframe, *, least: int) -> list[tuple[int, int]]:
    """Runs [first, stop) of at least so many bars, each next to the one before, all at one price throughout."""
    if not len(bars):
        return []
    flat = (bars.high == bars.low) & (bars.open == bars.close)
    is_next = timeframe.close_us(bars.time_us[:-1]) == bars.time_us[1:]
    goes_on = flat[1:] & flat[:-1] & is_next & (bars.close[1:] == bars.close[:-1])
    first = np.concatenate(([0], np.flatnonzero(~goes_on) + 1))
    stop = np.append(first[1:], len(bars))
    chosen = flat[first] & (stop - first >= least)
    return list(zip(first[chosen].tolist(), stop[chosen].tolist(), strict=True))


def log_odds_of_run(bars: Bars, first: int, stop: int) -> float:
    """The logarithm of a bound for how likely a run of so many unchanged bars is among these, by their own habits.

    Were bars unchanged independently of each other with probability q, a run of k of them began at one of n bars with
    a probability of at most n q^k (Gordon, Schilling, Waterman 1986, "An extreme value theory for long head runs",
    Probability Theory and Related Fields 72). q is taken from the bars outside of the run, by Laplace's rule of
    succession, so that a market that never stood still before may do so for some bars.
    """
    unchanged = (bars.high[1:] == bars.low[1:]) & (bars.close[1:] == bars.close[:-1])
    inside = int(unchanged[max(first - 1, 0) : stop - 1].sum())
    others = len(bars) - (stop - first)
    q = (int(unchanged.sum()) - inside + 1) / (others + 2)
    return math.log(len(bars)) + (stop - first) * math.log(q)


def spikes(bars: Bars, thresholds: Thresholds) -> Int64Array:
    """The places of bars that reach far beyond both of the bars next to them, and come back.

    Of the bars with volume, as those without one say nothing of how far a market moves. The scale is the mean
    range (the logarithm of high over low) of the 25 bars before and the 25 after: what is rare in quiet hours is not
    in fast ones. A price that jumps and stays is none, nor is one that takes more than a bar to come back.
    """
    traded = np.flatnonzero(bars.volume > 0)
    if len(traded) < 3:
        return np.empty(0, dtype=np.int64)
    high, low = np.log(bars.high[traded]), np.log(bars.low[traded])
    beyond = np.zeros(len(traded))
    above = high[1:-1] - np.maximum(high[:-2], high[2:])
    below = np.minimum(low[:-2], low[2:]) - low[1:-1]
    beyond[1:-1] = np.maximum(above, below)
    scale, neighbours = _mean_of_neighbours(high - low)
    far = (beyond > thresholds.outlier_ranges * scale) & (beyond > math.log1p(thresholds.outlier_move))
    return traded[far & (neighbours >= _FEWEST_NEIGHBOURS)]


def _mean_of_neighbours(values: Float64Array) -> tuple[Float64Array, npt.NDArray[np.int64]]:
    """For each value the mean of those around it, itself left out, and how many these are."""
    places = np.arange(len(values))
    first, stop = np.maximum(places - _NEIGHBOURS, 0), np.minimum(places + _NEIGHBOURS + 1, len(values))
    sums = np.concatenate(([0.0], np.cumsum(values)))
    neighbours = stop - first - 1
    return (sums[stop] - sums[first] - values) / np.maximum(neighbours, 1), neighbours
