"""The coverage ledger: what of a series was wanted and fetched, what is missing, what was refused or rejected.

Time ranges are half-open and in UTC. The functions that write run inside the caller's
transaction (see `tapehouse.store.batch`).
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from psycopg.types.multirange import TimestamptzMultirange
from psycopg.types.range import TimestamptzRange

from tapehouse.candle import Reject
from tapehouse.ranges import TimeRange, Unavailable
from tapehouse.store.connection import Connection, one_row, store_errors
from tapehouse.store.instruments import Series
from tapehouse.store.sql import query

# How long a range waits before it is asked for again, the first time; doubled each time in vain.
_FIRST_WAIT: Final = {
    "rejected": timedelta(minutes=15),
    "failed": timedelta(minutes=15),
}
_USUAL_FIRST_WAIT: Final = timedelta(days=1)


def missing_ranges(
    connection: Connection, series: Series, wanted: TimeRange, *, trailing: Iterable[TimeRange] = ()
) -> list[TimeRange]:
    """What of `wanted` should be asked for, oldest first.

    That is what is neither covered nor known to be unavailable until later, where it does not wait only
    because asking failed; and the `trailing` ranges, where exchanges still correct themselves, in any case.
    """
    parameters = {
        "series_id": series.series_id,
        "wanted": TimestamptzRange(*wanted),
        "trailing": multirange(trailing),
    }
    with store_errors():
        return list(connection.execute(query("read_missing"), parameters))


def covered_until(connection: Connection, series: Series, before: datetime) -> datetime | None:
    """Where what is covered before that time ends; None if nothing is."""
    parameters = {"series_id": series.series_id, "before": before}
    with store_errors():
        return one_row(connection.execute(query("read_covered_until"), parameters))[0]


def begin_of(connection: Connection, series: Series) -> tuple[datetime | None, datetime | None, datetime]:
    """Where the exchange's data begins, if known, where what is covered of it begins, and when that was written."""
    with store_errors():
        row = one_row(connection.execute(query("read_begin"), {"series_id": series.series_id}))
    begins_at, covered_from, written_at = row
    return begins_at, covered_from, written_at


def dropped_before(connection: Connection, series: Series) -> datetime | None:
    """The time before which retention has dropped the series, if it has."""
    with store_errors():
        row = connection.execute(query("read_dropped_before"), {"series_id": series.series_id}).fetchone()
    return row[0] if row else None


def record_wanted(connection: Connection, series: Series, wanted: TimeRange) -> None:
    """Note, in a transaction of its own, that a range is to be fetched; what lies before the series begins is not."""
    with store_errors():
        connection.execute(query("extend_wanted"), {"series_id": series.series_id, "wanted": TimestamptzRange(*wanted)})


def record_asked(connection: Connection, series: Series) -> None:
    """Note, in a transaction of its own, that a run sets out to bring the series up to the present.

    So it is known how often that is done, and how fresh the series is expected to be.
    """
    with store_errors():
        connection.execute(query("note_asked"), {"series_id": series.series_id})


def record_coverage(
    connection: Connection,
    series: Series,
    answered: TimestamptzMultirange,
    *,
    changed_known: bool,
    inserted: int,
    quarantined: int,
) -> tuple[int, bool]:
    """Add to a series' coverage and counts; returns its revision and whether that grew.

    `changed_known` says that rows changed or appeared where readers could already have looked; `inserted`
    and `quarantined` how many rows were not stored, or not in quarantine, before.
    """
    parameters = {
        "series_id": series.series_id,
        "answered": answered,
        "changed_known": changed_known,
        "inserted": inserted,
        "quarantined": quarantined,
    }
    revision, is_news = one_row(connection.execute(query("record_coverage"), parameters))
    return revision, is_news


def record_unavailable(connection: Connection, series: Series, refused: Sequence[Unavailable]) -> None:
    """Note ranges that could not be had, each with the time before which it is not asked for again."""
    for cause in sorted({one.cause for one in refused}):
        connection.execute(
            query("upsert_unavailable"),
            {
                "series_id": series.series_id,
                "cause": cause,
                "ranges": multirange((one.start, one.end) for one in refused if one.cause == cause),
                "wait": _FIRST_WAIT.get(cause, _USUAL_FIRST_WAIT),
            },
        )


def record_failed(connection: Connection, series: Series, window: TimeRange) -> None:
    """Note, in a transaction of its own, that what is not covered of the window was asked for in vain."""
    with store_errors(), connection.transaction():
        record_unavailable(connection, series, [Unavailable(*window, "failed")])


def record_attempts(
    connection: Connection, series: Series, attempts: Sequence[tuple[TimeRange, int]], *, cause: str
) -> None:
    """Note ranges that were asked for in vain so many times, also where they are covered; each waits the longer."""
    if not attempts:
        return
    parameters = {
        "series_id": series.series_id,
        "cause": cause,
        "ranges": [TimestamptzRange(*during) for during, _ in attempts],
        "attempts": [times for _, times in attempts],
        "wait": _FIRST_WAIT.get(cause, _USUAL_FIRST_WAIT),
    }
    with store_errors():
        connection.execute(query("upsert_attempts"), parameters)


def mark_rollups_stale(connection: Connection, series: Series, span: TimeRange) -> None:
    """Note that the rollups over what was written to the series are behind there."""
    connection.execute(query("mark_rollups_stale"), _stale_note(series, span))


def mark_features_stale(connection: Connection, series: Series, span: TimeRange) -> None:
    """Note that the features computed from what was written to the series are behind there."""
    connection.execute(query("mark_features_stale"), _stale_note(series, span))


def quarantine(connection: Connection, series: Series, rejects: Sequence[Reject]) -> int:
    """Keep rejected rows as they came, with their reasons; returns how many were not there yet."""
    if not rejects:
        return 0
    parameters = {
        "series_id": series.series_id,
        "times": [reject.time for reject in rejects],
        "reasons": [" ".join(reject.reasons) for reject in rejects],
        "raws": [json.dumps(_finite(reject.raw)) for reject in rejects],
    }
    return one_row(connection.execute(query("insert_quarantine"), parameters))[0]


def multirange(ranges: Iterable[TimeRange]) -> TimestamptzMultirange:
    """Half-open ranges as PostgreSQL's tstzmultirange."""
    return TimestamptzMultirange(TimestamptzRange(start, end) for start, end in ranges)


def _stale_note(series: Series, span: TimeRange) -> dict[str, object]:
    return {
        "instrument_id": series.instrument.instrument_id,
        "dataset": series.dataset,
        "during": TimestamptzRange(*span),
    }


def _finite(raw: object) -> object:
    """The same JSON with NaN and infinities, which JSON has no word for, spelled as strings."""
    return json.loads(json.dumps(raw, default=str), parse_constant=str)
