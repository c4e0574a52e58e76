from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

import ccxt.async_support as ccxt
import ccxt.pro as ccxt_pro
import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer

from tapehouse.errors import InputError
from tapehouse.exchange import route_through


def strings_in(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for below in cast("dict[str, object]", value).values() for text in strings_in(below)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("exchange_id", ["binance", "kraken", "bybit", "okx", "coinbase", "kucoin", "gate", "htx"])
def test_every_address_of_an_exchange_goes_through_the_base(exchange_id: str):
    exchange: Any = getattr(ccxt, exchange_id)()
    hosts_before = {url.split("/")[2] for url in strings_in(exchange.urls["api"])}
    route_through(exchange, "http://127.0.0.1:8080/")
    routed = strings_in(exchange.urls["api"])
    assert routed
    assert all(url.startswith("http://127.0.0.1:8080/") for url in routed)
    hosts = {host.replace("{hostname}", exchange.hostname or "") for host in hosts_before}
    assert {url.split("/")[3] for url in routed} == hosts


def test_paths_nested_addresses_and_web_sockets_keep_their_shape():
    class Routed:
        hostname = "example.com"
        headers: Mapping[str, str] = MappingProxyType({})
        options: Mapping[str, object] = MappingProxyType({})

        def __init__(self) -> None:
            self.urls: dict[str, object] = {
                "api": {
                    "public": "https://api.{hostname}/v5/public",
                    "ws": {"spot": "wss://stream.{hostname}:9443/ws", "off": None},
                }
            }

    exchange = Routed()
    route_through(exchange, "https://gateway.test/via")
    assert exchange.urls["api"] == {
        "public": "https://gateway.test/via/api.example.com/v5/public",
        "ws": {"spot": "wss://gateway.test/via/stream.example.com:9443/ws", "off": None},
    }


@pytest.mark.parametrize(
    "base_url", ["", "localhost:8080", "ftp://host", "http://", "http://host:port", "http://host?token=x"]
)
def test_a_base_that_is_no_address_is_refused(base_url: str):
    with pytest.raises(InputError, match=r"write it like http://127\.0\.0\.1:8080"):
        route_through(ccxt.kraken(), base_url)


def test_a_password_goes_into_a_header_and_no_address_holds_it():
    exchange: Any = ccxt.kraken()
    route_through(exchange, "https://me:p%40ss@gateway.test:8443/via/")
    routed = strings_in(exchange.urls["api"])
    assert all(url.startswith("https://gateway.test:8443/via/") for url in routed)
    # "me:p@ss" in base64.
    assert exchange.headers == {"Authorization": "Basic bWU6cEBzcw=="}


async def test_a_password_opens_streams_too() -> None:
    opened: list[str | None] = []

    async def handle(request: web.BaseRequest) -> web.Response:
        opened.append(request.headers.get("Authorization"))
        return web.Response(status=503)

    exchange: Any = ccxt_pro.binance()
    exchange.timeout_on_exit = 0
    async with RawTestServer(handle) as server:
        route_through(exchange, f"http://me:p%40ss@127.0.0.1:{server.port}")
        with pytest.raises(ccxt.NetworkError):
            await exchange.watch(exchange.urls["api"]["ws"]["spot"] + "/0", "trade")
    await exchange.close()

    assert opened == ["Basic bWU6cEBzcw=="]
    # What ccxt looks for among these options is still there.
    assert exchange.options["ws"]["cost"] == 5


@pytest.mark.parametrize("base_url", ["htp://me:secret@host", "me:secret@host", "http://me:secret@host:port"])
def test_what_is_wrong_with_a_base_is_said_without_repeating_it(base_url: str):
    with pytest.raises(InputError) as raised:
        route_through(ccxt.kraken(), base_url)
    assert "secret" not in str(raised.value)
