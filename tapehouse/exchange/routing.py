"""Routing a ccxt exchange's requests through another address: the sandbox, a recording proxy, a gateway."""

from collections.abc import Mapping
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from tapehouse.errors import InputError


class RoutableExchange(Protocol):
    """What routing needs of a ccxt exchange, sync, async or pro."""

    urls: Any

    @property
    def hostname(self) -> str | None:
        """What stands for `{hostname}` in its addresses."""
        ...


def route_through(exchange: RoutableExchange, base_url: str) -> None:
    """Rewrite every API address `https://host/path` of a ccxt exchange to `<base_url>/host/path`.

    WebSocket addresses keep their protocol. ccxt's own `proxyUrl` does not serve: in Python
    it always raises InvalidProxySettings (seen in 4.5.78 to 4.5.90).
    """
    base = urlsplit(base_url)
    if base.scheme not in ("http", "https") or not base.netloc:
        raise InputError(f"The base URL {base_url!r} is no address: write it like http://127.0.0.1:8080.")
    exchange.urls["api"] = _rerouted(exchange.urls["api"], base_url.rstrip("/"), exchange.hostname)


def _rerouted(address: object, base_url: str, hostname: str | None) -> object:
    if isinstance(address, Mapping):
        addresses = cast("Mapping[str, object]", address)
        return {name: _rerouted(below, base_url, hostname) for name, below in addresses.items()}
    if not isinstance(address, str):
        return address
    if hostname is not None:
        address = address.replace("{hostname}", hostname)
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    if scheme in ("ws", "wss"):
        base_url = "ws" + base_url.removeprefix("http")
    return f"{base_url}/{rest}"
