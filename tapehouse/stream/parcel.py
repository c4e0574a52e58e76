"""What goes to the store together, and what a stream has missed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from tapehouse.ranges import TimeRange
from tapehouse.store.instruments import BookSeries, CandleSeries, TradeSeries

StreamedSeries: TypeAlias = TradeSeries | CandleSeries | BookSeries


@dataclass(frozen=True, slots=True, eq=False)
class Parcel:
    """Rows of one series as received, and the windows that they are all there is of.

    Of order books each row is a `BookSample`, and has a window of its own at the same place. `received_s` is when the
    oldest of them came, by `time.monotonic`. `unproven` are windows of other rows, of which nobody knows whether they
    are all: they lack something unless it was fetched otherwise.
    """

    series: StreamedSeries
    rows: Sequence[object]
    windows: Sequence[TimeRange]
    received_s: float
    unproven: Sequence[TimeRange] = ()


@dataclass(slots=True, eq=False)
class Hole:
    """What a stream has missed of a series, to be asked for by requests.

    `rows` are what was streamed of its first and last millisecond, of which nobody knows whether it is all.
    """

    span: TimeRange
    rows: list[tuple[int, object]] = field(default_factory=list[tuple[int, object]])


class Lane(Protocol):
    """What comes of one series, until it is written."""

    @property
    def series(self) -> StreamedSeries:
        """The series."""
        ...

    def take(self, now_s: float) -> Parcel | None:
        """Hand over what can be written by now, if there is anything."""
        ...

    def take_holes(self) -> list[Hole]:
        """Hand over what was missed since this was last asked."""
        ...

    def fill(self, hole: Hole) -> None:
        """All that could be done about a hole has been done."""
        ...

    def close(self) -> None:
        """No more comes: what waits for more can be handed over."""
        ...
