"""The flow that streams until it is cancelled: on a real Prefect server, a real database and ccxt over WebSocket."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from flows.markets import Markets
from flows.stream import command, stream
from tapehouse.errors import InputError, ServiceError, UnknownExchange
from tapehouse.store.connection import Connection
from tasks import slots
from tasks.slots import only_run, slot_name
from tests.flows.services import PrefectServer

pytestmark = pytest.mark.usefixtures("settings")

_PATIENCE_S: Final = 60.0


def count(database: Connection, table: str, symbol: str) -> int:
    row = database.execute(
        f"select count(*) from {table} join instrument using (instrument_id) "
        "where exchange = 'binance' and symbol = %s",
        (symbol,),
    ).fetchone()
    assert row is not None
    return row[0]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not holds():  # noqa: ASYNC110 -- the database does not tell
            await asyncio.sleep(0.2)


async def test_a_cancelled_run_has_written_all_that_came(
    server: PrefectServer, database: Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Cancelled after a first write, and before the next is due: what has come meanwhile is written too."""
    monkeypatch.setenv("TAPEHOUSE_DATA_DIR", str(tmp_path))
    markets = [Markets(exchange="binance", symbols=["QUILL/USDT"])]
    running = asyncio.create_task(stream(markets, ["trade", "order_book"], depth=5, every="500ms"))
    await until(lambda: count(database, "order_book", "QUILL/USDT") > 0)
    written = count(database, "order_book", "QUILL/USDT")
    await asyncio.sleep(2.5)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert count(database, "order_book", "QUILL/USDT") >= written + 4
    assert list((tmp_path / "spill").iterdir()) == []
    shown = server.latest_artifact("stream-binance")
    assert shown["data"] == 100
    assert "received" in shown["description"]
    run = server.post("/flow_runs/filter", {"flow_runs": {"name": {"any_": ["stream binance QUILL/USDT"]}}})[0]
    assert run["state_type"] in ("CANCELLED", "CRASHED")


async def test_an_exchange_is_streamed_by_one_run_at_a_time(
    server: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server
    monkeypatch.setattr(slots, "WAIT_S", 1.0)

    async with only_run([slot_name("binance", "stream")]):
        with pytest.raises(ServiceError, match=r"^Another run is at binance stream: cancel it"):
            await stream([Markets(exchange="binance", symbols=["ETH/BTC"])])


async def test_an_exchange_that_cannot_be_streamed_fails_the_run(server: PrefectServer) -> None:
    del server
    with pytest.raises(UnknownExchange):
        await stream([Markets(exchange="nosuch", symbols=["BTC/USDT"])])


async def test_a_length_of_time_that_makes_no_sense_is_refused(server: PrefectServer) -> None:
    del server
    with pytest.raises(InputError):
        await stream(every="1 second")


def test_a_command_line_that_makes_no_sense_is_refused() -> None:
    refused = CliRunner().invoke(command, ["binance"])

    assert refused.exit_code == 2
    assert "Name symbols of binance too" in refused.output
