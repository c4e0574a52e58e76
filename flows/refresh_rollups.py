"""The flow that brings the candle rollups up to date: `python -m flows.refresh_rollups`."""

from prefect import flow

from flows.command import run_here
from tasks.load import check_database
from tasks.report import publish_refresh
from tasks.rollups import refresh_rollups as refresh


@flow(name="refresh-rollups", flow_run_name="refresh rollups", persist_result=False)
async def refresh_rollups() -> None:
    """Refresh all rollups over exactly the days that were written since they were last refreshed."""
    await check_database()
    await publish_refresh(await refresh())


if __name__ == "__main__":
    run_here(refresh_rollups())
