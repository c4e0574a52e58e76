"""Batches of candles and rejected rows: what validation hands to the store.

The columns are plain numpy arrays of one length, so that nothing on the way from a page to
the database is a Python object a row.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from tapehouse.timeframe import aware_utc, to_ms

PRICE_COLUMNS: Final = ("open", "high", "low", "close")
VALUE_COLUMNS: Final = (*PRICE_COLUMNS, "volume")
# Open times that a candle could have; a number outside these years is another unit, or rubbish.
BELIEVABLE_MS: Final = range(to_ms(datetime(2000, 1, 1, tzinfo=UTC)), to_ms(datetime(2100, 1, 1, tzinfo=UTC)))

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class CandleBatch:
    """Validated candles of one series, sorted by open time, no time twice.

    `time_us` is the open time in microseconds since 1970 UTC; prices are in quote units,
    volume in the instrument's amount unit; all float64, finite.
    """

    time_us: Int64Array
    open: Float64Array
    high: Float64Array
    low: Float64Array
    close: Float64Array
    volume: Float64Array

    def __len__(self) -> int:
        return len(self.time_us)

    def take(self, keep: npt.NDArray[np.bool_]) -> "CandleBatch":
        """The candles for which `keep` is true."""
        return CandleBatch(
            self.time_us[keep], self.open[keep], self.high[keep], self.low[keep], self.close[keep], self.volume[keep]
        )


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that failed validation: as it came (JSON-able), with the names of the checks it failed.

    `time` is its open time where it has a believable one: that interval then counts as not covered.
    Raises NaiveDatetime for a time without a time zone.
    """

    time: datetime | None
    reasons: tuple[str, ...]
    raw: object

    def __post_init__(self) -> None:
        if self.time is not None:
            aware_utc(self.time)
