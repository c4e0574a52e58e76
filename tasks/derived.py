"""The tasks that refresh what is derived from stored data."""

import asyncio

from tapehouse.store import features, rollups
from tapehouse.store.features import FeatureRefresh
from tapehouse.store.rollups import RefreshResult
from tasks.connections import open_database
from tasks.retrying import retried_task


@retried_task(name="refresh-rollups", run_name="refresh rollups")
async def refresh_rollups() -> RefreshResult:
    """Refresh all rollups, and candles built from trades, over exactly what was written since the last time."""
    with open_database() as connection:
        return await asyncio.to_thread(rollups.refresh_rollups, connection)


@retried_task(name="refresh-features", run_name="refresh features")
async def refresh_features() -> FeatureRefresh:
    """Compute the features over exactly what was written since they were last computed."""
    with open_database() as connection:
        return await asyncio.to_thread(features.refresh_features, connection)
