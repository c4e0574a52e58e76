"""How long rows are kept: what the server's own retention jobs are set to, and what that means for old data.

The jobs are the server's (`sql/migrations`); how far they have gone is in `tapehouse.store.ledger`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from tapehouse.errors import BeyondRetention, InputError
from tapehouse.store.connection import Connection, store_errors
from tapehouse.store.instruments import CandleSeries, Series
from tapehouse.store.rollups import BASE_TIMEFRAME
from tapehouse.store.sql import query


@dataclass(frozen=True, slots=True)
class Kept:
    """How long a dataset's rows are kept: `keep` as PostgreSQL writes an interval, None for good.

    The next run of retention, due at `next_run_at` where there is one, drops what lies before
    `kept_since`; what lies before `dropped_before` it has dropped already. Of `ohlcv` that is the 1m
    candles: longer ones are kept for good.
    """

    dataset: str
    keep: str | None
    kept_since: datetime | None
    dropped_before: datetime | None
    next_run_at: datetime | None


def read_kept(connection: Connection) -> list[Kept]:
    """How long the rows of each dataset are kept that retention may drop."""
    with store_errors(), connection.cursor(row_factory=class_row(Kept)) as cursor:
        return cursor.execute(query("read_kept")).fetchall()


def change_kept(connection: Connection, changes: Mapping[str, str | None], *, dry_run: bool = False) -> list[Kept]:
    """Keep those datasets' rows that long from the next run of retention on, None for good; returns what holds then.

    A dry run changes nothing. What was dropped stays so. Raises InputError where retention has no job for a dataset.
    """
    with store_errors(), connection.transaction(force_rollback=dry_run):
        for dataset, keep in changes.items():
            changed = connection.execute(query("change_kept"), {"dataset": dataset, "keep": keep}).fetchall()
            if not changed:
                raise InputError(f"The database has no retention job for {dataset}: nothing of it is dropped.")
        return read_kept(connection)


def require_kept(connection: Connection, series: Series, start: datetime, *, force: bool = False) -> None:
    """Raise BeyondRetention where rows from `start` on would not stay: retention drops them at its next run.

    `force` lets them be written all the same; not so what lies where retention has been, since nothing
    older than that can be written.
    """
    if isinstance(series, CandleSeries) and series.timeframe != BASE_TIMEFRAME:
        return
    for kept in read_kept(connection):
        if kept.dataset == series.dataset:
            _require_kept(kept, series, start, force=force)


def _require_kept(kept: Kept, series: Series, start: datetime, *, force: bool) -> None:
    if kept.dropped_before and start < kept.dropped_before:
        raise BeyondRetention(
            f"Retention has dropped what {series} had before {kept.dropped_before.isoformat()}, "
            "and nothing older can be stored again: begin there."
        )
    if kept.kept_since and start < kept.kept_since and not force:
        raise BeyondRetention(
            f"{series} is kept for {kept.keep}: what lies before {kept.kept_since.isoformat()} would be dropped by the "
            f"next run of retention. Begin there, keep more (tapehouse db retention --keep {kept.dataset}=10y), "
            "or store it all the same with --force."
        )
