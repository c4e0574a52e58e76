"""The store inside a provider that exists already."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tapehouse import MarketData
from tapehouse.errors import InputError, StoreUnreachable
from tapehouse.provider import UnifiedStorage
from tests.query.conftest import Tape, random_bars
from tests.query.moments import assert_same, write_bars

START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=1)
AT = START + timedelta(hours=3, seconds=20)
OFF = "Unified storage is off"


class Existing:
    """Knows nothing of what is mixed in, and does not call its `__init__`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fetch(self) -> str:
        return self.name


class Provider(UnifiedStorage, Existing):
    pass


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider("mine")
    yield provider
    provider.disable_unified_storage()


@pytest.fixture
def told(tape: Tape) -> Tape:
    write_bars(tape, random_bars(START, 240))
    return tape


def test_it_is_off_until_it_is_enabled(provider: Provider):
    assert provider.fetch() == "mine"
    assert not provider.is_unified_storage_enabled()
    with pytest.raises(InputError, match=OFF):
        provider.get_inference_data_unified("BTC/USDT")
    with pytest.raises(InputError, match=OFF):
        provider.get_unified_storage_stats()
    provider.disable_unified_storage()


def test_it_answers_as_the_store_does(provider: Provider, market: MarketData, told: Tape, quiet_url: str):
    provider.enable_unified_storage(quiet_url, exchange=told.exchange)
    expected = market.get_inference_data(told.symbol, exchange=told.exchange, timestamp=AT, context_window_minutes=90)
    assert_same(provider.get_inference_data_unified(told.symbol, AT, 90), expected)
    assert len(expected.ohlcv_1m) == 90
    assert provider.get_inference_data_unified(told.symbol).timestamp > AT
    options: dict[str, Any] = {"depth": 3, "indicators": ["ema_5"], "as_known": True, "include_forming": True}
    at = AT + timedelta(minutes=10)
    expected = market.get_inference_data(told.symbol, exchange=told.exchange, timestamp=at, **options)
    forming = provider.get_inference_data_unified(told.symbol, at, **options)
    assert_same(forming, expected)
    assert list(forming.indicators.columns) == ["ema_5"]
    assert forming.forming_candle("1h")
    assert provider.fetch() == "mine"


def test_its_address_is_that_of_the_environment(
    provider: Provider, told: Tape, quiet_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TAPEHOUSE_DATABASE_URL", quiet_url)
    provider.enable_unified_storage(exchange=told.exchange)
    provider.enable_unified_storage(quiet_url, exchange=told.exchange)
    assert not provider.get_inference_data_unified(told.symbol, AT).ohlcv_1m.empty


def test_enabling_twice_is_harmless_and_enabling_another_is_refused(provider: Provider, told: Tape, quiet_url: str):
    provider.enable_unified_storage(quiet_url, exchange=told.exchange)
    provider.get_inference_data_unified(told.symbol, AT)
    before = provider.get_unified_storage_stats()
    provider.enable_unified_storage(quiet_url, exchange=told.exchange)
    provider.enable_unified_storage(exchange=told.exchange)
    assert provider.get_unified_storage_stats() == before
    for url, exchange in ((quiet_url, "kraken"), (f"{quiet_url}?application_name=x", told.exchange)):
        with pytest.raises(InputError, match="disable it first"):
            provider.enable_unified_storage(url, exchange=exchange)
    provider.disable_unified_storage()
    provider.enable_unified_storage(quiet_url, exchange="kraken")
    assert provider.get_unified_storage_stats()["exchange"] == "kraken"


def test_disabling_closes(provider: Provider, told: Tape, quiet_url: str):
    provider.enable_unified_storage(quiet_url, exchange=told.exchange)
    storage = provider._storage  # pyright: ignore[reportPrivateUsage] -- nobody else can tell that it is closed
    assert storage
    provider.get_inference_data_unified(told.symbol, AT)
    provider.disable_unified_storage()
    assert not provider.is_unified_storage_enabled()
    with pytest.raises(InputError, match=OFF):
        provider.get_inference_data_unified(told.symbol, AT)
    with pytest.raises(StoreUnreachable):
        storage.market.get_inference_data(told.symbol, exchange=told.exchange, timestamp=AT)


def test_where_no_database_answers_it_stays_off(provider: Provider):
    with pytest.raises(StoreUnreachable):
        provider.enable_unified_storage("postgresql://tapehouse@127.0.0.1:1/none?connect_timeout=2", exchange="binance")
    assert not provider.is_unified_storage_enabled()


def test_threads_may_enable_ask_and_disable_at_once(provider: Provider, told: Tape, quiet_url: str):
    def use(number: int) -> str:
        if number % 8 == 7:
            provider.disable_unified_storage()
            return "off"
        provider.enable_unified_storage(quiet_url, exchange=told.exchange)
        try:
            return str(len(provider.get_inference_data_unified(told.symbol, AT).ohlcv_1m))
        except InputError as refused:
            return str(refused)[: len(OFF)]

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(use, range(48)))
    assert found <= {"off", "60", OFF}
    assert use(0) == "60"


def test_objects_do_not_share_a_store(provider: Provider, quiet_url: str):
    provider.enable_unified_storage(quiet_url, exchange="binance")
    assert not Provider("another").is_unified_storage_enabled()


def test_nobody_waits_while_another_object_connects(provider: Provider, quiet_url: str):
    provider.enable_unified_storage(quiet_url, exchange="binance")
    waiting = Provider("waiting")
    with socket.create_server(("127.0.0.1", 0)) as mute, ThreadPoolExecutor(1) as threads:
        url = f"postgresql://tapehouse@127.0.0.1:{mute.getsockname()[1]}/none?connect_timeout=30"
        enabled = threads.submit(waiting.enable_unified_storage, url, exchange="binance")
        # It has connected, and says what it wants; no answer comes.
        connection, _ = mute.accept()
        with connection:
            assert connection.recv(1)
            provider.disable_unified_storage()
            assert not enabled.done()
        mute.close()
        with pytest.raises(StoreUnreachable):
            enabled.result()


def test_importing_it_loads_nothing_heavy():
    code = "import sys, tapehouse.provider; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"pandas", "numpy", "psycopg", "talib"} & set(done.stdout.split())
