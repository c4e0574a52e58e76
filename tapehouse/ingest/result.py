"""What an ingest did so far, and when a share of rejected rows is too large to go on."""

from dataclasses import dataclass
from datetime import datetime

from tapehouse.store.instruments import Series
from tapehouse.validate.share import MAX_REJECT_SHARE as MAX_REJECT_SHARE
from tapehouse.validate.share import refuse_bad_share as refuse_share


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What an ingest did so far: counts of rows, and the numbers of ranges the exchange refused and failed to give.

    `seconds` is how much of the time line was dealt with, `reached` the end of the range dealt with last.
    """

    fetched: int = 0
    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    refused: int = 0
    failed: int = 0
    seconds: float = 0.0
    revision: int | None = None
    reached: datetime | None = None

    def __add__(self, other: "IngestResult") -> "IngestResult":
        return IngestResult(
            self.fetched + other.fetched,
            self.inserted + other.inserted,
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.rejected + other.rejected,
            self.refused + other.refused,
            self.failed + other.failed,
            self.seconds + other.seconds,
            other.revision if other.revision is not None else self.revision,
            other.reached or self.reached,
        )


def refuse_bad_share(series: Series, written: IngestResult, max_reject_share: float) -> None:
    """Raise QualityError if too large a share of a batch was rejected."""
    refuse_share(series, rejected=written.rejected, rows=written.fetched, at_most=max_reject_share)
