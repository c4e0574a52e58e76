"""The store inside a data provider that exists already: a mixin that adds it, off until it is enabled.

    class Provider(UnifiedStorage, ExistingProvider): ...

    provider.enable_unified_storage(exchange="binance")
    data = provider.get_inference_data_unified("BTC/USDT")

The provider's own methods stay as they are. Importing this loads neither pandas nor psycopg; enabling does.
"""

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack

from tapehouse.errors import InputError, StoreUnreachable

if TYPE_CHECKING:
    from tapehouse.query.inference import InferenceDataFrame
    from tapehouse.query.market import MarketData


class MomentOptions(TypedDict, total=False):
    """Further options of `MarketData.get_inference_data`, which has their defaults."""

    depth: int
    indicators: Sequence[str]
    as_known: bool
    include_forming: bool


@dataclass(frozen=True, slots=True)
class _Storage:
    """What is read from, and the exchange that all questions are about."""

    url: str
    exchange: str
    market: "MarketData"


class UnifiedStorage:
    """Adds the store to a class; any number of threads may use one object, and it needs no `__init__`."""

    # Of all objects, since a class that this is mixed into may not call our `__init__`; held for an instant.
    _switching: ClassVar = threading.Lock()
    _storage: _Storage | None = None

    def enable_unified_storage(self, url: str | None = None, *, exchange: str) -> None:
        """Connect to the store, as `MarketData.connect` does with that URL; all questions are about that exchange.

        Enabling again what is enabled does nothing. Whether anything of that exchange is stored is not looked at, so
        that a provider may start before the first ingest does: the first question tells.

        Raises InputError where another database or exchange is enabled, and StoreUnreachable or StoreRefused where
        there is no way to the database.
        """
        from tapehouse.query.market import MarketData
        from tapehouse.store.address import database_url

        storage = self._storage
        if storage is None:
            address = database_url(url)
            # Nobody waits for a server that does not answer but who asks for it.
            made = _Storage(address, exchange, MarketData.connect(address))
            with self._switching:
                storage = self._storage = self._storage or made
            if storage is made:
                return
            # Another thread was quicker.
            made.market.close()
        if storage.exchange != exchange or url not in (None, storage.url):
            raise InputError("Unified storage is on with another database or exchange: disable it first.")

    def disable_unified_storage(self) -> None:
        """Close all connections to the store; does nothing where it is not enabled."""
        with self._switching:
            storage, self._storage = self._storage, None
        if storage:
            storage.market.close()

    def is_unified_storage_enabled(self) -> bool:
        """Whether the store can be asked."""
        return self._storage is not None

    def get_inference_data_unified(
        self,
        symbol: str,
        timestamp: datetime | None = None,
        context_window_minutes: float = 5,
        **options: Unpack[MomentOptions],
    ) -> "InferenceDataFrame":
        """All that was known of an instrument at a moment, by default now, as of `MarketData.get_inference_data`.

        Raises InputError while the store is not enabled, and what that raises.
        """
        while True:
            storage = self._enabled()
            try:
                return storage.market.get_inference_data(
                    symbol,
                    exchange=storage.exchange,
                    timestamp=timestamp,
                    context_window_minutes=context_window_minutes,
                    **options,
                )
            except StoreUnreachable:
                # Another thread may have disabled it meanwhile, or even enabled it again.
                if self._storage is storage:
                    raise

    def get_unified_storage_stats(self) -> dict[str, Any]:
        """What `MarketData.stats` tells, by name; and exchange. Raises InputError while the store is not enabled."""
        storage = self._enabled()
        return {"exchange": storage.exchange, **asdict(storage.market.stats())}

    def _enabled(self) -> _Storage:
        storage = self._storage
        if storage is None:
            raise InputError("Unified storage is off: call enable_unified_storage(exchange=...) first.")
        return storage
