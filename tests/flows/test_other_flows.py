"""The flows that sync instruments, refresh what is derived, and compare, on a real Prefect server."""

import pytest

from flows.refresh_rollups import refresh_rollups
from flows.sync_instruments import sync_instruments
from tapehouse.errors import UnknownExchange
from tapehouse.sandbox import Sandbox
from tapehouse.store.connection import Connection
from tests.flows.services import PrefectServer

pytestmark = pytest.mark.usefixtures("settings")


async def test_sync_stores_what_each_exchange_lists(
    server: PrefectServer, sandbox: Sandbox, database: Connection
) -> None:
    await sync_instruments(["binanceusdm", "kraken", "kraken"])

    stored = database.execute("select symbol, active from instrument where exchange = 'kraken'").fetchall()
    assert dict(stored) == {market.symbol: market.active for market in sandbox.markets if market.exchange == "kraken"}
    table = server.latest_artifact("sync-instruments")["data"]
    assert [(row["exchange"], row["error"]) for row in table] == [("binanceusdm", None), ("kraken", None)]
    assert table[1]["listed"] == len(stored)


async def test_sync_tells_what_exchanges_have_changed(server: PrefectServer, sandbox: Sandbox) -> None:
    sandbox.change_market("coinbaseexchange", "QUILL/USD", listed=False)
    await sync_instruments(["coinbaseexchange"])
    sandbox.change_market("coinbaseexchange", "QUILL/USD", listed=True)
    sandbox.change_market("coinbaseexchange", "SOL/USD", active=False)
    sandbox.change_market("coinbaseexchange", "ETH/USD", amount_decimals=6)
    try:
        await sync_instruments(["coinbaseexchange"])
    finally:
        sandbox.change_market("coinbaseexchange", "SOL/USD", active=True)
        sandbox.change_market("coinbaseexchange", "ETH/USD", amount_decimals=8)

    artifact = server.latest_artifact("sync-instruments")
    assert artifact["data"] == [
        {
            "exchange": "coinbaseexchange",
            "listed": 4,
            "new": 1,
            "new_symbols": "QUILL/USD",
            "delisted": "SOL/USD",
            "relisted": "",
            "changed": "ETH/USD lot_size 1e-08 → 1e-06",
            "error": None,
        }
    ]
    assert artifact["description"] == (
        "1 exchanges, 0 failed. 1 new, 1 delisted, 0 relisted, 1 changes of precision or units."
    )


async def test_sync_goes_on_after_an_exchange_that_fails(server: PrefectServer) -> None:
    with pytest.raises(UnknownExchange, match=r"^1 of 2 failed\. krakn: ccxt knows no exchange 'krakn'"):
        await sync_instruments(["krakn", "binance"])

    errors = {row["exchange"]: row["error"] for row in server.latest_artifact("sync-instruments")["data"]}
    assert errors["binance"] is None
    assert "did you mean kraken" in errors["krakn"]


async def test_refresh_says_that_nothing_was_behind(server: PrefectServer, database: Connection) -> None:
    database.execute("delete from stale_rollup")
    database.execute("delete from stale_feature")
    await refresh_rollups()

    artifact = server.latest_artifact("refresh-rollups")
    assert artifact["data"] == []
    assert artifact["description"] == "Nothing was behind."


def test_siblings_run_from_a_shell(server: PrefectServer) -> None:
    done = server.python("-m", "flows.refresh_rollups")

    assert done.returncode == 0, done.stderr
    assert "Finished in state Completed()" in done.stderr
