"""Tasks that read how the store is doing and tell of it: in artifacts for people, in events for alerts."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from prefect import get_run_logger, task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from tapehouse import status
from tapehouse.status import Finding, Status, StorageCheck, undermined_by
from tapehouse.status.texts import size
from tasks.connections import open_database
from tasks.health_report import health_report
from tasks.report import Row, publish_table
from tasks.retrying import retried_task

HEALTH_KEY: Final = "check-health"
REPORT_KEY: Final = "check-health-report"
STORAGE_KEY: Final = "check-storage"


@retried_task(name="read-status", run_name="read status")
async def read_status() -> Status:
    """How the store is doing; raises StoreError where the database can't be read."""
    with open_database() as connection:
        return await asyncio.to_thread(status.read_status, connection)


@task(name="report-health", cache_policy=NO_CACHE, persist_result=False)
async def publish_health(read: Status, findings: Sequence[Finding]) -> None:
    """Publish the table of findings, a row each, and the report of all that was read."""
    rows: list[Row] = [{**asdict(one)} for one in findings]
    summary = f"{len(findings)} findings need a person." if findings else "Nothing needs a person."
    await publish_table(HEALTH_KEY, rows, summary)
    await acreate_markdown_artifact(key=REPORT_KEY, markdown=health_report(read, findings), description=summary)


@task(name="emit-findings", cache_policy=NO_CACHE, persist_result=False)
async def emit_findings(findings: Sequence[Finding]) -> None:
    """Emit an event for each finding, `tapehouse.finding.<kind>`, on which automations can act.

    Its resource is `tapehouse.<kind>.<subject>`, the subject in lowercase letters and digits, all else as dashes.
    """
    for one in findings:
        get_run_logger().warning(one.message)
        emit_event(
            f"tapehouse.finding.{one.kind}",
            {"prefect.resource.id": resource_id(one), "prefect.resource.name": one.subject},
            payload=asdict(one),
        )


@task(name="report-storage", cache_policy=NO_CACHE, persist_result=False)
async def publish_storage(check: StorageCheck) -> None:
    """Publish the table of what data take and what compression saves, a row a table, and say which jobs were run."""
    rows: list[Row] = [
        {
            "table": one.name,
            "size": size(one.bytes),
            "chunks": one.chunks,
            "compressed": one.compressed,
            "due": one.due,
            "saved": None if one.saved is None else round(one.saved, 3),
            "undermined by": "; ".join(undermined_by(one)) or None,
        }
        for one in check.status.tables
    ]
    failed = [f"{run.job.name}: {run.error}" for run in check.runs if run.error]
    for one in failed:
        get_run_logger().warning(one)
    await publish_table(STORAGE_KEY, rows, " | ".join([f"{len(check.runs)} jobs run, {len(failed)} failed.", *failed]))


def resource_id(finding: Finding) -> str:
    """What the finding is about, as the events of Prefect name it."""
    return f"tapehouse.{finding.kind}.{re.sub('[^a-z0-9]+', '-', finding.subject.lower()).strip('-')}"
