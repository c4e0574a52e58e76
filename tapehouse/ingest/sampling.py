"""Sampling order books: every so often a snapshot of each of several markets, written as they come.

Ticks are whole multiples of the interval by the exchange's clock, kept by our monotonic one, so they
neither drift nor jump. Each market keeps its own time: one that answers late delays no other. What is
sampled counts as covered from a tick to the next.
"""

import asyncio
import logging
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from tapehouse.book import BookSample
from tapehouse.errors import InputError, RetryableError, StoreUnreachable
from tapehouse.exchange import Exchange, open_exchange
from tapehouse.ingest.pages import finish_in_thread
from tapehouse.ingest.run import open_instrument
from tapehouse.ranges import TimeRange, Unavailable, merge_ranges
from tapehouse.store.books import write_books
from tapehouse.store.connection import connect
from tapehouse.store.instruments import BookSeries, ensure_book_series
from tapehouse.timeframe import from_us, to_us
from tapehouse.validate import split_books

# Samples wait so long for others to be written with.
_FLUSH_S: Final = 5.0
# So long they are kept while the database can't be reached.
_PATIENCE_S: Final = 120.0
_SHORTEST: Final = timedelta(milliseconds=100)
_MOST_LEVELS: Final = 1000
_NOT_SAMPLED: Final = "not_sampled"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How order books are sampled: the most levels a side, the interval, and for how long.

    Raises InputError for what makes no sense.
    """

    depth: int = 20
    every: timedelta = timedelta(seconds=1)
    lasting: timedelta = timedelta(minutes=5)

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= _MOST_LEVELS:
            raise InputError(f"A depth of {self.depth} makes no sense: ask for 1 to {_MOST_LEVELS} levels a side.")
        if self.every < _SHORTEST:
            raise InputError("Order books can be sampled every 100 ms at most: choose a longer interval.")
        if self.lasting < self.every:
            raise InputError("The sampling would end before its first interval does: let it last longer.")

    @property
    def ticks(self) -> int:
        """How many intervals there are."""
        return self.lasting // self.every


@dataclass(slots=True)
class SamplingOutcome:
    """What became of the sampling of one market, filled in while it goes on.

    Of `ticks` so far, `sampled` brought a snapshot before the next one and `missed` did not.
    `lateness_ms` holds, for each snapshot, how long after its tick it was received.
    """

    symbol: str
    ticks: int = 0
    sampled: int = 0
    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    lateness_ms: "array[float]" = field(default_factory=lambda: array("d"))
    error: Exception | None = None

    @property
    def missed(self) -> int:
        """How many ticks brought no snapshot in time."""
        return self.ticks - self.sampled

    def lateness_percentile_ms(self, percent: float) -> float | None:
        """That percentile of the lateness in milliseconds, None without a snapshot."""
        return float(np.percentile(self.lateness_ms, percent)) if self.lateness_ms else None


Progress = Callable[[Sequence[SamplingOutcome]], None]


def sample_batch(
    exchange_id: str,
    symbols: Sequence[str],
    sampling: Sampling,
    *,
    database_url: str,
    base_url: str | None,
    progress: Progress | None = None,
) -> list[SamplingOutcome]:
    """Sample markets of one exchange as `sample_books` does, and give an outcome for each in the order asked.

    Raises UnknownExchange, MissingExtra, and StoreError where the database can't be reached at
    all; KeyboardInterrupt once what was sampled is written.
    """

    async def run() -> list[SamplingOutcome]:
        async with open_exchange(exchange_id, base_url=base_url) as exchange:
            return await sample_books(exchange, symbols, sampling, database_url=database_url, progress=progress)

    return asyncio.run(run())


async def sample_books(
    exchange: Exchange,
    symbols: Sequence[str],
    sampling: Sampling,
    *,
    database_url: str,
    progress: Progress | None = None,
) -> list[SamplingOutcome]:
    """Sample the order books of those markets, and give an outcome for each in the order asked.

    A market that can't be sampled at all says so in its outcome's `error` and stops no other. Calls
    `progress` each time something was written. When cancelled it writes what it has. Raises StoreError
    when nothing could be written for two minutes; what was written before stays.
    """
    outcomes = [SamplingOutcome(symbol) for symbol in symbols]
    with closing(_Writer(database_url)) as writer:
        await _sample_all(exchange, writer, outcomes, sampling, progress)
    return outcomes


async def _sample_all(
    exchange: Exchange,
    writer: "_Writer",
    outcomes: Sequence[SamplingOutcome],
    sampling: Sampling,
    progress: Progress | None,
) -> None:
    markets: list[_Market] = []
    for outcome in outcomes:
        try:
            markets.append(_Market(await writer.open_series(exchange, outcome.symbol), outcome))
        except InputError as error:
            outcome.error = error
    clock = _Ticks(await exchange.now(), sampling)
    samplers = [asyncio.create_task(_sample(exchange, market, sampling, clock)) for market in markets]
    try:
        while any(not sampler.done() for sampler in samplers):
            await asyncio.wait(samplers, timeout=_FLUSH_S)
            await writer.write(markets, sampling)
            if progress:
                progress(outcomes)
    finally:
        for sampler in samplers:
            sampler.cancel()
        await asyncio.gather(*samplers, return_exceptions=True)
        await writer.write(markets, sampling)
    writer.require_written(markets)


class _Ticks:
    """The ticks of a sampling, from the next whole multiple of the interval on."""

    def __init__(self, now: datetime, sampling: Sampling) -> None:
        self.every_us = sampling.every // timedelta(microseconds=1)
        now_us = to_us(now)
        self._first_us = -(-now_us // self.every_us) * self.every_us
        self._first_s = time.monotonic() + (self._first_us - now_us) / 1e6

    def interval(self, tick: int) -> TimeRange:
        """From that tick to the next, by the exchange's clock."""
        start_us = self._first_us + tick * self.every_us
        return from_us(start_us), from_us(start_us + self.every_us)

    def seconds_until(self, tick: int) -> float:
        """How long it is until that tick; less than 0 if it has passed."""
        return self._first_s + tick * self.every_us / 1e6 - time.monotonic()

    def current(self) -> int:
        """The tick that came last."""
        return int((time.monotonic() - self._first_s) * 1e6 // self.every_us)


@dataclass(slots=True)
class _Market:
    """A market that is sampled, and what of it waits to be written."""

    series: BookSeries
    outcome: SamplingOutcome
    waiting: "_Waiting" = field(default_factory=lambda: _Waiting([], []))


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Snapshots, each with the interval it counts for if it does, and the intervals without one."""

    samples: list[tuple[BookSample, TimeRange | None]]
    missed: list[TimeRange]

    def __add__(self, later: "_Waiting") -> "_Waiting":
        return _Waiting(self.samples + later.samples, self.missed + later.missed)


async def _sample(exchange: Exchange, market: _Market, sampling: Sampling, clock: _Ticks) -> None:
    """Take a snapshot at every tick; one that comes after the next tick counts for the interval it comes in."""
    tick, outcome = 0, market.outcome
    while tick < sampling.ticks:
        await asyncio.sleep(clock.seconds_until(tick))
        sample = await _try_sample(exchange, market, sampling.depth)
        lateness_s = -clock.seconds_until(tick)
        arrived = min(max(tick, clock.current()), sampling.ticks)
        if outcome.error is not None:
            return
        has_interval = sample is not None and arrived < sampling.ticks
        following = min(arrived + 1, sampling.ticks)
        missed = range(tick, arrived if has_interval else following)
        market.waiting.missed.extend(clock.interval(one) for one in missed)
        outcome.ticks += following - tick
        outcome.sampled += has_interval
        if sample is not None:
            market.waiting.samples.append((sample, clock.interval(arrived) if has_interval else None))
            outcome.lateness_ms.append(1000 * lateness_s)
        tick = arrived + 1


async def _try_sample(exchange: Exchange, market: _Market, depth: int) -> BookSample | None:
    """A snapshot; None for a fault that passes, while another ends the sampling of this market."""
    try:
        return await exchange.order_book(market.outcome.symbol, depth)
    except RetryableError as error:
        _logger.warning("%s: %s", market.series, error)
    except Exception as error:  # noqa: BLE001 -- one market's fault, whatever it is, must not stop the others
        market.outcome.error = error
    return None


class _Writer:
    """Writes what waits, over one connection, and keeps it while the database can't be reached."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._connection = connect(database_url)
        self._written_at_s = time.monotonic()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    async def open_series(self, exchange: Exchange, symbol: str) -> BookSeries:
        """The series of a market; raises UnknownSymbol and MixedOrigins."""
        instrument = await open_instrument(exchange, self._connection, symbol)
        return ensure_book_series(self._connection, instrument)

    async def write(self, markets: Sequence[_Market], sampling: Sampling) -> None:
        """Write all that waits, market by market; each is one transaction."""
        for market in markets:
            if not (market.waiting.samples or market.waiting.missed):
                continue
            try:
                await self._write(market, sampling.depth)
            except StoreUnreachable as error:
                if time.monotonic() - self._written_at_s > _PATIENCE_S:
                    raise
                _logger.warning("%s Trying again.", error)
                return
            self._written_at_s = time.monotonic()

    def require_written(self, markets: Sequence[_Market]) -> None:
        """Raise StoreUnreachable if anything still waits."""
        waiting = sum(len(market.waiting.samples) for market in markets)
        if waiting:
            raise StoreUnreachable(f"The database can't be reached: {waiting} sampled order books were not written.")

    async def _write(self, market: _Market, depth: int) -> None:
        waiting, market.waiting = market.waiting, _Waiting([], [])
        try:
            await finish_in_thread(lambda: self._write_waiting(market, waiting, depth))
        except StoreUnreachable:
            market.waiting = waiting + market.waiting
            raise

    def _write_waiting(self, market: _Market, waiting: _Waiting, depth: int) -> None:
        if self._connection.closed:
            self._connection = connect(self._database_url)
        split = split_books([sample for sample, _ in waiting.samples], depth=depth)
        good_us = set(split.good.time_us.tolist())
        written = write_books(
            self._connection,
            market.series,
            split.good,
            asked=merge_ranges(interval for _, interval in waiting.samples if interval),
            covered=merge_ranges(
                interval for sample, interval in waiting.samples if interval and sample.time_us in good_us
            ),
            rejected=split.rejected,
            refused=[Unavailable(start, end, _NOT_SAMPLED) for start, end in merge_ranges(waiting.missed)],
        )
        outcome = market.outcome
        outcome.inserted += written.inserted
        outcome.changed += written.changed
        outcome.unchanged += written.unchanged
        outcome.rejected += written.rejected
