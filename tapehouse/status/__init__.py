"""How a store is doing: read from the ledgers and the server's catalogues, judged, told in one screen.

    from tapehouse.status import Limits, find_problems, read_status
    status = read_status(connection)
    findings = find_problems(status, Limits())

No row of data is looked at. `check_storage` keeps compression and retention going.
"""

from tapehouse.status.compression import undermined_by
from tapehouse.status.findings import (
    Finding,
    Kind,
    Limits,
    Severity,
    find_problems,
    find_storage_problems,
    is_followed,
    stale_after_s,
)
from tapehouse.status.reading import read_status
from tapehouse.status.records import (
    DatabaseStatus,
    DiskStatus,
    JobStatus,
    RetentionStatus,
    RollupStatus,
    SeriesStatus,
    Status,
    TableStatus,
)
from tapehouse.status.upkeep import JobRun, StorageCheck, check_storage

__all__ = [
    "DatabaseStatus",
    "DiskStatus",
    "Finding",
    "JobRun",
    "JobStatus",
    "Kind",
    "Limits",
    "RetentionStatus",
    "RollupStatus",
    "SeriesStatus",
    "Severity",
    "Status",
    "StorageCheck",
    "TableStatus",
    "check_storage",
    "find_problems",
    "find_storage_problems",
    "is_followed",
    "read_status",
    "stale_after_s",
    "undermined_by",
]
