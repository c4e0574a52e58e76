"""When so many rows of a batch are rejected that something else must be wrong than the rows."""

from typing import Final

from tapehouse.errors import QualityError

# A batch with a larger share of rejected rows ends the run: something is wrong with where it came from,
# or with our reading of it.
MAX_REJECT_SHARE: Final = 0.1
# So few prove nothing: one bad candle of the five that every run asks for again must not stop the rest.
_REJECTS_LET_PASS: Final = 10


def refuse_bad_share(series: object, *, rejected: int, rows: int, at_most: float = MAX_REJECT_SHARE) -> None:
    """Raise QualityError if too large a share of a series' rows was rejected."""
    if rejected > max(_REJECTS_LET_PASS, at_most * rows):
        raise QualityError(
            f"{series}: {rejected} of {rows} rows were rejected, which is more than {at_most:.0%}. "
            "They are in quarantine with their reasons; good ones were stored."
        )
