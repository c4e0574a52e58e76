"""A generated market: one stream of trades, a function of seed, market and time, and the bars built from it.

The catalogue of generated markets is `tapehouse.sandbox.catalog`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.sandbox.bars import DAY_MS, HOUR_MS, MINUTE_MS, Bars, Grid, concatenate, regroup
from tapehouse.sandbox.noise import bits, exponential, seed_of, uniform, value_noise

# Octaves of minutes with their amplitudes, which grow with the square root of the period as a random walk's
# do: 0.04 % over a minute, 20 % over half a year.
_ASSET_OCTAVES: Final = tuple((octave, 0.0004 * 2.0 ** (octave / 2)) for octave in range(0, 19, 3))
_VENUE_OCTAVES: Final = ((0, 0.0001), (3, 0.0002))
_TRADE_SPREAD: Final = 0.00015
_BUSY_OCTAVE: Final = 8
# Together below 1, so that the number of trades so far never falls.
_BUSY_SHARE: Final = 0.6
_JITTER_SHARE: Final = 0.39
_HOUR: Final = Grid(HOUR_MS)


@dataclass(frozen=True, slots=True)
class Character:
    """What sets one generated market apart.

    `price` is the price in quote units around which it moves, `trades_per_minute` the
    average, `lots_per_trade` a middling trade's amount in lots.
    """

    exchange: str
    symbol: str
    price: float
    price_decimals: int
    amount_decimals: int
    trades_per_minute: float
    lots_per_trade: int
    listed_ms: int
    delisted_ms: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Trades:
    """Trades in order of their id; ids run without a hole, times in milliseconds never fall."""

    trade_id: Int64Array
    time_ms: Int64Array
    price: Int64Array
    amount: Int64Array
    buyer_took: Int64Array


class GeneratedHistory:
    """The trades of one generated market, and the bars built from them."""

    def __init__(self, seed: int, character: Character) -> None:
        self.price_decimals = character.price_decimals
        self.amount_decimals = character.amount_decimals
        self.end_ms = character.delisted_ms
        self._character = character
        self._listed_minute = character.listed_ms // MINUTE_MS
        base, _, quote = character.symbol.partition(":")[0].partition("/")
        venue = seed_of(seed, character.exchange, character.symbol)
        self._octaves = [
            *_octaves(seed_of(venue, "price"), 1.0, _VENUE_OCTAVES),
            *_octaves(seed_of(seed, "asset", base), 1.0, _ASSET_OCTAVES),
            *_octaves(seed_of(seed, "asset", _pegged(quote)), -1.0, _ASSET_OCTAVES),
        ]
        self._busy, self._jitter, self._trade = (seed_of(venue, part) for part in ("busy", "jitter", "trade"))
        self._hours_of_day = lru_cache(maxsize=4096)(self._hours)
        self.first_ms = self._first_trade_ms()

    def trades(self, start_ms: int, end_ms: int) -> Trades:
        """The trades in [start_ms, end_ms)."""
        start_ms = max(start_ms, self._character.listed_ms)
        end_ms = max(start_ms, end_ms if self.end_ms is None else min(end_ms, self.end_ms))
        first = start_ms // MINUTE_MS
        count = -(-end_ms // MINUTE_MS) - first
        trades = self._minutes(first, count)
        inside = slice(*np.searchsorted(trades.time_ms, (start_ms, end_ms)))
        return Trades(
            trades.trade_id[inside],
            trades.time_ms[inside],
            trades.price[inside],
            trades.amount[inside],
            trades.buyer_took[inside],
        )

    def bars(self, grid: Grid, start_ms: int, end_ms: int, *, now_ms: int) -> Bars:
        """Bars with trades that open in [start_ms, end_ms), both on the grid, as they stand at `now_ms`."""
        start_ms = max(start_ms, grid.floor(self.first_ms))
        end_ms = max(start_ms, min(end_ms, now_ms))
        if grid.length_ms % HOUR_MS or grid.origin_ms % HOUR_MS:
            return regroup(self._as_bars(start_ms, end_ms), grid)
        return regroup(self._hour_bars(start_ms, end_ms), grid)

    def last_close(self, before_ms: int) -> int | None:
        """The price, in ticks, of the last trade before that time."""
        reach_ms = 4 * HOUR_MS
        while before_ms > self.first_ms:
            price = self.trades(before_ms - reach_ms, before_ms).price
            if len(price):
                return int(price[-1])
            reach_ms *= 4
        return None

    def _first_trade_ms(self) -> int:
        listed_ms = self._character.listed_ms
        reach_ms = HOUR_MS
        while not len(times := self.trades(listed_ms, listed_ms + reach_ms).time_ms):
            reach_ms *= 4
        return int(times[0])

    def _hour_bars(self, start_ms: int, end_ms: int) -> Bars:
        """Hourly bars of [start_ms, end_ms): whole days from the cache, the rest from trades."""
        if start_ms // DAY_MS == end_ms // DAY_MS:
            return regroup(self._as_bars(start_ms, end_ms), _HOUR)
        first_day, last_day = -(-start_ms // DAY_MS), end_ms // DAY_MS
        parts = [regroup(self._as_bars(start_ms, first_day * DAY_MS), _HOUR)]
        parts += [self._hours_of_day(day) for day in range(first_day, last_day)]
        parts.append(regroup(self._as_bars(last_day * DAY_MS, end_ms), _HOUR))
        return concatenate(parts)

    def _hours(self, day: int) -> Bars:
        return regroup(self._as_bars(day * DAY_MS, (day + 1) * DAY_MS), _HOUR)

    def _as_bars(self, start_ms: int, end_ms: int) -> Bars:
        """Every trade as a bar of its own, opened at its time."""
        trades = self.trades(start_ms, end_ms)
        price, amount = trades.price, trades.amount
        return Bars(
            trades.time_ms,
            price,
            price,
            price,
            price,
            amount,
            np.ones_like(price),
            price.astype(np.float64) * amount,
            amount * trades.buyer_took,
        )

    def _minutes(self, first: int, count: int) -> Trades:
        """All trades of `count` minutes from the minute `first` on."""
        so_far = self._trades_so_far(first, count + 1)
        per_minute = np.diff(so_far)
        trade_id = np.arange(so_far[0], so_far[-1], dtype=np.int64)
        minute = np.repeat(np.arange(count), per_minute)
        random = bits(self._trade, trade_id)
        moment = uniform(random, first_bit=0, count=20)
        part = (trade_id - so_far[minute] + moment) / per_minute[minute]
        path = self._log_price(first, count + 1)
        x = path[minute] * (1.0 - part) + path[minute + 1] * part
        x = x + _TRADE_SPREAD * (2.0 * uniform(random, first_bit=20, count=20) - 1.0)
        ticks = self._character.price * 10.0**self.price_decimals * exponential(x)
        size = uniform(random, first_bit=40, count=23)
        # A heavy tail: the median is about one middling trade, one in fifty is twenty times as large.
        lots = self._character.lots_per_trade * size / (1.02 - size)
        return Trades(
            trade_id,
            (first + minute) * MINUTE_MS + (part * MINUTE_MS).astype(np.int64),
            np.maximum(np.rint(ticks), 1.0).astype(np.int64),
            1 + lots.astype(np.int64),
            (random >> np.uint64(63)).astype(np.int64),
        )

    def _trades_so_far(self, first: int, count: int) -> Int64Array:
        """How many trades came before each minute: closed form, so that ids need no counting from the start."""
        rate = self._character.trades_per_minute
        minute = np.arange(first, first + count, dtype=np.int64)
        # The noise changes by 3 / period at most, so this by the busy share.
        swing = _BUSY_SHARE * 2.0**_BUSY_OCTAVE / 3.0
        busy = swing * (1.0 + value_noise(self._busy, first, count, octave=_BUSY_OCTAVE))
        jitter = _JITTER_SHARE * uniform(bits(self._jitter, minute))
        return np.floor(rate * ((minute - self._listed_minute) + busy + jitter)).astype(np.int64)

    def _log_price(self, first: int, count: int) -> Float64Array:
        """The logarithm of price / middle price at the start of each minute."""
        total = np.zeros(count)
        for seed, octave, amplitude in self._octaves:
            total += amplitude * value_noise(seed, first, count, octave=octave)
        return total


def _octaves(seed: int, sign: float, octaves: Iterable[tuple[int, float]]) -> list[tuple[int, int, float]]:
    """A seed, an octave and a signed amplitude each."""
    return [(seed_of(seed, octave), octave, sign * amplitude) for octave, amplitude in octaves]


def _pegged(quote: str) -> str:
    """Stablecoins follow the dollar: markets quoted in them share one path."""
    return "USD" if quote in ("USDT", "USDC") else quote
