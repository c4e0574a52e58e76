"""What else the store knows of a time in which prices are suspicious: the trades, and other markets of the pair."""

from dataclasses import dataclass

from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection, one_row
from tapehouse.store.instruments import Series
from tapehouse.store.sql import query
from tapehouse.timeframe import Timeframe


@dataclass(frozen=True, slots=True)
class Traded:
    """All trades of a time: how many, and their lowest and highest price in ticks, None where there was none."""

    count: int
    low: float | None
    high: float | None

    def reaches(self, low: float, high: float) -> bool:
        """Whether trades were made as low and as high as that."""
        return self.low is not None and self.high is not None and self.low <= low and high <= self.high

    def was_only_at(self, price: float) -> bool:
        """Whether no trade was made at another price."""
        return self.count == 0 or (self.low == price == self.high)


def read_traded(connection: Connection, series: Series, span: TimeRange) -> Traded | None:
    """What the trades of a series' market in that time say; None where not all of them are stored."""
    parameters = {"instrument_id": series.instrument.instrument_id, "start": span[0], "end": span[1]}
    # A plan kept for any times would have to look at all chunks.
    row = one_row(connection.execute(query("read_traded"), parameters, prepare=False))
    is_known, *rest = row
    return Traded(*rest) if is_known else None


def read_move_elsewhere(connection: Connection, series: Series, timeframe: Timeframe, span: TimeRange) -> float:
    """The largest share by which the price of the same pair moved in that time on other markets; 0 if none is known."""
    parameters = {
        "instrument_id": series.instrument.instrument_id,
        "timeframe_s": timeframe.seconds,
        "start": span[0],
        "end": span[1],
    }
    (move,) = one_row(connection.execute(query("read_move_elsewhere"), parameters, prepare=False))
    return move or 0.0
