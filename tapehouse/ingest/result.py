"""What an ingest did so far, and when a share of rejected rows is too large to go on."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tapehouse.errors import QualityError
from tapehouse.store.instruments import Series

# A batch with a larger share of rejected rows ends the run: something is wrong with the exchange
# or with our reading of it.
MAX_REJECT_SHARE: Final = 0.1
# So few prove nothing: one bad candle of the five that every run asks for again must not stop the rest.
_REJECTS_LET_PASS: Final = 10


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What an ingest did so far: counts of rows, and the number of ranges the exchange refused.

    `seconds` is how much of the time line was dealt with, `reached` the end of the range dealt with last.
    """

    fetched: int = 0
    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    refused: int = 0
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
            self.seconds + other.seconds,
            other.revision if other.revision is not None else self.revision,
            other.reached or self.reached,
        )


def refuse_bad_share(series: Series, written: IngestResult, max_reject_share: float) -> None:
    """Raise QualityError if too large a share of a batch was rejected."""
    if written.rejected > max(_REJECTS_LET_PASS, max_reject_share * written.fetched):
        raise QualityError(
            f"{series}: {written.rejected} of {written.fetched} rows were rejected, which is more than "
            f"{max_reject_share:.0%}. They are in quarantine with their reasons; good ones were stored."
        )
