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
from tapehouse.errors import InputError, RetryableError, StoreError, StoreUnreachable
from tapehouse.exchange import Exchange
from tapehouse.ingest.pages import finish_in_thread, stop_tasks
from tapehouse.ingest.run import open_instrument
from tapehouse.ingest.venue import open_shared_exchange
from tapehouse.ranges import TimeRange, merge_ranges
from tapehouse.store.batch import WriteResult
from tapehouse.store.books import write_books
from tapehouse.store.connection import Connection, connect
from tapehouse.store.instruments import BookSeries, ensure_book_series
from tapehouse.store.ledger import record_asked
from tapehouse.timeframe import from_us, to_us
from tapehouse.validate import BookSplit, split_books

# Samples wait so long for others to be written with.
_FLUSH_S: Final = 5.0
# So long they are kept while the database can't be reached.
_PATIENCE_S: Final = 120.0
_RETRY_S: Final = 1.0
_SHORTEST: Final = timedelta(milliseconds=100)
_MOST_LEVELS: Final = 1000

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

    Of the intervals from one of the `ticks` so far to the next, a snapshot came in `sampled` and none in `missed`.
    `lateness_ms` holds, for each snapshot, how long after the tick it was asked for at it was received.
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
        async with open_shared_exchange(exchange_id, database_url, base_url=base_url) as exchange:
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
    `progress` each time something was written. When cancelled it writes what it has. Raises StoreUnreachable
    when the database could not be reached for two minutes; what was written before stays.
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
            await writer.write(markets, sampling.depth)
            if progress:
                progress(outcomes)
        while not await writer.write(markets, sampling.depth):  # noqa: ASYNC110 -- no event tells that a server is back
            await asyncio.sleep(_RETRY_S)
    except asyncio.CancelledError:
        await stop_tasks(samplers)
        await writer.write(markets, sampling.depth)
        raise
    finally:
        await stop_tasks(samplers)


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
    """A market that is sampled; snapshots wait to be written, each with the interval it counts for.

    `fault` is the last one that passed.
    """

    series: BookSeries
    outcome: SamplingOutcome
    fault: RetryableError | None = None
    waiting: list[tuple[BookSample, TimeRange]] = field(default_factory=list[tuple[BookSample, TimeRange]])


async def _sample(exchange: Exchange, market: _Market, sampling: Sampling, clock: _Ticks) -> None:
    """Take a snapshot at every tick; one that comes after the next tick counts for the interval it comes in."""
    tick, outcome = 0, market.outcome
    while tick < sampling.ticks and outcome.error is None:
        await asyncio.sleep(clock.seconds_until(tick))
        sample = await _try_sample(exchange, market, sampling.depth)
        lateness_s = -clock.seconds_until(tick)
        arrived = max(tick, clock.current())
        if outcome.error is not None:
            return
        outcome.ticks += min(arrived + 1, sampling.ticks) - tick
        # What comes after the last interval is of none.
        if sample is not None and arrived < sampling.ticks:
            market.waiting.append((sample, clock.interval(arrived)))
            outcome.sampled += 1
            outcome.lateness_ms.append(1000 * lateness_s)
        tick = arrived + 1
    if not outcome.sampled:
        outcome.error = market.fault


async def _try_sample(exchange: Exchange, market: _Market, depth: int) -> BookSample | None:
    """A snapshot; None for a fault that passes, while another ends the sampling of this market."""
    try:
        return await exchange.order_book(market.outcome.symbol, depth)
    except RetryableError as error:
        market.fault = error
        _logger.warning("%s: %s", market.series, error)
    except Exception as error:  # noqa: BLE001 -- one market's fault, whatever it is, must not stop the others
        market.outcome.error = error
    return None


class _Writer:
    """Writes what waits, over one connection; while the database can't be reached, it goes on waiting."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._connection = connect(database_url)
        self._failing_since_s: float | None = None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    async def open_series(self, exchange: Exchange, symbol: str) -> BookSeries:
        """The series of a market, which is followed from then on; raises UnknownSymbol and MixedOrigins."""
        instrument = await open_instrument(exchange, self._connection, symbol)
        series = ensure_book_series(self._connection, instrument)
        record_asked(self._connection, series)
        return series

    async def write(self, markets: Sequence[_Market], depth: int) -> bool:
        """Write all that waits, a transaction a market; says whether that could be done.

        Raises StoreUnreachable once it could not be done for two minutes.
        """
        for market in markets:
            if not market.waiting:
                continue
            try:
                await self._write(market, depth)
            except StoreUnreachable as error:
                self._wait_on(error, sum(len(one.waiting) for one in markets))
                return False
            except StoreError as error:
                # What the database says of one market is no reason to stop the others.
                market.outcome.error = error
                market.waiting.clear()
            self._failing_since_s = None
        return True

    def _wait_on(self, error: StoreUnreachable, waiting: int) -> None:
        now_s = time.monotonic()
        self._failing_since_s = self._failing_since_s or now_s
        if now_s - self._failing_since_s > _PATIENCE_S:
            raise StoreUnreachable(f"{error} {waiting} sampled order books were not written.") from error
        _logger.warning("%s Trying again: %d order books wait.", error, waiting)

    async def _write(self, market: _Market, depth: int) -> None:
        waiting, market.waiting = market.waiting, []
        is_written = False

        def write() -> None:
            nonlocal is_written
            self._write_samples(market, waiting, depth)
            is_written = True

        try:
            await finish_in_thread(write)
        finally:
            if not is_written:
                # They go before those that came meanwhile.
                market.waiting[:0] = waiting

    def _write_samples(self, market: _Market, waiting: Sequence[tuple[BookSample, TimeRange]], depth: int) -> None:
        if self._connection.closed:
            self._connection = connect(self._database_url)
        written = write_samples(self._connection, market.series, waiting, depth=depth)
        outcome = market.outcome
        outcome.inserted += written.inserted
        outcome.changed += written.changed
        outcome.unchanged += written.unchanged
        outcome.rejected += written.rejected


def write_samples(
    connection: Connection, series: BookSeries, samples: Sequence[tuple[BookSample, TimeRange]], *, depth: int
) -> WriteResult:
    """Validate and write samples, each with the interval that it counts for, in one transaction; raises StoreError.

    Of each side the first `depth` levels are kept.
    """
    split = split_books([sample for sample, _ in samples], depth=depth)
    intervals = [interval for _, interval in samples]
    good = [interval for interval, passed in zip(intervals, split.passed, strict=True) if passed]
    return write_books(
        connection,
        series,
        split.good,
        asked=merge_ranges(intervals),
        covered=merge_ranges(good),
        rejected=split.rejected,
        sampled=_sampled(split, intervals),
    )


def _sampled(split: BookSplit, intervals: Sequence[TimeRange]) -> dict[datetime, list[TimeRange]]:
    """The intervals that each good snapshot counts for, by its time: several, if the exchange told one time."""
    sampled: dict[datetime, list[TimeRange]] = {}
    for passed, time_us, interval in zip(split.passed, split.time_us.tolist(), intervals, strict=True):
        if passed:
            sampled.setdefault(from_us(time_us), []).append(interval)
    return sampled
