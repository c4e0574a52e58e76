"""The tasks that archive what retention is about to drop, and tell of it."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from prefect import task
from prefect.cache_policies import NO_CACHE

from tapehouse.config import archive_folder
from tapehouse.store.archive import read_archiving
from tasks.connections import open_database
from tasks.report import Row, publish_table
from tasks.retrying import retried_task

if TYPE_CHECKING:
    from tapehouse.archive.archiving import ArchiveResult

ARCHIVE_KEY: Final = "archive"


@retried_task(name="archive-due", run_name="archive what expires")
async def archive_due() -> "list[ArchiveResult]":
    """Archive in the folder of TAPEHOUSE_ARCHIVE what retention drops soon; nothing where archiving is off."""
    with open_database() as connection:
        if not read_archiving(connection):
            return []
        from tapehouse.archive import archiving  # It needs pyarrow.

        return await asyncio.to_thread(archiving.archive_due, connection, archive_folder())


@task(name="report-archive", cache_policy=NO_CACHE, persist_result=False)
async def publish_archive(results: "Sequence[ArchiveResult]") -> None:
    """Publish the table of an archiving, a row a file."""
    rows: list[Row] = [
        {
            "series": str(one.series),
            "from": f"{one.window[0]:%Y-%m-%d}",
            "to": f"{one.window[1]:%Y-%m-%d}",
            "rows": one.rows,
            "bytes": one.size_bytes,
            "status": one.status,
            "file": one.path,
            "error": str(one.error) if one.error else None,
        }
        for one in results
    ]
    counts = ", ".join(f"{count} {status}" for status, count in Counter(one.status for one in results).most_common())
    await publish_table(ARCHIVE_KEY, rows, f"Files: {counts}." if results else "There was nothing to archive.")
