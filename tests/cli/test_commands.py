import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

import tapehouse.store.rollups
from tapehouse.cli import main
from tapehouse.cli.db import masked
from tapehouse.embedded import EmbeddedStatus
from tapehouse.sandbox import Fault, Sandbox
from tapehouse.store.connection import connect
from tests.cli.conftest import Cli, Program


def _commands(group: click.Group, *path: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        found += _commands(command, *path, name) if isinstance(command, click.Group) else [(*path, name)]
    return found


@pytest.mark.parametrize("path", _commands(main), ids=" ".join)
def test_every_command_has_help_with_examples(cli: Cli, path: tuple[str, ...]) -> None:
    result = cli(*path, "--help")

    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert f"tapehouse {path[0]}" in result.stdout.partition("Example")[2]


@pytest.mark.parametrize("module", ["tapehouse.cli", "tapehouse.cli.commands"])
def test_the_command_line_imports_nothing_heavy(module: str) -> None:
    heavy = {"pandas", "numpy", "ccxt", "pandera", "rich", "psycopg", "aiohttp", "pyarrow", "matplotlib", "prefect"}
    program = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert heavy.isdisjoint(loaded)


def test_version(cli: Cli) -> None:
    assert cli("--version").stdout.startswith("tapehouse 0.")


def test_instruments_are_synced_and_shown(cli: Cli) -> None:
    result = cli("instruments", "--sync", "kraken", "--json")

    assert "kraken lists 6 instruments" in result.stderr
    found = {one["symbol"]: one for one in json.loads(result.stdout)["instruments"]}
    assert sorted(found) == ["BTC/EUR", "BTC/USD", "ETH/USD", "QUILL/USD", "RELIC/USD", "SOL/USD"]
    assert (found["RELIC/USD"]["active"], found["BTC/USD"]["active"]) == (False, True)
    assert found["BTC/USD"]["tick_size"] == 0.1
    assert found["BTC/USD"]["contract_size"] is None


def test_instruments_tell_what_an_exchange_has_changed(cli: Cli, sandbox: Sandbox) -> None:
    assert cli("instruments", "--sync", "coinbase").exit_code == 0
    assert "No exchange has changed anything" in cli("instruments", "--exchange", "coinbase", "--changes").stderr
    sandbox.change_market("coinbase", "ETH/USD", listed=False)
    sandbox.change_market("coinbase", "SOL/USD", price_decimals=4)
    try:
        synced = cli("instruments", "--sync", "coinbase", "--changes", "--json")
    finally:
        sandbox.change_market("coinbase", "ETH/USD", listed=True)
        sandbox.change_market("coinbase", "SOL/USD", price_decimals=2)

    assert "No longer traded: ETH/USD." in synced.stderr
    assert "Changed: SOL/USD tick_size 0.01 → 0.0001." in synced.stderr
    told = [(one["symbol"], one["what"], one["before"], one["after"]) for one in json.loads(synced.stdout)["changes"]]
    assert told == [("ETH/USD", "active", "true", "false"), ("SOL/USD", "tick_size", "0.01", "0.0001")]
    assert "SOL/USD  tick_size" in cli("instruments", "--changes").stdout
    back = cli("instruments", "--sync", "coinbase")
    assert "Traded again: ETH/USD." in back.stderr


def test_instruments_can_leave_out_delisted_ones(cli: Cli) -> None:
    assert cli("instruments", "--sync", "kraken").exit_code == 0

    assert "RELIC/USD" in cli("instruments", "--exchange", "kraken").stdout
    assert "RELIC/USD" not in cli("instruments", "--exchange", "kraken", "--active").stdout


def test_instruments_say_what_their_amounts_count_and_where_they_come_from(cli: Cli) -> None:
    assert cli("instruments", "--sync", "okx").exit_code == 0

    found = {
        one["symbol"]: one
        for one in json.loads(cli("instruments", "--exchange", "okx", "--json").stdout)["instruments"]
    }
    units = {symbol: (one["kind"], one["amount_unit"], one["trade_unit"]) for symbol, one in found.items()}
    assert units["BTC/USDT"] == ("spot", "base", "base")
    assert units["BTC/USDT:USDT"] == ("swap", "base", "contract")
    rows = [line.split() for line in cli("instruments", "--exchange", "okx").stdout.splitlines()]
    (swap,) = (row for row in rows if "BTC/USDT:USDT" in row)
    # Behind the tick size; what it steps by is 0.01 contracts of 0.01.
    assert swap[5:10] == ["0.01", "0.01", "base", "contract", "sandbox"]


def test_coverage_and_quarantine_tell_of_rejected_rows(cli: Cli, sandbox: Sandbox) -> None:
    # The two rows in the middle of the sixty: 00:29 and 00:30.
    sandbox.faults.add(Fault("negative_volume", rows=2))
    stored = cli(
        *("ingest", "ohlcv", "--exchange", "binanceusdm", "--symbol", "ETH/USDT:USDT"),
        *("--since", "2025-04-02", "--until", "2025-04-02T01:00Z"),
    )
    assert stored.exit_code == 0, stored.output

    (series,) = json.loads(cli("coverage", "--exchange", "binanceusdm", "--json").stdout)["series"]
    rejected = json.loads(cli("quarantine", "--exchange", "binanceusdm", "--json").stdout)["rows"]

    assert (series["symbol"], series["rows"], series["gaps"], series["rejected"]) == ("ETH/USDT:USDT", 58, 1, 2)
    assert (series["start"], series["end"]) == ("2025-04-02T00:00:00+00:00", "2025-04-02T01:00:00+00:00")
    assert sorted(row["time"] for row in rejected) == ["2025-04-02T00:29:00+00:00", "2025-04-02T00:30:00+00:00"]
    assert {tuple(row["reasons"]) for row in rejected} == {("volume_negative",)}
    assert all(row["raw"][5] < 0 for row in rejected)
    assert "volume_negative" in cli("quarantine", "--symbol", "ETH/USDT:USDT").stdout


@pytest.mark.parametrize(("command", "key"), [("quarantine", "rows"), ("instruments", "instruments")])
def test_nothing_found_is_said_on_stderr_and_empty_in_json(cli: Cli, command: str, key: str) -> None:
    shown = cli(command, "--exchange", "bitstamp")

    assert (shown.exit_code, shown.stdout) == (0, "")
    assert shown.stderr
    assert json.loads(cli(command, "--exchange", "bitstamp", "--json").stdout) == {key: []}


@pytest.mark.parametrize(
    "asked", [("--exchange", "bitstamp"), ("--symbol", "NOPE/NOPE"), ("--symbol", "NOPE", "--json")]
)
def test_coverage_of_what_is_not_stored_is_an_error(cli: Cli, asked: tuple[str, ...]) -> None:
    refused = cli("coverage", *asked)

    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == "Error: No such series is stored: `tapehouse coverage` shows all there are.\n"


def test_changes_and_active_exclude_each_other(cli: Cli) -> None:
    refused = cli("instruments", "--changes", "--active")

    assert refused.exit_code == 2
    assert "leave --active out" in refused.stderr


@pytest.mark.parametrize("command", ["coverage", "quarantine", "instruments", "compare"])
def test_an_exchange_that_there_is_not_is_an_error_with_the_close_names(cli: Cli, command: str) -> None:
    refused = cli(command, "--exchange", "krakn")

    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith("Error: ccxt knows no exchange 'krakn': did you mean kraken")


def test_refresh_settles_what_an_ingest_left(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    asked = ("ingest", "ohlcv", "--exchange", "binance", "--symbol", "SOL/USDT")
    with monkeypatch.context() as patched:
        patched.setattr(tapehouse.store.rollups, "refresh_rollups", killed)
        assert cli(*asked, "--since", "2025-04-03", "--until", "2025-04-03T01:00Z").exit_code == 130

    refreshed = json.loads(cli("refresh", "--json").stdout)["rollups_refreshed"]

    assert {"start": "2025-04-03T00:00:00+00:00", "end": "2025-04-04T00:00:00+00:00"} in refreshed
    assert "2025-04-03" not in cli("refresh").stdout


def test_refresh_says_when_nothing_was_behind(cli: Cli, database: EmbeddedStatus) -> None:
    with connect(database.url or "") as connection:
        connection.execute("delete from stale_rollup")
        connection.execute("delete from stale_feature")

    assert cli("refresh").stdout == "All that is derived was up to date.\n"


def test_an_unexpected_error_is_one_line_and_a_traceback_only_when_asked_for(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("not\nfunny")

    monkeypatch.setattr(tapehouse.store.rollups, "refresh_rollups", broken)

    quiet = cli("refresh")
    assert quiet.exit_code == 1
    assert quiet.stderr.splitlines()[0] == "Error: ZeroDivisionError: not funny"
    assert "tapehouse --debug" in quiet.stderr
    assert isinstance(cli("--debug", "refresh").exception, ZeroDivisionError)


def test_db_status_and_url(cli: Cli, database: EmbeddedStatus) -> None:
    status = json.loads(cli("db", "status", "--json").stdout)

    assert cli("db", "url").stdout == f"{database.url}\n"
    assert status["url"] == masked(database.url or "")
    assert status["pending_migrations"] == []
    assert status["timescaledb"].startswith("2.")
    assert status["pid"] == database.pid
    assert cli("db", "migrate").stdout == "All migrations were applied already.\n"


def test_db_up_down_and_reset(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEHOUSE_DATA_DIR", str(tmp_path / "data"))
    try:
        up = cli("db", "up", "--json")
        assert up.exit_code == 0, up.output
        assert json.loads(up.stdout)["applied"][0] == "0001_create_ledgers"
        assert json.loads(cli("db", "up", "--json").stdout)["applied"] == []
        assert cli("db", "down").stdout == "The embedded database is stopped.\n"
        assert cli("db", "down").stdout == "The embedded database was not running.\n"
        assert cli("db", "status").exit_code == 4

        assert cli("db", "reset").exit_code == 2
        assert (tmp_path / "data" / "pgdata").exists()
        assert cli("db", "reset", "--yes").exit_code == 0
        assert not (tmp_path / "data" / "pgdata").exists()
    finally:
        cli("db", "down")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "postgresql://me:s%40cret@host:5433/market?sslmode=require",
            "postgresql://me:***@host:5433/market?sslmode=require",
        ),
        ("postgresql://me@host/market", "postgresql://me@host/market"),
        ("postgresql://host/market?password=secret", "postgresql://host/market?password=***"),
        ("host=db password=secret dbname=market", "host=db password=*** dbname=market"),
        ("host=db password='two words' dbname=market", "host=db password=*** dbname=market"),
    ],
)
def test_passwords_are_hidden(url: str, shown: str) -> None:
    assert masked(url) == shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminated"])
def test_the_sandbox_command_serves_until_it_is_stopped(program: Program, cli: Cli, number: signal.Signals) -> None:
    process = program("sandbox", "--port", "0", "--seed", "42")
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("Sandbox exchange at http://127.0.0.1:")
    address = line.split()[3]

    synced = cli("instruments", "--sync", "binance", "--exchange-url", address)
    process.send_signal(number)

    assert synced.exit_code == 0, synced.output
    assert process.wait() == 0
