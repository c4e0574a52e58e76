"""The place that a run holds while it works at one dataset of one exchange, so that no two ask for the same at once.

It saves requests; that nothing is written twice is what the store sees to. So nobody waits for it for ever.
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import AcquireConcurrencySlotTimeoutError, concurrency
from prefect.exceptions import ObjectAlreadyExists

from tapehouse.errors import ServiceError

# Every minute's run waits for the day's, not for one that fetches years.
WAIT_S: Final = 300.0
# The shortest there is: so long the place of a run that was killed stays taken.
_LEASE_S: Final = 60.0


def slot_name(exchange_id: str, dataset: str, *, of_history: bool = False) -> str:
    """The name of the global concurrency limit; what takes long, of history, has one of its own."""
    return f"{exchange_id} {dataset} history" if of_history else f"{exchange_id} {dataset}"


@asynccontextmanager
async def only_run(names: Iterable[str], *, beside_others: bool = True) -> AsyncGenerator[None]:
    """Hold the slots of those names during the block; after five minutes of waiting, begin without.

    Raises ServiceError instead where the work can't go on `beside_others`.
    """
    wanted = sorted(set(names))
    for name in wanted:
        await _ensure_limit(name)
    async with AsyncExitStack() as stack:
        slots = concurrency(
            wanted,
            timeout_seconds=WAIT_S,
            lease_duration=_LEASE_S,
            strict=True,
            # A server that restarts is no reason to end a run.
            raise_on_lease_renewal_failure=False,
        )
        try:
            await stack.enter_async_context(slots)
        except AcquireConcurrencySlotTimeoutError as error:
            if not beside_others:
                raise ServiceError(f"Another run is at {', '.join(wanted)}: cancel it to start this one.") from error
            get_run_logger().warning(
                "Another run has been working at %s for %.0f minutes: going on beside it.",
                ", ".join(wanted),
                WAIT_S / 60,
            )
        yield


async def _ensure_limit(name: str) -> None:
    async with get_client() as client:
        try:
            await client.upsert_global_concurrency_limit_by_name(name, 1)
        except ObjectAlreadyExists:
            # Another run made it at this very moment.
            return
