"""No password in what Prefect keeps of a run, be it logs, states, parameters or artifacts, nor in what a run says."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tapehouse.sandbox import Fault, Sandbox
from tests.flows.services import PrefectServer

SECRET: Final = "Tr0ub4dor"
FLOW: Final = ("-m", "flows.ingest_ohlcv", "kraken", "BTC/USD", "--since", "5m")


def test_a_run_leaves_no_password_behind(server: PrefectServer, database_url: str, sandbox: Sandbox) -> None:
    """Three runs that know passwords: one is well, one meets an exchange and one a database that refuses it."""
    gateway = sandbox.url.replace("://", f"://me:{SECRET}@")
    said = "".join(
        (
            run(server, database_url, gateway, exit_code=0),
            run(server, make_conninfo(database_url, password=SECRET), gateway, exit_code=4),
            run_refused(server, database_url, gateway, sandbox),
        )
    )

    home = Path(server.environment["PREFECT_HOME"])
    # The server's database with its log, its own words, and whatever else it keeps.
    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert "password authentication failed" in said
    assert b"password authentication failed" in kept
    for secret in (SECRET, str(conninfo_to_dict(database_url)["password"])):
        assert secret not in said
        assert secret.encode() not in kept


def run(server: PrefectServer, database_url: str, exchange_url: str, *, exit_code: int) -> str:
    """What a run of the flow says that finds both, and other passwords, in its environment."""
    environment = {
        **server.environment,
        "TAPEHOUSE_DATABASE_URL": database_url,
        "TAPEHOUSE_EXCHANGE_URL": exchange_url,
        "TAPEHOUSE_ALERT_URL": f"https://hooks.example.org/{SECRET}",
        "PGPASSWORD": SECRET,
    }
    done = replace(server, environment=environment).python(*FLOW)
    assert done.returncode == exit_code, done.stderr
    return done.stdout + done.stderr


def run_refused(server: PrefectServer, database_url: str, exchange_url: str, sandbox: Sandbox) -> str:
    """The same where the exchange refuses what it is asked; ccxt's error, in the run's log, repeats the address."""
    sandbox.faults.add(Fault("status", status=451))
    said = run(server, database_url, exchange_url, exit_code=3)
    assert "ccxt.base.errors" in said
    return said
