"""The task that samples order books, and its progress as Prefect shows it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from prefect import task
from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
from prefect.cache_policies import NO_CACHE

from tapehouse.exchange import Exchange
from tapehouse.ingest.sampling import Sampling, SamplingOutcome, sample_books
from tapehouse.store.address import database_url

_PROGRESS_EVERY_S: Final = 5.0


# Not retried: it would sample for longer than its schedule allows, and the next run is due soon.
@task(
    name="sample-order-books",
    task_run_name="sample {exchange.exchange_id} every {sampling.every}",
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def sample_order_books(exchange: Exchange, symbols: Sequence[str], sampling: Sampling) -> list[SamplingOutcome]:
    """Sample the order books of those markets of one exchange."""
    ticks = 0

    def note(outcomes: Sequence[SamplingOutcome]) -> None:
        nonlocal ticks
        ticks = max(outcome.ticks for outcome in outcomes)

    async with _progress(exchange.exchange_id, lambda: 100 * ticks / sampling.ticks):
        return await sample_books(exchange, symbols, sampling, database_url=database_url(None), progress=note)


@asynccontextmanager
async def _progress(exchange_id: str, percent: Callable[[], float]) -> AsyncGenerator[None]:
    """A progress artifact that follows while the block runs."""
    artifact_id = await acreate_progress_artifact(
        progress=0.0, key=f"sampling-{exchange_id}", description=f"Sampling order books of {exchange_id}"
    )

    async def follow() -> None:
        while True:
            await asyncio.sleep(_PROGRESS_EVERY_S)
            await aupdate_progress_artifact(artifact_id, progress=percent())

    following = asyncio.create_task(follow())
    try:
        yield
    finally:
        following.cancel()
        # A Prefect server that was away for a moment is no reason to fail: the sampling is what counts.
        await asyncio.gather(following, return_exceptions=True)
    await aupdate_progress_artifact(artifact_id, progress=100.0)
