"""The task that streams one exchange, for as long as it runs."""

import asyncio
from typing import Final

from prefect import get_run_logger

from tapehouse.config import settings_from_environment
from tapehouse.store.address import database_url
from tapehouse.stream import StreamRequest, StreamStatistics, stream
from tapehouse.stream.beside import until_first
from tasks.progress import progress_artifact
from tasks.retrying import retried_task

_TELL_S: Final = 60.0


@retried_task(name="stream-exchange", run_name="stream {request.exchange_id}")
async def stream_exchange(request: StreamRequest) -> None:
    """Stream until cancelled; then all that came is written. A minute's progress is a line of the log."""
    statistics, logger = StreamStatistics(), get_run_logger()

    def look() -> tuple[float, str]:
        written = statistics.inserted + statistics.changed + statistics.unchanged + statistics.rejected
        return min(100.0, 100 * written / max(1, statistics.received)), f"{request.exchange_id}: {statistics}"

    async def tell() -> None:
        while True:
            await asyncio.sleep(_TELL_S)
            logger.info("%s", look()[1])

    streaming = stream(
        request,
        database_url=database_url(None),
        spill_folder=settings_from_environment().data_dir / "spill",
        base_url=settings_from_environment().exchange_url,
        statistics=statistics,
    )
    try:
        async with progress_artifact(f"stream-{request.exchange_id}", look):
            await until_first(streaming, tell())
    finally:
        logger.info("%s", look()[1])
