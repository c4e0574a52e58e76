"""What a stream has done so far, counted."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from tapehouse.store.batch import WriteResult
from tapehouse.stream.parcel import Parcel

_LAGS_KEPT: Final = 1000


@dataclass(slots=True)
class StreamStatistics:
    """Counts since the stream began.

    `received` are trades, candles that closed and snapshots of books that were due; `inserted`, `changed`, `unchanged`
    and `rejected` what the store made of them; `waiting` and `spilled` what is still in memory and on disk; `coalesced`
    snapshots that were let go while the database was away. `retried` counts writes that had to be tried again, `breaks`
    lost connections and sequences that did not hold, `holes` what was missed by then, `filled` what of that was
    fetched and `missed` what could not be. `skew_ms` is how far the exchange's clock is ahead of ours.
    """

    received: int = 0
    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    waiting: int = 0
    spilled: int = 0
    coalesced: int = 0
    retried: int = 0
    breaks: int = 0
    holes: int = 0
    filled: int = 0
    missed: int = 0
    skew_ms: float | None = None
    lags_s: "deque[float]" = field(default_factory=lambda: deque[float](maxlen=_LAGS_KEPT), repr=False)

    def count(self, parcel: Parcel, written: WriteResult, now_s: float) -> None:
        """Add a parcel that was written by then, on the clock of `time.monotonic`."""
        self.inserted += written.inserted
        self.changed += written.changed
        self.unchanged += written.unchanged
        self.rejected += written.rejected
        if parcel.received_s:
            self.lags_s.append(now_s - parcel.received_s)

    def lag_percentile_ms(self, percent: float) -> float | None:
        """That percentile of how long the oldest row of a write had waited when it was stored, None before any."""
        return float(np.percentile(self.lags_s, percent)) * 1000 if self.lags_s else None

    def __str__(self) -> str:
        """The counts that are worth a line."""
        parts = [
            f"{self.received:,} received",
            f"{self.inserted + self.changed:,} stored",
            f"{self.waiting + self.spilled:,} waiting",
        ]
        if (lag_ms := self.lag_percentile_ms(99)) is not None:
            parts.append(f"99 % written after {lag_ms / 1000:,.1f} s or less")
        counts = (("rejected", self.rejected), ("breaks", self.breaks), ("holes", self.holes))
        return ", ".join(parts + [f"{count:,} {name}" for name, count in counts if count])

    def as_json(self) -> dict[str, object]:
        """The counts, and the lags that half and 99 of 100 writes kept to."""
        names = [name for name in self.__slots__ if name != "lags_s"]
        counts: dict[str, object] = {name: getattr(self, name) for name in names}
        return counts | {"flush_lag_ms": {f"p{percent}": self.lag_percentile_ms(percent) for percent in (50, 99)}}
