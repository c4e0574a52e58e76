"""How streams are read by ccxt's class for an exchange: nothing that comes is lost; importing this imports ccxt.

ccxt keeps what streams bring in caches that forget all but the last thousand, and gives them out when it gets round
to it: of a burst some are gone by then. Here each trade, candle and book is told of in the instant it was read.
"""

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from ccxt.async_support.base.ws.cache import ArrayCache, ArrayCacheByTimestamp
from ccxt.async_support.base.ws.order_book import OrderBook

from tapehouse.exchange.wire import Wire

# So long a connection may be silent before it is asked whether anybody is there; twice without an answer it is dropped.
_SILENCE_MS: Final = 5_000

_links = itertools.count(1)


class TradeTap(ArrayCache):
    """In the place of ccxt's cache of trades: keeps none, and tells of each."""

    def __init__(self, tell: Callable[[Mapping[str, object]], None]) -> None:
        super().__init__(1)
        self._tell = tell

    def append(self, item: Any) -> None:  # noqa: ANN401 -- as ccxt made it
        """Called by ccxt with each trade."""
        self._tell(item)


class CandleTap(ArrayCacheByTimestamp):
    """In the place of ccxt's cache of candles: keeps none, and tells of each."""

    def __init__(self, tell: Callable[[list[object]], None]) -> None:
        super().__init__(1)
        self._tell = tell

    def append(self, item: Any) -> None:  # noqa: ANN401 -- as ccxt made it
        """Called by ccxt with each state of a candle."""
        self._tell(item)


class Taps:
    """Put before a streaming class of ccxt's.

    `link` numbers the connection that what is being told of came over, and `message` is what it was made of; `reopened`
    counts connections that took the place of others. `on_book` is told of each state of a book, `wire` of all that
    comes and goes. A message that ccxt can't read ends its connection, which would else be deaf from then on without a
    word.
    """

    link: int = 0
    reopened: int = 0
    message: Any = None
    on_book: Callable[[Mapping[str, Any]], None] | None = None
    wire: Wire | None = None

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._addresses = set[str]()
        _ccxt(super()).__init__(config)

    def client(self, url: str) -> Any:  # noqa: ANN401 -- ccxt has no types
        """Called by ccxt for the connection to an address, which is a new one after each loss."""
        ccxt = _ccxt(super())
        is_known = url in (_ccxt(self).clients or {})
        client = ccxt.client(url)
        if not is_known:
            self._tap(client)
        return client

    async def close(self) -> None:
        """Close all connections, which are not lost by that."""
        self.wire = None
        await _ccxt(super()).close()

    def on_connected(self, client: Any, message: object = None) -> None:  # noqa: ANN401 -- ccxt has no types
        """Called by ccxt once a connection stands."""
        self.reopened += client.url in self._addresses
        self._addresses.add(client.url)
        _ccxt(super()).on_connected(client, message)
        if self.wire is not None:
            self.wire.opened(client.link, client.url)

    def on_error(self, client: Any, error: object) -> None:  # noqa: ANN401 -- ccxt has no types
        """Called by ccxt when it gives a connection up."""
        _ccxt(super()).on_error(client, error)
        if self.wire is not None:
            self.wire.closed(client.link)

    def on_close(self, client: Any, error: object) -> None:  # noqa: ANN401 -- ccxt has no types
        """Called by ccxt when a connection was closed by the other side."""
        _ccxt(super()).on_close(client, error)
        if self.wire is not None:
            self.wire.closed(client.link)

    def handle_message(self, client: Any, message: object) -> None:  # noqa: ANN401 -- ccxt has no types
        """Called by ccxt with each message."""
        self.link, self.message = client.link, message
        try:
            _ccxt(super()).handle_message(client, message)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the loop that receives must not end of it
            client.on_error(error)

    def safe_trade(self, trade: dict[str, Any], market: object = None) -> dict[str, Any]:  # noqa: ARG002 -- ccxt's signature
        """The trade with its numbers; ccxt would also reckon cost and fees, which takes half the time of a trade."""
        for name in ("price", "amount"):
            trade[name] = _ccxt(self).safe_number(trade, name)
        return trade

    def _tap(self, client: Any) -> None:  # noqa: ANN401 -- ccxt has no types
        client.link = next(_links)
        client.keepAlive = _SILENCE_MS
        resolve = client.resolve

        def tell(result: object, message_hash: object) -> object:
            if self.on_book is not None and isinstance(result, OrderBook):
                self.on_book(cast("Mapping[str, Any]", result))
            return resolve(result, message_hash)

        client.resolve = tell
        if self.wire is not None:
            _tell_wire(client, self.wire)


def _tell_wire(client: Any, wire: Wire) -> None:  # noqa: ANN401 -- ccxt has no types
    read, send = client.handle_text_or_binary_message, client.send

    def read_and_tell(data: str | bytes) -> None:
        wire.received(client.link, data if isinstance(data, str) else data.decode(errors="replace"))
        read(data)

    async def send_and_tell(message: object) -> None:
        wire.sent(client.link, message if isinstance(message, str) else json.dumps(message, separators=(",", ":")))
        await send(message)

    client.handle_text_or_binary_message, client.send = read_and_tell, send_and_tell


def _ccxt(exchange: object) -> Any:  # noqa: ANN401 -- ccxt has no types
    return exchange
