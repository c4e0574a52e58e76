"""How far the fetching of several series is: rows, rate, date reached and time left, per exchange and of all.

Only counted here: how it is shown is the command line's and the flows' business.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

from tapehouse.ingest.plan import IngestPlan
from tapehouse.ingest.result import IngestResult
from tapehouse.ingest.run import CandleRequest, SeriesRequest


class Fetched(Protocol):
    """A series while it is fetched, and what has become of it so far; `plan` is None as long as there is none."""

    @property
    def exchange_id(self) -> str:
        """The exchange."""
        ...

    @property
    def request(self) -> SeriesRequest:
        """What was asked of us."""
        ...

    @property
    def plan(self) -> IngestPlan | None:
        """What is asked of the exchange."""
        ...

    @property
    def result(self) -> IngestResult:
        """What was done so far."""
        ...

    @property
    def is_ended(self) -> bool:
        """Whether no more will come."""
        ...


F = TypeVar("F", bound=Fetched)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far it is: `share` of what is planned from 0 to 1, `reached` the end of the range dealt with last.

    The rate and the time left are None as long as there is nothing to tell them by.
    """

    series: int
    ended: int
    rows: int
    share: float
    rows_per_s: float | None
    reached: datetime | None
    left_s: float | None

    def __str__(self) -> str:
        parts = [f"{self.rows:,} rows"]
        if self.rows_per_s is not None:
            parts.append(f"{self.rows_per_s:,.0f} a second")
        if self.reached is not None:
            parts.append(f"{self.reached:%Y-%m-%d %H:%M} UTC reached")
        if self.left_s:
            parts.append(f"{length_text(self.left_s)} left")
        return f"{self.share:.0%}: {', '.join(parts)}"


class Tally(Generic[F]):
    """How far all series of all exchanges are; `clock` tells seconds and never goes back."""

    def __init__(
        self, asked: Mapping[str, Sequence[SeriesRequest]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.exchange_ids = tuple(asked)
        # None as long as nothing was told of it.
        self._series: dict[str, dict[SeriesRequest, F | None]] = {
            exchange_id: dict.fromkeys(requests) for exchange_id, requests in asked.items()
        }
        # The exchange told of last comes last.
        self._reached: dict[str, datetime | None] = {}
        self._clock = clock
        self._began_s: float | None = None

    @property
    def told(self) -> list[F]:
        """The series that were told of, in the order asked for."""
        return [one for series in self._series.values() for one in series.values() if one is not None]

    def tell(self, series: F) -> None:
        """The series was begun, or got further, or has ended."""
        if self._began_s is None:
            self._began_s = self._clock()
        self._series[series.exchange_id][series.request] = series
        before = self._reached.pop(series.exchange_id, None)
        self._reached[series.exchange_id] = series.result.reached or before

    def of(self, exchange_id: str) -> Standing:
        """How far one exchange is."""
        return self._standing(self._series[exchange_id].items(), self._reached.get(exchange_id))

    def total(self) -> Standing:
        """How far all of it is; exchanges are asked side by side, so what is left is the slowest one's time."""
        reached = next((one for one in reversed(self._reached.values()) if one is not None), None)
        everything = self._standing([pair for series in self._series.values() for pair in series.items()], reached)
        left_s = [self.of(exchange_id).left_s for exchange_id in self.exchange_ids]
        known_s = [one for one in left_s if one is not None]
        return replace(everything, left_s=max(known_s, default=0.0) if len(known_s) == len(left_s) else None)

    def _standing(self, series: Collection[tuple[SeriesRequest, Fetched | None]], reached: datetime | None) -> Standing:
        elapsed_s = 0.0 if self._began_s is None else self._clock() - self._began_s
        told = [one for _, one in series if one is not None]
        rows = sum(one.result.fetched for one in told)
        done, left = sum(_units(one.request, one.result.seconds) for one in told), _left(series)
        return Standing(
            series=len(series),
            ended=sum(one.is_ended for one in told),
            rows=rows,
            share=_share(done, left),
            rows_per_s=rows / elapsed_s if rows and elapsed_s else None,
            reached=reached,
            left_s=_time_left_s(done, left, elapsed_s),
        )


def planned_candles(request: SeriesRequest, plan: IngestPlan | None) -> int | None:
    """How many candles the plan asks for; None for trades, which nobody can count before."""
    if not isinstance(request, CandleRequest):
        return None
    return sum(request.timeframe.count(*chunk) for chunk in plan.chunks) if plan else 0


def length_text(seconds: float) -> str:
    """A length of time for people: 45s, 12m 30s, 3h 05m, 2d 04h."""
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86_400
    if days:
        return f"{days}d {hours % 24:02}h"
    if hours:
        return f"{hours}h {minutes % 60:02}m"
    return f"{minutes}m {whole % 60:02}s" if minutes else f"{whole}s"


def _left(series: Iterable[tuple[SeriesRequest, Fetched | None]]) -> float | None:
    """How much there is still to fetch, None as long as nobody can tell.

    A series without a plan is taken to lack as much of what was asked for as those that have one.
    """
    left = lacking = wanted = unplanned = 0.0
    for request, one in series:
        if one is not None and one.plan is not None:
            planned = _units(request, one.plan.seconds)
            lacking, wanted = lacking + planned, wanted + _wanted(request)
            left += 0.0 if one.is_ended else max(0.0, planned - _units(request, one.result.seconds))
        elif one is None or not one.is_ended:
            unplanned += _wanted(request)
    if not unplanned:
        return left
    return left + unplanned * lacking / wanted if wanted else None


def _wanted(request: SeriesRequest) -> float:
    """How much was asked for, be it stored or not."""
    return _units(request, ((request.end or datetime.now(UTC)) - request.start).total_seconds())


def _units(request: SeriesRequest, seconds: float) -> float:
    """So much of the time line in what takes about equally long to fetch: candles, of trades seconds."""
    return seconds / request.timeframe.seconds if isinstance(request, CandleRequest) else seconds


def _share(done: float, left: float | None) -> float:
    if left is None:
        return 0.0
    return done / (done + left) if done + left else 1.0


def _time_left_s(done: float, left: float | None, elapsed_s: float) -> float | None:
    """The time that is left if all goes on as it went so far."""
    if left == 0:
        return 0.0
    return left * elapsed_s / done if left is not None and done else None
