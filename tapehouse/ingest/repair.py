"""Repair: closing gaps, from the exchange first, then from what the store has besides, then from another exchange.

Where gaps are and why is `tapehouse.store.gaps`' business, candles from elsewhere that of `substitution`. What could
not be had is noted with a time before which it is not asked for again. Refreshing what is derived is the caller's.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final, Literal

from tapehouse.errors import ExchangeError, InputError, UnknownSymbol, UnknownTimeframe
from tapehouse.exchange import Exchange
from tapehouse.exchange.habits import habits_of
from tapehouse.ingest.chunks import ingest_chunks
from tapehouse.ingest.pages import finish_in_thread
from tapehouse.ingest.substitution import Fallback, fill_from_exchange, fill_from_store
from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection
from tapehouse.store.gaps import AskedSeries, Cause, Gap, find_gaps
from tapehouse.store.instruments import CandleSeries, require_origin
from tapehouse.store.ledger import record_attempts

FROM_EXCHANGE: Final = "exchange"

# What can be done about a gap: ask the exchange, look elsewhere, nothing before its next try, nothing ever.
Treatment = Literal["ask", "look_elsewhere", "wait", "none"]
RepairOutcome = Literal["repaired", "partly", "open"]

_ASKED_AGAIN: Final[tuple[Cause, ...]] = ("never_asked", "failed", "rejected", "exchange_empty")
# What candles from elsewhere may fill: nobody had any before the listing or after the end.
_FILLED: Final[tuple[Cause, ...]] = (*_ASKED_AGAIN, "beyond_exchange_history")
# Trades so far apart lie on one page more often than not.
_TRADES_TOGETHER: Final = timedelta(minutes=1)
# So many groups of a series that fail one after another are the series' trouble, so many series the exchange's.
_MOST_FAILURES_IN_A_ROW: Final = 3
_USUAL_PAGE_CANDLES: Final = 500


@dataclass(frozen=True, slots=True)
class Repaired:
    """What became of a gap: what is still open of it, with its causes now, and what filled the rest.

    `sources` are `exchange` for the exchange's own answer, and what `substitute.source` says. `error` is why
    the exchange, or another one, could not be asked, or its answer not be used.
    """

    gap: Gap
    left: tuple[Gap, ...]
    sources: tuple[str, ...]
    error: Exception | None

    @property
    def outcome(self) -> RepairOutcome:
        """Whether all of it is filled, some, or nothing."""
        if not self.left:
            return "repaired"
        return "partly" if _length(self.left) < _length([self.gap]) else "open"


def treatment_of(gap: Gap, *, now: datetime, causes: Collection[str] = ()) -> Treatment:
    """What a repair of those causes, by default of all, does about a gap: before its next try nothing.

    Bars that an exchange leaves out because nothing was traded are answered already: they are asked for
    only where their cause is named.
    """
    if causes and gap.cause not in causes:
        return "none"
    if gap.cause == "exchange_empty" and not causes and _leaves_out_empty(gap.series):
        return "none"
    if gap.cause in _ASKED_AGAIN:
        return "ask" if _is_due(gap, now) else "wait"
    if gap.cause == "beyond_exchange_history" and isinstance(gap.series, CandleSeries):
        return "look_elsewhere"
    return "none"


async def repair_gaps(
    exchange: Exchange,
    connection: Connection,
    gaps: Sequence[Gap],
    *,
    causes: Collection[str] = (),
    fallbacks: Sequence[Fallback] = (),
    progress: Callable[[Repaired], None] | None = None,
) -> list[Repaired]:
    """Close what can be closed of the gaps, all of that exchange's series; an item for each gap that was tried.

    Give all gaps of a time, not only those of the `causes` meant: what waits is not asked for along with others.
    What of a gap is written is committed at once, with its coverage. Trades come before the candles that are built
    from them, and short candles before long ones. Calls `progress` after each gap. What fails at an exchange is in
    the items; after three failures in a row it is not asked for that series, after three such series for nothing more.
    Raises MixedOrigins where it is the sandbox that answers for a real exchange or the other way round, and StoreError.
    """
    repair = _Repair(exchange, connection, causes, fallbacks, progress)
    for series, of_series in groupby(sorted(gaps, key=_repair_order), key=lambda gap: gap.series):
        await repair.close_series(series, list(of_series))
    return repair.done


class _Repair:
    """One run over the gaps of one exchange."""

    def __init__(
        self,
        exchange: Exchange,
        connection: Connection,
        causes: Collection[str],
        fallbacks: Sequence[Fallback],
        progress: Callable[[Repaired], None] | None,
    ) -> None:
        self.done: list[Repaired] = []
        self._exchange = exchange
        self._connection = connection
        self._causes = causes
        self._fallbacks = list(fallbacks)
        self._progress = progress
        self._now = datetime.now(UTC)
        self._failures_in_a_row = 0
        self._lost_series_in_a_row = 0

    async def close_series(self, series: AskedSeries, gaps: Sequence[Gap]) -> None:
        """Close what can be closed of one series' gaps, given oldest first."""
        treated: list[tuple[Gap, Treatment]] = [
            (gap, treatment_of(gap, now=self._now, causes=self._causes)) for gap in gaps
        ]
        fallbacks = list(self._fallbacks) if isinstance(series, CandleSeries) else []
        is_asked = any(how == "ask" for _, how in treated)
        page_candles = await self._page_candles(series) if is_asked else _USUAL_PAGE_CANDLES
        self._failures_in_a_row = 0
        for how, group in _together(treated, series, page_candles):
            await self._close(series, group, how, fallbacks)

    async def _page_candles(self, series: AskedSeries) -> int:
        """The most candles a request gives, once it is sure that the exchange is the one that the store has.

        Where it can't be asked now, asking for the gaps will tell why.
        """
        exchange, symbol = self._exchange, series.instrument.symbol
        with suppress(ExchangeError, UnknownSymbol, UnknownTimeframe):
            listing = await exchange.listing(symbol)
            require_origin(self._connection, exchange.exchange_id, from_sandbox=listing.from_sandbox)
            if isinstance(series, CandleSeries):
                return await exchange.candles_a_page(symbol, series.timeframe)
        return _USUAL_PAGE_CANDLES

    async def _close(
        self, series: AskedSeries, group: Sequence[Gap], how: Treatment, fallbacks: list[Fallback]
    ) -> None:
        """Close what can be closed of gaps that lie together, from one source after the other."""
        attempt = _Attempt(self._connection, series, group, now=self._now)
        if how == "ask" and not self._is_lost():
            await attempt.ask(self._exchange)
            self._count_failure(has_failed=isinstance(attempt.error, ExchangeError))
        if isinstance(series, CandleSeries):
            await self._fill(attempt, series, fallbacks)
        for repaired in await attempt.results():
            self.done.append(repaired)
            if self._progress:
                self._progress(repaired)

    def _is_lost(self) -> bool:
        """Whether asking for more of this series, or asking the exchange at all, is of no use."""
        return _MOST_FAILURES_IN_A_ROW in (self._failures_in_a_row, self._lost_series_in_a_row)

    def _count_failure(self, *, has_failed: bool) -> None:
        self._failures_in_a_row = self._failures_in_a_row + 1 if has_failed else 0
        if not has_failed:
            self._lost_series_in_a_row = 0
        elif self._failures_in_a_row == _MOST_FAILURES_IN_A_ROW:
            self._lost_series_in_a_row += 1

    async def _fill(self, attempt: "_Attempt", series: CandleSeries, fallbacks: list[Fallback]) -> None:
        """Fill what is open from the store, then from one fallback after the other; one that fails is taken out."""
        await attempt.fill_from_store(series)
        # Where an exchange leaves out bars without trades, there was nothing in them that another could know.
        with_empty = not _leaves_out_empty(series)
        for fallback in list(fallbacks):
            if not await attempt.fill_from_exchange(fallback, series, with_empty=with_empty):
                fallbacks.remove(fallback)
        await attempt.note_beyond_history()


