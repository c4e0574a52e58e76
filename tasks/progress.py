"""Progress as Prefect shows it: an artifact that follows while something runs."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

_FOLLOW_EVERY_S: Final = 5.0
_LAST_WORD_S: Final = 5.0


@asynccontextmanager
async def progress_artifact(key: str, look: Callable[[], tuple[float, str]]) -> AsyncGenerator[None]:
    """An artifact of that key that shows the percentage and the text seen, while the block runs and at its end."""
    percent, text = look()
    # Of a key, Prefect allows nothing else.
    key = re.sub("[^a-z0-9-]", "-", key.lower())
    artifact_id = await acreate_progress_artifact(progress=percent, key=key, description=text)

    async def follow() -> None:
        while True:
            await asyncio.sleep(_FOLLOW_EVERY_S)
            await _update(artifact_id, *look())

    following = asyncio.create_task(follow())
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await _update(artifact_id, *look())


async def _update(artifact_id: UUID, percent: float, text: str) -> None:
    """Update the artifact, if the server can be reached soon: its being away is no reason to fail or to wait."""
    try:
        async with asyncio.timeout(_LAST_WORD_S):
            await aupdate_progress_artifact(artifact_id, progress=percent, description=text)
    except Exception as error:  # noqa: BLE001 -- whatever it is, what runs is what counts
        get_run_logger().warning("The progress could not be shown: %s: %s", type(error).__name__, error)
