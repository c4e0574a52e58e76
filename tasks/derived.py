"""The tasks that refresh what is derived from stored data."""

import asyncio
import threading
import time
from contextlib import suppress
from typing import Final

from tapehouse.errors import StoreError
from tapehouse.store import features, rollups
from tapehouse.store.features import FeatureRefresh
from tapehouse.store.roles import require_owner
from tapehouse.store.rollups import RefreshResult
from tasks.connections import open_database
from tasks.retrying import retried_task

# Prefect gives a run that it cancels half a minute to end.
BRIEF_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.1


@retried_task(name="check-owner", run_name="check owner of rollups")
async def check_owner() -> None:
    """Raise StoreRefused unless the database's user may refresh rollups."""
    with open_database() as connection:
        require_owner(connection, "refresh rollups")


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


async def refresh_in_brief() -> None:
    """Refresh rollups for a few seconds: what a run that is cancelled has time for.

    Not a task, since none can begin any more. It goes step by step, and what it does not come to stays noted as
    stale for the next refresh.
    """

    def refresh() -> None:
        with suppress(StoreError), open_database() as connection:
            rollups.refresh_rollups(connection)

    # Of a thread pool's threads, Python would wait for the end.
    refreshing = threading.Thread(target=refresh, daemon=True)
    refreshing.start()
    until_s = time.monotonic() + BRIEF_S
    while refreshing.is_alive() and time.monotonic() < until_s:  # noqa: ASYNC110 -- it may outlive the loop, whose events are no use then
        await asyncio.sleep(_LOOK_EVERY_S)
