"""What flows do after they wrote: bring all that is derived up to date, and tell of it."""

from tasks.derived import refresh_features, refresh_rollups
from tasks.report import publish_refresh


async def refresh_derived() -> None:
    """Refresh rollups, candles built from trades, and features over exactly what was written since the last time."""
    rollups = await refresh_rollups()
    await publish_refresh(rollups, await refresh_features())
