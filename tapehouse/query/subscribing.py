"""Listening to a market: the events of some of its series, of streams in this process and of the database, as one."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, TypeVar

from tapehouse.errors import InputError
from tapehouse.live.subscription import LiveSubscription, SeriesName
from tapehouse.live.tape import BOOKS, TRADES, LiveMarket
from tapehouse.query.arrivals import Books, Candles, Event, Kind, Read, Trades
from tapehouse.query.changes import Changes
from tapehouse.query.feed import Feed
from tapehouse.query.frame import MarketFrame
from tapehouse.query.question import checked_timeframe

# Where nothing is heard of changes the database is asked so often, and no wait is longer than that.
_LOOK_S: Final = 1.0
_DATASETS: Final = ("trade", "order_book", "ohlcv")

T = TypeVar("T")


class InThread(Protocol):
    """Has work done in another thread."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]:
        """What the work gives."""
        ...


@dataclass(frozen=True, slots=True)
class Subscribed:
    """What is listened to: of each series how rows become events, and how it is read; of which instrument."""

    market: LiveMarket
    changes: Changes
    series: Mapping[SeriesName, tuple[Kind, Read]]
    find: Callable[[], tuple[int, datetime]]
    """Gives the number of the instrument and the time it is; raises UnknownSymbol."""
    with_forming: bool


def subscribed_series(datasets: Sequence[str], timeframes: Sequence[str], depth: int) -> dict[SeriesName, Kind]:
    """The series of some datasets; raises InputError, UnknownTimeframe."""
    if isinstance(datasets, str) or isinstance(timeframes, str):
        raise InputError("Datasets and timeframes are lists of names: pass them as ['trade'] and ['1m'].")
    unknown = [one for one in datasets if one not in _DATASETS]
    if unknown or not datasets:
        raise InputError(
            f"{unknown[0]!r} is no dataset: choose from {', '.join(_DATASETS)}."
            if unknown
            else f"No datasets: choose from {', '.join(_DATASETS)}."
        )
    if ("ohlcv" in datasets) != bool(timeframes):
        raise InputError(
            "Candles are of some timeframe: pass 'ohlcv' among datasets and timeframes=['1m'], or neither."
        )
    series: dict[SeriesName, Kind] = {}
    for dataset in dict.fromkeys(datasets):
        if dataset == "trade":
            series[TRADES] = Trades()
        elif dataset == "order_book":
            series[BOOKS] = Books(depth)
        else:
            lengths = [checked_timeframe(name) for name in timeframes]
            series |= {("ohlcv", one.name): Candles(one) for one in lengths}
    return series


async def events(
    subscribed: Subscribed, in_thread: InThread, require_open: Callable[[], None]
) -> AsyncGenerator[Event]:
    """The events of the series from now on, those of each in their order.

    Raises UnknownSymbol, SubscriberTooSlow, StoreError.
    """
    loop, news = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        # A loop that was closed under it waits for nothing.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(news.set)

    subscribed.changes.start()
    instrument_id, now = await in_thread(subscribed.find)
    subscription, opened = subscribed.market.subscribe(subscribed.series.keys(), wake)
    feeds = {
        name: Feed(
            kind,
            read,
            kind.timeframe.floor(now) if isinstance(kind, Candles) else now,
            is_open=name in opened,
            with_forming=subscribed.with_forming,
        )
        for name, (kind, read) in subscribed.series.items()
    }
    readings = [_Reading(feed, subscribed.changes, instrument_id, in_thread, news) for feed in feeds.values()]
    subscribed.changes.tell(wake)
    try:
        while True:
            require_open()
            news.clear()
            for event in _next(subscription, feeds, readings):
                yield event
            # Whoever is never waited for by this leaves the other tasks their turn.
            await asyncio.sleep(0)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await news.wait()
    finally:
        subscription.close()
        subscribed.changes.tell_no_more(wake)
        for reading in readings:
            reading.cancel()


def _next(
    subscription: LiveSubscription, feeds: Mapping[SeriesName, Feed], readings: Sequence["_Reading"]
) -> Iterator[Event]:
    """All there is at present."""
    while told := subscription.take():
        for name, what in told:
            yield from feeds[name].take(what)
    for reading in readings:
        yield from reading.events()


class _Reading:
    """Reads the database for one feed, when that wants it, no more than once at a time."""

    def __init__(
        self, feed: Feed, changes: Changes, instrument_id: int, in_thread: InThread, news: asyncio.Event
    ) -> None:
        self._feed, self._changes, self._instrument_id = feed, changes, instrument_id
        self._in_thread, self._news = in_thread, news
        # What was read last: since when, and before which change.
        self._read: tuple[datetime, int] | None = None
        self._task: asyncio.Future[MarketFrame | None] | None = None

    def events(self) -> Iterator[Event]:
        """What has been read, and what was waited for long enough; asks for more where there may be more."""
        if self._task and self._task.done():
            task, self._task = self._task, None
            yield from self._feed.stored(task.result())
        yield from self._feed.missing()
        if self._task is None and self._feed.wants_reading() and self._is_due():
            self._read = self._feed.since, self._changes.moment()
            self._task = asyncio.ensure_future(self._in_thread(self._feed.read))
            self._task.add_done_callback(lambda _: self._news.set())

    def cancel(self) -> None:
        """Read no more."""
        if self._task:
            self._task.cancel()

    def _is_due(self) -> bool:
        if self._read is None:
            return True
        since, moment = self._read
        return since != self._feed.since or self._changes.has_changed(self._instrument_id, moment)
