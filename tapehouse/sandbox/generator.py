"""A generated market: one stream of trades, a function of seed, market and time; bars and books follow from it.

The catalogue of generated markets is `tapehouse.sandbox.catalog`, the levels of books `tapehouse.sandbox.ladder`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

import numpy as np

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.sandbox.bars import DAY_MS, HOUR_MS, MINUTE_MS, Bars, Grid, concatenate, regroup
from tapehouse.sandbox.ladder import STATE_MS, Ladder
from tapehouse.sandbox.market import is_inverse
from tapehouse.sandbox.noise import bits, exponential, seed_of, uniform, value_noise
from tapehouse.sandbox.tape import (
    NS_PER_MS,
    Book,
    BookChange,
    Trades,
    as_bars,
    change_between,
    empty_book,
    no_trades,
)

# Octaves of minutes with their amplitudes, which grow with the square root of the period as a random walk's
# do: 0.04 % over a minute, 20 % over half a year.
_ASSET_OCTAVES: Final = tuple((octave, 0.0004 * 2.0 ** (octave / 2)) for octave in range(0, 19, 3))
_VENUE_OCTAVES: Final = ((0, 0.0001), (3, 0.0002))
_TRADE_SPREAD: Final = 0.00015
_BUSY_OCTAVE: Final = 8
# Together below 1, so that the number of trades so far never falls.
_BUSY_SHARE: Final = 0.6
_JITTER_SHARE: Final = 0.39
# As deep as clients keep a book; of what changes below nothing is told.
_TOLD_DEPTH: Final = 1000
_HOUR: Final = Grid(HOUR_MS)
_MINUTE_NS: Final = MINUTE_MS * NS_PER_MS
# The noise changes by 3 / period at most, so the swing it makes in minutes of trades by the busy share.
_SWING: Final = _BUSY_SHARE * 2.0**_BUSY_OCTAVE / 3.0


@dataclass(frozen=True, slots=True)
class Character:
    """What sets one generated market apart.

    `price` is the price in quote units around which it moves, `trades_per_minute` the
    average, `lots_per_trade` a middling trade's amount in lots, which count contracts of
    `contract_size` where that is given.
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
    contract_size: float | None = None


