"""How a MarketData and its database are doing, as records."""

from dataclasses import dataclass
from datetime import datetime

from tapehouse.query.cache import CacheStats
from tapehouse.query.reader import ReadStats


@dataclass(frozen=True, slots=True)
class MarketStats:
    """What the cache in memory has done and holds, and what was read from the database."""

    cache: CacheStats
    reads: ReadStats


@dataclass(frozen=True, slots=True)
class Health:
    """A database that answers: how long that took, its versions, and its time.

    Where `is_listening` is false, its changes are not heard at present, and every answer is verified by a look at it.
    Just after connecting that is as it should be: listening begins with the first answer that is kept in memory.
    """

    latency_ms: float
    postgresql: str
    timescaledb: str
    server_time: datetime
    is_listening: bool
