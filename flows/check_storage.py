"""The flow that keeps compression and retention going: `python -m flows.check_storage`."""

from prefect import flow

from flows.command import run_here
from tasks.health import publish_storage
from tasks.load import check_database
from tasks.storage import check_storage as check


@flow(name="check-storage", flow_run_name="check storage", persist_result=False)
async def check_storage() -> None:
    """Run the server's jobs that compress and drop old data, where the server does not, and check what they did.

    Rollups and features are refreshed before anything is dropped from under them. A job that fails does not fail the
    run: it shows in the run's table, and `check-health` tells of it.
    """
    await check_database()
    await publish_storage(await check())


if __name__ == "__main__":
    run_here(check_storage())
