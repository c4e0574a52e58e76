"""The flows that find gaps and repair them, on a real Prefect server."""

from base64 import b64decode
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from flows.find_gaps import find_gaps
from flows.ingest_ohlcv import CandleMarkets, ingest_ohlcv
from flows.repair_gaps import repair_gaps
from tapehouse.errors import ExchangeError, InputError
from tapehouse.sandbox import Fault, Sandbox
from tapehouse.store.connection import Connection
from tests.flows.services import PrefectServer

pytestmark = pytest.mark.usefixtures("settings", "hole")

# Hours that no other test asks for.
START: Final = datetime(2025, 10, 1, tzinfo=UTC)
SYMBOL: Final = "QUILL/USDT"


@pytest.fixture
async def hole(server: PrefectServer, database: Connection) -> AsyncGenerator[None]:
    """Two hours of candles with half an hour missing in between."""
    del server
    for since, until in ((0, 30), (60, 120)):
        start, end = ((START + timedelta(minutes=minute)).isoformat() for minute in (since, until))
        await ingest_ohlcv([CandleMarkets(exchange="binance", symbols=[SYMBOL])], "3m", start, end)
    yield
    database.execute("update instrument set exchange = 'gone' || random() where exchange = 'binance'")


async def test_gaps_are_found_and_repaired(server: PrefectServer) -> None:
    assert await find_gaps("binance", SYMBOL, "ohlcv", "3m") == {"never_asked": 1}
    [row] = server.latest_artifact("find-gaps")["data"]
    assert (row["from"], row["to"], row["cause"], row["bars"]) == (
        "2025-10-01 00:30:00",
        "2025-10-01 01:00:00",
        "never_asked",
        10,
    )
    picture = server.latest_artifact("coverage")["data"]
    assert b64decode(picture.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG\r\n\x1a\n")

    await repair_gaps("binance", SYMBOL)
    [row] = server.latest_artifact("repair-gaps")["data"]
    assert (row["outcome"], row["filled_from"], row["left"]) == ("repaired", "exchange", "")
    assert await find_gaps("binance", SYMBOL) == {}

    await repair_gaps("binance", SYMBOL)
    assert server.latest_artifact("repair-gaps")["description"] == "Nothing was due."


async def test_a_repair_that_failed_fails_the_run_after_its_table(server: PrefectServer, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("status", status=451, path="klines"))
    with pytest.raises(ExchangeError, match=rf"^1 of 1 failed\. binance {SYMBOL} 3m: "):
        await repair_gaps("binance", SYMBOL)
    [row] = server.latest_artifact("repair-gaps")["data"]
    assert (row["outcome"], row["left"]) == ("open", "failed")
    assert row["error"]


async def test_a_fallback_without_a_name_is_refused(server: PrefectServer) -> None:
    del server
    with pytest.raises(InputError, match="names no fallback"):
        await repair_gaps("binance", SYMBOL, fallbacks=[":"])
