"""What a status tells, as records: facts with their units, no verdicts; those are `tapehouse.status.findings`.

Times are aware and UTC, lengths of time in seconds, sizes in bytes, shares from 0 to 1.
"""

from dataclasses import dataclass
from datetime import datetime

from tapehouse.store.instruments import Dataset


@dataclass(frozen=True, slots=True)
class SeriesStatus:
    """How fresh one series is, and what is missing and was rejected of it.

    `lag_s` is how long ago what is fetched of it ends, None where nothing is. Runs set out to bring it up to the
    present at `asked_at`, usually every `asked_every_s`; None where none, or only one, ever has. `gaps` are stretches
    that were to be fetched and could be, the longest from `longest_gap_start` to `longest_gap_end`; `failed` are ranges
    that were asked for in vain and will be again. `rejected` rows are in quarantine, `rejected_24h` of them are of the
    last 24 hours, which had `rows_24h` good ones: of candles those that can be there, of others as many as on average.
    """

    exchange: str
    symbol: str
    dataset: Dataset
    timeframe: str | None
    is_active: bool
    rows: int
    covered_until: datetime | None
    lag_s: float | None
    interval_s: float | None
    asked_at: datetime | None
    asked_every_s: float | None
    gaps: int
    longest_gap_start: datetime | None
    longest_gap_end: datetime | None
    failed: int
    rejected: int
    rejected_24h: int
    rows_24h: float | None

    @property
    def name(self) -> str:
        """The series, as in `kraken BTC/USD 1m` or `kraken BTC/USD trade`."""
        return f"{self.exchange} {self.symbol} {self.timeframe or self.dataset}"

    @property
    def lag_intervals(self) -> float | None:
        """The lag in intervals of the series, which are its candles' length or the time between two runs."""
        return self.lag_s / self.interval_s if self.lag_s is not None and self.interval_s else None

    @property
    def expected_lag_s(self) -> float | None:
        """The lag right before a run that is on time: its candles' length and the time between two runs."""
        if self.asked_every_s is None:
            return None
        return self.asked_every_s + (self.interval_s or 0.0 if self.timeframe else 0.0)

    @property
    def longest_gap_s(self) -> float | None:
        """The length of the longest gap."""
        if self.longest_gap_start is None or self.longest_gap_end is None:
            return None
        return (self.longest_gap_end - self.longest_gap_start).total_seconds()

    @property
    def reject_share_24h(self) -> float | None:
        """The share of the last 24 hours' rows that was rejected; None where none was there."""
        came = self.rejected_24h + (self.rows_24h or 0.0)
        return self.rejected_24h / came if came else None


@dataclass(frozen=True, slots=True)
class TableStatus:
    """The space that a table of data or a rollup takes, and how far its chunks are compressed.

    `due` chunks are old enough for compression and not compressed, the first of them since `due_since`; those that are
    `partly_compressed` were written to afterwards. The compressed ones took `before_bytes` and take `after_bytes`;
    `small` of them took less than 1 MB, and `rows_per_batch` of their rows are compressed together, 1,000 at most.
    `new_bytes` are of chunks that came into being in the last 30 days.
    """

    name: str
    bytes: int
    new_bytes: int
    chunks: int
    compressed: int
    partly_compressed: int
    due: int
    due_since: datetime | None
    first_made_at: datetime | None
    before_bytes: int
    after_bytes: int
    small: int
    rows_per_batch: float | None

    @property
    def saved(self) -> float | None:
        """The share of space that compression saves; None where nothing is compressed."""
        return 1 - self.after_bytes / self.before_bytes if self.before_bytes else None


@dataclass(frozen=True, slots=True)
class RollupStatus:
    """How far a rollup, or a table of features, is up to date with what it is derived from.

    `watermark` is until when a rollup is computed in advance; from there on the server works it out on every read.
    `stale` notes say of ranges, the first from `stale_from` on, that they were written since; what of it could have
    been made good waits for that since `waiting_s`, 0 where nothing does.
    """

    name: str
    watermark: datetime | None
    stale: int
    stale_from: datetime | None
    waiting_s: float


@dataclass(frozen=True, slots=True)
class RetentionStatus:
    """How long a dataset is kept, as `tapehouse.store.retention.Kept` tells, and whether what is older is gone.

    `overdue` chunks hold rows that should have been dropped, the first of them at `overdue_since`. Nothing from
    `held_from` on may be dropped yet: what is derived from it is behind. What `is_archived` is dropped only once it is
    in the archive.
    """

    dataset: str
    keep: str | None
    kept_since: datetime | None
    dropped_before: datetime | None
    next_run_at: datetime | None
    overdue: int
    overdue_since: datetime | None
    held_from: datetime | None
    is_archived: bool


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job of the server that keeps the storage in order, and how its runs went, whoever started them.

    It is due at `due_at`, None where nobody has planned it yet; `failed_in_a_row` runs failed since one went well for
    the last time, with what the last of them said in `error`.
    """

    job_id: int
    procedure: str
    of_what: str | None
    every_s: float
    is_scheduled: bool
    is_running: bool
    succeeded_at: datetime | None
    due_at: datetime | None
    failed_in_a_row: int
    error: str | None

    @property
    def name(self) -> str:
        """The job, as in `policy_compression of trade` or `compress_rollups of 6 rollups`."""
        if self.of_what is None:
            return self.procedure
        of = self.of_what.split(", ")
        return f"{self.procedure} of {of[0] if len(of) == 1 else f'{len(of)} rollups'}"


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """The server and the whole database: `grown_bytes_per_day` is the mean of up to the last 30 days.

    It counts chunks that came into being in that time. `runs_jobs` says whether the server runs jobs by itself.
    """

    postgresql: str
    timescaledb: str
    is_embedded: bool
    runs_jobs: bool
    bytes: int
    grown_bytes_per_day: float | None


@dataclass(frozen=True, slots=True)
class DiskStatus:
    """The volume that the database's files are on."""

    path: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Status:
    """How a store was doing at `read_at`, by the server's clock; `disk` is None where that can't be known from here."""

    read_at: datetime
    database: DatabaseStatus
    disk: DiskStatus | None
    series: tuple[SeriesStatus, ...]
    tables: tuple[TableStatus, ...]
    rollups: tuple[RollupStatus, ...]
    retention: tuple[RetentionStatus, ...]
    jobs: tuple[JobStatus, ...]

    def by_lag(self) -> list[SeriesStatus]:
        """The series, those first that runs bring up to date, and of these what lags most by its intervals."""
        return sorted(self.series, key=lambda one: (one.asked_every_s is None, -(one.lag_intervals or 0.0)))
