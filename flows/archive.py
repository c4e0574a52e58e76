"""The flow that archives what retention is about to drop: `python -m flows.archive`."""

from collections import Counter

from prefect import flow

from flows.command import run_here
from tasks.archive import archive_due, publish_archive
from tasks.load import check_database
from tasks.report import raise_failures


@flow(name="archive", flow_run_name="archive what expires", persist_result=False)
async def archive() -> dict[str, int]:
    """Write what retention is about to drop to the archive in the folder of TAPEHOUSE_ARCHIVE.

    Each file is compared with the database before it counts; the run's table names them. Nothing is done where
    archiving is off. Gives how many files were archived, how many changed meanwhile, and how many failed.
    """
    await check_database()
    archived = await archive_due()
    await publish_archive(archived)
    raise_failures(archived)
    return dict(Counter(one.status for one in archived))


if __name__ == "__main__":
    run_here(archive())
