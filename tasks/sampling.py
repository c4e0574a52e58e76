"""The task that samples order books."""

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from tapehouse.exchange import Exchange
from tapehouse.ingest.sampling import Sampling, SamplingOutcome, sample_books
from tapehouse.store.address import database_url
from tasks.progress import progress_artifact


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

    def look() -> tuple[float, str]:
        return 100 * ticks / sampling.ticks, f"Sampling order books of {exchange.exchange_id}"

    async with progress_artifact(f"sampling-{exchange.exchange_id}", look):
        outcomes = await sample_books(exchange, symbols, sampling, database_url=database_url(None), progress=note)
        note(outcomes)
    return outcomes
