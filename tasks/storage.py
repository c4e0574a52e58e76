"""The task that keeps compression and retention going."""

import asyncio
from functools import partial

from prefect import get_run_logger

from tapehouse import status
from tapehouse.status import StorageCheck
from tasks.connections import open_database
from tasks.retrying import retried_task


@retried_task(name="check-storage", run_name="check storage")
async def check_storage() -> StorageCheck:
    """Run the storage's jobs that are due and that nobody else runs, and look at what they did."""
    with open_database() as connection:
        check = partial(status.check_storage, connection, progress=get_run_logger().info)
        return await asyncio.to_thread(check)
