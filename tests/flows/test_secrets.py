"""No password in what Prefect keeps of a run, be it logs, states, parameters or artifacts, nor in what a run says."""

import traceback
from pathlib import Path
from typing import Final

import pytest
from prefect.logging.handlers import APILogHandler
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flows.ingest_ohlcv import CandleMarkets, ingest_ohlcv
from tapehouse.errors import PermanentError, StoreRefused, TapehouseError
from tapehouse.sandbox import Fault, Sandbox
from tests.flows.services import PrefectServer

SECRET: Final = "Tr0ub4dor"


async def test_a_run_leaves_no_password_behind(
    server: PrefectServer,
    database_url: str,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Three runs that know passwords: one is well, the database refuses one, and the exchange another one."""
    monkeypatch.setenv("TAPEHOUSE_EXCHANGE_URL", sandbox.url.replace("://", f"://me:{SECRET}@"))
    monkeypatch.setenv("TAPEHOUSE_ALERT_URL", f"https://hooks.example.org/{SECRET}")
    monkeypatch.setenv("PGPASSWORD", SECRET)
    monkeypatch.setenv("TAPEHOUSE_DATABASE_URL", database_url)
    well = await run()
    monkeypatch.setenv("TAPEHOUSE_DATABASE_URL", make_conninfo(database_url, password=SECRET))
    refused_by_database = await run()
    monkeypatch.setenv("TAPEHOUSE_DATABASE_URL", database_url)
    sandbox.faults.add(Fault("status", status=451))
    refused_by_exchange = await run()

    assert well is None
    assert isinstance(refused_by_database, StoreRefused)
    assert isinstance(refused_by_exchange, PermanentError)
    APILogHandler().flush()
    outcomes = [refused_by_database, refused_by_exchange]
    said = "".join((*capfd.readouterr(), *(line for one in outcomes for line in traceback.format_exception(one))))
    kept = all_files(Path(server.environment["PREFECT_HOME"]))
    assert "most likely a geo block" in said
    assert b"password authentication failed" in kept
    for secret in (SECRET, str(conninfo_to_dict(database_url)["password"])):
        assert secret not in said
        assert secret.encode() not in kept


async def run() -> TapehouseError | None:
    """Run the flow, and how it failed."""
    try:
        await ingest_ohlcv([CandleMarkets(exchange="kraken", symbols=["BTC/USD"])], since="5m")
    except TapehouseError as error:
        return error
    return None


def all_files(home: Path) -> bytes:
    """The server's database with its log, its own words, and whatever else it keeps."""
    return b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
