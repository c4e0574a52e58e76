"""The flows that sync instruments, refresh what is derived, and compare, on a real Prefect server."""

from collections.abc import Generator

import pytest
from psycopg.conninfo import make_conninfo

from flows.ingest_ohlcv import CandleMarkets, ingest_ohlcv
from flows.refresh_rollups import refresh_rollups
from flows.sync_instruments import sync_instruments
from tapehouse.errors import StoreRefused, UnknownExchange
from tapehouse.sandbox import Sandbox
from tapehouse.store.connection import Connection
from tapehouse.store.roles import grant
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


@pytest.fixture
def ingest_role(database: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """This process' environment names the database as a role that may ingest."""
    database.execute("create role flows_ingest login")
    grant(database, "flows_ingest", "ingest")
    monkeypatch.setenv("TAPEHOUSE_DATABASE_URL", make_conninfo(database_url, options="-c role=flows_ingest"))
    yield
    database.execute("drop owned by flows_ingest")
    database.execute("drop role flows_ingest")


async def test_flows_ingest_with_the_rights_for_that_and_leave_rollups_to_their_owner(
    server: PrefectServer, database: Connection, ingest_role: None
) -> None:
    market = CandleMarkets(exchange="binance", symbols=["BTC/USDT"])
    (report,) = await ingest_ohlcv([market], since="2025-02-01", until="2025-02-01T01:00:00Z")

    assert (report.result.inserted, report.error) == (60, None)
    artifact = server.latest_artifact("refresh-rollups")
    assert artifact["description"] == "Rollups are left to tapehouse, who owns them."
    with pytest.raises(StoreRefused, match="Only tapehouse, who owns the tables of this database, may refresh rollups"):
        await refresh_rollups()
    stale = database.execute("select count(*) from stale_rollup where upper(during) = '2025-02-01 01:00+00'").fetchone()
    assert stale == (1,)
