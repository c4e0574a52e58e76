"""`tapehouse db grant`, and what a role that it was used for can do."""

import json
from collections.abc import Generator

import pytest
from psycopg.conninfo import make_conninfo

from tapehouse import embedded
from tapehouse.store.connection import connect
from tests.cli.conftest import Cli

ROLES = ("cli_worker", "cli_bot")


@pytest.fixture
def roles(database: embedded.EmbeddedStatus) -> Generator[None]:
    with connect(database.url or "") as connection:
        for role in ROLES:
            connection.execute(f"create role {role} login")  # pyright: ignore[reportArgumentType] -- a name of this file
        yield
        connection.execute("drop owned by cli_worker, cli_bot")
        connection.execute("drop role cli_worker, cli_bot")


def test_roles_get_what_they_need_and_commands_run_with_it(
    cli: Cli, database: embedded.EmbeddedStatus, roles: None
) -> None:
    granted = cli("db", "grant", "--ingest", "cli_worker", "--reader", "cli_bot")
    worker, bot = (make_conninfo(database.url or "", options=f"-c role={role}") for role in ROLES)
    asked = ("--exchange", "kraken", "--symbol", "ETH/USD", "--since", "1h")
    ingested = cli("ingest", "ohlcv", *asked, "--url", worker)
    read = cli("candles", "kraken", "ETH/USD", "1m", "--start", "1h", "--json", "--url", bot)
    refused = cli("ingest", "ohlcv", *asked, "--url", bot)
    left = cli("refresh", "--url", worker)

    assert granted.exit_code == 0, granted.output
    assert "GRANT tapehouse TO role WITH INHERIT FALSE" in granted.stderr
    assert ingested.exit_code == 0, ingested.output
    assert "Rollups are left to tapehouse, who owns them" in ingested.stderr
    assert len(json.loads(read.stdout)["candles"]) > 50
    assert (refused.exit_code, left.exit_code) == (4, 4)
    assert "permission denied" in refused.stderr
    assert left.stderr == "Error: Only tapehouse, who owns the tables of this database, may refresh rollups.\n"


def test_what_was_granted_is_told_as_json(cli: Cli, roles: None) -> None:
    told = json.loads(cli("db", "grant", "--reader", "cli_bot", "--json").stdout)

    assert told["owner"] == "tapehouse"
    (bot,) = told["granted"]
    assert (bot["role"], bot["purpose"], bot["writes"], bot["refreshes"]) == ("cli_bot", "reader", 0, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name a role: --ingest ROLE"),
        (["--ingest", "one", "--reader", "one"], "one can't be both"),
        (["--reader", "nobody"], "CREATE ROLE nobody LOGIN"),
        (["--reader", "tapehouse"], "tapehouse owns the tables"),
    ],
)
def test_a_grant_that_makes_no_sense_is_refused(cli: Cli, arguments: list[str], message: str) -> None:
    result = cli("db", "grant", *arguments)

    assert result.exit_code == 2
    assert message in result.stderr