class _Attempt:
    """What is being done about gaps of one series that lie together."""

    def __init__(self, connection: Connection, series: AskedSeries, group: Sequence[Gap], *, now: datetime) -> None:
        self.error: Exception | None = None
        self._connection = connection
        self._series = series
        self._group = group
        self._span = group[0].start, group[-1].end
        self._now = now
        self._was_tried = False
        self._was_asked_elsewhere = False
        self._found: Sequence[Gap] = group
        self._left: dict[Gap, tuple[Gap, ...]] = {gap: (gap,) for gap in group}
        self._sources: dict[Gap, list[str]] = {gap: [] for gap in group}

    async def ask(self, exchange: Exchange) -> None:
        """Ask the exchange for all of the span, and note what it did not give."""
        self._was_tried = True
        try:
            # Of a few rows one is a large share. What is rejected stays open, is told so, and waits.
            await ingest_chunks(exchange, self._connection, self._series, [self._span], max_reject_share=1)
        except (ExchangeError, UnknownSymbol, UnknownTimeframe) as error:
            self.error = error
        await self._look_again(FROM_EXCHANGE)
        await self._note("exchange_empty", self._empty_runs())
        if self.error:
            asked = self._pieces("never_asked", "failed", "rejected")
            await self._note("failed", [(one.range, one.attempts + 1) for one in asked if _is_due(one, self._now)])

    async def fill_from_store(self, series: CandleSeries) -> None:
        """Fill what is open from the store's own other data."""
        ranges = [one.range for one in self._pieces(*_FILLED)]
        if ranges and (source := await finish_in_thread(lambda: fill_from_store(self._connection, series, ranges))):
            self._was_tried = True
            await self._look_again(source)

    async def fill_from_exchange(self, fallback: Fallback, series: CandleSeries, *, with_empty: bool) -> bool:
        """Fill what is open and due from another exchange; says whether that went well."""
        pieces = [one for one in self._pieces_elsewhere(*_FILLED) if with_empty or one.cause != "exchange_empty"]
        if not pieces:
            return True
        self._was_tried = self._was_asked_elsewhere = True
        error: Exception | None = None
        try:
            source = await fill_from_exchange(fallback, self._connection, series, [one.range for one in pieces])
            if source:
                await self._look_again(source)
        except (InputError, ExchangeError) as failure:
            error = failure
        self.error = self.error or error
        return error is None

    async def note_beyond_history(self) -> None:
        """Note what of the lost history other exchanges, if any were asked, did not have either."""
        if self._was_asked_elsewhere:
            pieces = self._pieces_elsewhere("beyond_exchange_history")
            await self._note("beyond_exchange_history", [(one.range, one.attempts + 1) for one in pieces])

    async def results(self) -> list[Repaired]:
        """What became of each gap; nothing where none was tried."""
        if not self._was_tried:
            return []
        if any(self._left.values()):
            await self._look_again()
        return [Repaired(gap, self._left[gap], tuple(self._sources[gap]), self.error) for gap in self._group]

    async def _look_again(self, source: str | None = None) -> None:
        """Find out what is open now; where that is less than before, the source has filled it."""
        self._found = await finish_in_thread(lambda: find_gaps(self._connection, self._series, *self._span))
        for gap in self._group:
            left = tuple(_cut(gap, self._found))
            if source and _length(left) < _length(self._left[gap]):
                self._sources[gap].append(source)
            self._left[gap] = left

    def _pieces(self, *causes: Cause) -> list[Gap]:
        """What is open for those causes, oldest first."""
        return [one for gap in self._group for one in self._left[gap] if one.cause in causes]

    def _pieces_elsewhere(self, *causes: Cause) -> list[Gap]:
        """What of it other exchanges may be asked for."""
        due = [gap for gap in self._group if _is_due_elsewhere(gap, self._now)]
        return [one for gap in due for one in self._left[gap] if one.cause in causes]

    def _empty_runs(self) -> list[tuple[TimeRange, int]]:
        """What was answered without a candle, and how often by now.

        Empty bars with nothing else open between them are one range: thin markets have them by the thousand.
        """
        known = [gap for gap in self._group if gap.cause == "exchange_empty"]
        runs: list[tuple[TimeRange, int]] = []
        for cause, run in groupby(self._found, key=lambda gap: gap.cause):
            if cause == "exchange_empty":
                bars = list(run)
                start, end = bars[0].start, bars[-1].end
                before = max((gap.attempts for gap in known if start < gap.end and gap.start < end), default=0)
                runs.append(((start, end), before + 1))
        return runs

    async def _note(self, cause: Cause, attempts: Sequence[tuple[TimeRange, int]]) -> None:
        """Note that each range was asked for in vain so often."""
        await finish_in_thread(lambda: record_attempts(self._connection, self._series, attempts, cause=cause))


