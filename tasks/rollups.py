"""The task that refreshes the candle rollups."""

import asyncio

from tapehouse.store import rollups
from tapehouse.store.rollups import RefreshResult
from tasks.connections import open_database
from tasks.retrying import retried_task


@retried_task(name="refresh-rollups", run_name="refresh rollups")
async def refresh_rollups() -> RefreshResult:
    """Refresh all rollups over exactly the days that were written since they were last refreshed."""
    with open_database() as connection:
        return await asyncio.to_thread(rollups.refresh_rollups, connection)