class GeneratedHistory:
    """The trades of one generated market, and the bars and books that follow from them; a rank is a trade's id."""

    def __init__(self, seed: int, character: Character) -> None:
        self.price_decimals = character.price_decimals
        self.amount_decimals = character.amount_decimals
        self.end_ms = character.delisted_ms
        self._character = character
        self._listed_minute = character.listed_ms // MINUTE_MS
        base, _, quote = character.symbol.partition(":")[0].partition("/")
        self._inverse = is_inverse(character.symbol)
        venue = seed_of(seed, character.exchange, character.symbol)
        self._octaves = [
            *_octaves(seed_of(venue, "price"), 1.0, _VENUE_OCTAVES),
            *_octaves(seed_of(seed, "asset", base), 1.0, _ASSET_OCTAVES),
            *_octaves(seed_of(seed, "asset", _pegged(quote)), -1.0, _ASSET_OCTAVES),
        ]
        self._busy, self._jitter, self._trade = (seed_of(venue, part) for part in ("busy", "jitter", "trade"))
        self._ladder = Ladder.of(
            venue,
            price_ticks=round(character.price * 10**character.price_decimals),
            lots_per_trade=character.lots_per_trade,
        )
        self._hours_of_day = lru_cache(maxsize=4096)(self._hours)
        self._trades_of_minute = lru_cache(maxsize=64)(self._one_minute)
        self._told_book = lru_cache(maxsize=64)(partial(self.book, depth=_TOLD_DEPTH))
        self._first_rank = int(self._trades_so_far(self._listed_minute, 1)[0])
        self.first_ms = self._first_trade_ms()

    def trades(self, start_ms: int, end_ms: int) -> Trades:
        """The trades in [start_ms, end_ms)."""
        start_ms = max(start_ms, self._character.listed_ms)
        end_ms = max(start_ms, end_ms if self.end_ms is None else min(end_ms, self.end_ms))
        first = start_ms // MINUTE_MS
        count = -(-end_ms // MINUTE_MS) - first
        trades = self._minutes(first, count)
        return trades.slice(*np.searchsorted(trades.time_ns, (start_ms * NS_PER_MS, end_ms * NS_PER_MS)).tolist())

    def rank_at(self, time_ns: int) -> int:
        """The rank of the first trade at that time or later, whether it has happened yet or not."""
        time_ns = max(time_ns, self._character.listed_ms * NS_PER_MS)
        if self.end_ms is not None:
            time_ns = min(time_ns, self.end_ms * NS_PER_MS)
        first, trades = self._trades_of_minute(time_ns // _MINUTE_NS)
        return first + int(np.searchsorted(trades.time_ns, time_ns))

    def rank_of(self, trade_id: int) -> int:
        """The rank of the first trade with that id or a higher one."""
        return max(trade_id, self._first_rank)

    def ranked(self, first: int, stop: int) -> Trades:
        """The trades with ranks from `first` to below `stop`."""
        first = max(first, self._first_rank)
        if self.end_ms is not None:
            stop = min(stop, self.rank_at(self.end_ms * NS_PER_MS))
        if first >= stop:
            return no_trades()
        minute, last_minute = self._minute_of(first), self._minute_of(stop - 1)
        if minute == last_minute:
            before, trades = self._trades_of_minute(minute)
        else:
            trades = self._minutes(minute, last_minute - minute + 1)
            before = int(trades.trade_id[0])
        return trades.slice(first - before, stop - before)

    def book(self, now_ms: int, depth: int) -> Book:
        """The book at `now_ms`, which is new every 100 ms and stands around the last trade before."""
        state = now_ms // STATE_MS
        stop = self.rank_at(state * STATE_MS * NS_PER_MS)
        if stop <= self._first_rank or (self.end_ms is not None and now_ms >= self.end_ms):
            return empty_book(state * STATE_MS, state)
        last = self.ranked(stop - 1, stop)
        return self._ladder.book(state, last_price=int(last.price[0]), buyer_took=bool(last.buyer_took[0]), depth=depth)

    def book_times(self, start_ms: int, end_ms: int) -> range:
        """When the book changed, after `start_ms` until `end_ms`."""
        start_ms = max(start_ms, self.first_ms)
        return range((start_ms // STATE_MS + 1) * STATE_MS, end_ms + 1, STATE_MS)

    def book_changes(self, start_ms: int, end_ms: int) -> list[BookChange]:
        """How the best 1,000 levels a side changed, after `start_ms` until `end_ms`."""
        return [
            change_between(self._told_book(time_ms - STATE_MS), self._told_book(time_ms), depth=_TOLD_DEPTH)
            for time_ms in self.book_times(start_ms, end_ms)
        ]

    def bars(self, grid: Grid, start_ms: int, end_ms: int, *, now_ms: int) -> Bars:
        """Bars with trades that open in [start_ms, end_ms), both on the grid, as they stand at `now_ms`."""
        start_ms = max(start_ms, grid.floor(self.first_ms))
        end_ms = max(start_ms, min(end_ms, now_ms))
        if grid.length_ms % HOUR_MS or grid.origin_ms % HOUR_MS:
            return regroup(self._trade_bars(start_ms, end_ms), grid)
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
            return regroup(self._trade_bars(start_ms, end_ms), _HOUR)
        first_day, last_day = -(-start_ms // DAY_MS), end_ms // DAY_MS
        parts = [regroup(self._trade_bars(start_ms, first_day * DAY_MS), _HOUR)]
        parts += [self._hours_of_day(day) for day in range(first_day, last_day)]
        parts.append(regroup(self._trade_bars(last_day * DAY_MS, end_ms), _HOUR))
        return concatenate(parts)

    def _hours(self, day: int) -> Bars:
        return regroup(self._trade_bars(day * DAY_MS, (day + 1) * DAY_MS), _HOUR)

    def _trade_bars(self, start_ms: int, end_ms: int) -> Bars:
        return as_bars(self.trades(start_ms, end_ms), inverse=self._inverse)

    def _one_minute(self, minute: int) -> tuple[int, Trades]:
        """The rank of the minute's first trade, which may come later, and its trades."""
        return int(self._trades_so_far(minute, 1)[0]), self._minutes(minute, 1)

    def _minute_of(self, rank: int) -> int:
        """The minute that holds the trade with that rank."""
        minutes_a_trade = 1.0 / self._character.trades_per_minute
        first = self._listed_minute + int(rank * minutes_a_trade - 2.0 * _SWING) - 2
        so_far = self._trades_so_far(first, int(2.0 * _SWING + minutes_a_trade) + 6)
        return first + int(np.searchsorted(so_far, rank, side="right")) - 1

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
            (first + minute) * _MINUTE_NS + (part * _MINUTE_NS).astype(np.int64),
            np.maximum(np.rint(ticks), 1.0).astype(np.int64),
            1 + lots.astype(np.int64),
            (random >> np.uint64(63)).astype(np.int64),
        )

    def _trades_so_far(self, first: int, count: int) -> Int64Array:
        """How many trades came before each minute: closed form, so that ids need no counting from the start."""
        rate = self._character.trades_per_minute
        minute = np.arange(first, first + count, dtype=np.int64)
        busy = _SWING * (1.0 + value_noise(self._busy, first, count, octave=_BUSY_OCTAVE))
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
