"""The flow that tells how the store is doing, and what of it needs a person: `python -m flows.check_health`."""

from collections import Counter
from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.command import run_here
from tapehouse.status import Limits, find_problems
from tasks.health import emit_findings, publish_health, read_status
from tasks.load import check_database

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
_LIMITS = Limits()


@flow(name="check-health", flow_run_name="check health", persist_result=False)
async def check_health(
    stale_intervals: Positive = _LIMITS.stale_intervals,
    gap_s: Positive = _LIMITS.gap_s,
    quarantine_share: Share = _LIMITS.quarantine_share,
    compression_saved: Share = _LIMITS.compression_saved,
    disk_free_share: Share = _LIMITS.disk_free_share,
) -> dict[str, int]:
    """Read how the store is doing, publish it, and emit an event for each thing that needs a person.

    The run succeeds also where something does; it fails where the database can't be read. Gives how many findings
    there are of each kind. Their events are named `tapehouse.finding.<kind>`.

    Args:
        stale_intervals: A series that is kept up to date is stale when it lags by more of its intervals: its candles'
            length or the time between two runs, whichever is longer; and by ten minutes at least.
        gap_s: A gap needs a person from that many seconds on.
        quarantine_share: So does a series of which that share of the last day's rows was rejected, 0 to 1.
        compression_saved: So does a table of candles or trades of which compression saves a smaller share, 0 to 1.
        disk_free_share: So does a volume of which a smaller share is left, 0 to 1.
    """
    await check_database()
    limits = Limits(
        stale_intervals=stale_intervals,
        gap_s=gap_s,
        quarantine_share=quarantine_share,
        compression_saved=compression_saved,
        disk_free_share=disk_free_share,
    )
    status = await read_status()
    findings = find_problems(status, limits)
    await publish_health(status, findings)
    await emit_findings(findings)
    return dict(Counter(finding.kind for finding in findings))


if __name__ == "__main__":
    run_here(check_health())
