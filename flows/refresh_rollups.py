"""The flow that brings all that is derived up to date: `python -m flows.refresh_rollups`."""

from prefect import flow

from flows.command import run_here
from flows.derived import refresh_derived
from tasks.derived import check_owner
from tasks.load import check_database


@flow(name="refresh-rollups", flow_run_name="refresh rollups and features", persist_result=False)
async def refresh_rollups() -> None:
    """Refresh rollups, candles built from trades, and features over exactly what was written since the last time."""
    await check_database()
    await check_owner()
    await refresh_derived()


if __name__ == "__main__":
    run_here(refresh_rollups())
