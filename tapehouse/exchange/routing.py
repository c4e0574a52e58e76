"""Routing a ccxt exchange's requests through another address: the sandbox, a recording proxy, a gateway."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Protocol, cast
from urllib.parse import unquote, urlsplit

from tapehouse.errors import InputError


class RoutableExchange(Protocol):
    """What routing needs of a ccxt exchange, sync, async or pro."""

    urls: Any
    headers: Any
    options: Any

    @property
    def hostname(self) -> str | None:
        """What stands for `{hostname}` in its addresses."""
        ...


def route_through(exchange: RoutableExchange, base_url: str) -> None:
    """Rewrite every API address `https://host/path` of a ccxt exchange to `<base_url>/host/path`.

    A user and password in it go into a header: ccxt's errors, which end in logs, repeat addresses. WebSocket
    addresses keep their protocol. ccxt's own `proxyUrl` does not serve: in Python it always raises
    InvalidProxySettings (seen in 4.5.78 to 4.5.90).
    """
    base, credentials = _understood(base_url)
    if credentials is not None:
        # RFC 7617.
        header = {"Authorization": f"Basic {b64encode(credentials.encode()).decode()}"}
        exchange.headers = {**exchange.headers, **header}
        exchange.options = {**exchange.options, "ws": _with_header(exchange.options.get("ws") or {}, header)}
    exchange.urls["api"] = _rerouted(exchange.urls["api"], base, exchange.hostname)


def original_address(url: str, base_url: str | None) -> str:
    """`host/path?query` of an address as the exchange knows it, whether it was routed through another or not."""
    rest = url.partition("://")[2]
    if base_url is None:
        return rest
    return rest.removeprefix(_understood(base_url)[0].partition("://")[2] + "/")


def _understood(base_url: str) -> tuple[str, str | None]:
    """The address without `user:password`, and those; no error repeats what may hold a password."""
    base = urlsplit(base_url)
    userinfo, _, host = base.netloc.rpartition("@")
    try:
        is_address = base.scheme in ("http", "https") and bool(base.hostname) and (base.port is None or base.port > 0)
    except ValueError:
        is_address = False
    if not is_address or base.query or base.fragment:
        raise InputError(
            "The base URL is no address: write it like http://127.0.0.1:8080 or https://user:password@gateway/path, "
            "with special characters as %40 and the like."
        )
    return f"{base.scheme}://{host}{base.path.rstrip('/')}", unquote(userinfo) if userinfo else None


def _with_header(options: Mapping[str, Any], header: Mapping[str, str]) -> dict[str, Any]:
    """The options of ccxt's WebSockets with a header for opening them.

    Those below `options` are all that it looks at where there are any.
    """
    used = options.get("options", options)
    return {**options, "options": {**used, "headers": {**used.get("headers", {}), **header}}}


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