def _repair_order(gap: Gap) -> tuple[int, int, datetime]:
    timeframe_s = gap.series.timeframe.seconds if isinstance(gap.series, CandleSeries) else 0
    return gap.series.instrument.instrument_id, timeframe_s, gap.start


def _together(
    treated: Iterable[tuple[Gap, Treatment]], series: AskedSeries, page_candles: int
) -> Iterator[tuple[Treatment, list[Gap]]]:
    """Gaps, oldest first, in groups to be treated as one: such as one request is likely to answer.

    A gap that is left alone ends a group, so that nothing asks for it along with others.
    """
    group: list[Gap] = []
    of_group: Treatment = "none"
    for gap, how in treated:
        if group and (how != of_group or not _fits(series, group, gap, page_candles)):
            yield of_group, group
            group = []
        of_group = how
        if how in ("ask", "look_elsewhere"):
            group.append(gap)
    if group:
        yield of_group, group


def _fits(series: AskedSeries, group: Sequence[Gap], gap: Gap, page_candles: int) -> bool:
    if isinstance(series, CandleSeries):
        return gap.end <= series.timeframe.shift(group[0].start, page_candles)
    return gap.start - group[-1].end <= _TRADES_TOGETHER


def _leaves_out_empty(series: AskedSeries) -> bool:
    return habits_of(series.instrument.exchange).leaves_out_empty


def _is_due(gap: Gap, now: datetime) -> bool:
    return gap.next_try_at is None or gap.next_try_at <= now


def _is_due_elsewhere(gap: Gap, now: datetime) -> bool:
    """Whether other exchanges may be asked: what only its own exchange was asked for so far need not wait for that."""
    return _is_due(gap, now) or (gap.cause == "beyond_exchange_history" and gap.attempts <= 1)


def _cut(gap: Gap, found: Sequence[Gap]) -> Iterator[Gap]:
    """What of the gaps found lies within one from before."""
    for one in found:
        start, end = max(one.start, gap.start), min(one.end, gap.end)
        if start < end:
            # What was answered, though without a candle, the ledger has forgotten.
            was_empty = one.cause == gap.cause == "exchange_empty"
            yield replace(one, start=start, end=end, attempts=max(one.attempts, gap.attempts if was_empty else 0))


def _length(gaps: Iterable[Gap]) -> timedelta:
    return sum((gap.end - gap.start for gap in gaps), timedelta())
