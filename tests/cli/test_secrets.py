"""No password in what a command says, whether it succeeds or fails, with --debug or without, nor in a log."""

import traceback
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

import click
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tapehouse import embedded
from tapehouse.cli import main
from tapehouse.sandbox import Sandbox
from tests.cli.conftest import Cli

SECRET: Final = "Tr0ub4dor"
# Whatever a command needs besides the database.
WORDS: Final = {
    "exchange": "binance",
    "symbol": "BTC/USDT",
    "symbols": "BTC/USDT",
    "timeframe": "1h",
    "since": "1h",
    "start": "1h",
    "every": "1s",
    "for": "1s",
    "lasting": "1s",
    "target": "folder",
    "folder": "folder",
    "yes": "",
}
# What makes sense of them.
MORE: Final = {"delete": ["--timeframe", "1h"], "grant": ["--reader", "bot"]}
# Where a password with that in it takes the URL apart.
SPOILT: Final = [f"{SECRET}{mark}x" for mark in "@/#?%: [&'"] + [f"x{mark}{SECRET}" for mark in "@/#?%: [&'"]

Said = Callable[..., str]


@pytest.fixture
def said(cli: Cli) -> Said:
    """All that a command says, the traceback that --debug lets through included."""

    def run(*arguments: str, exit_code: int | None = None) -> str:
        result = cli(*arguments)
        text = result.output
        if result.exc_info is not None and not isinstance(result.exception, SystemExit):
            text += "".join(traceback.format_exception(*result.exc_info))
        elif exit_code is not None:
            assert result.exit_code == exit_code, text
        return text

    return run


def commands(group: click.Group, *path: str) -> Generator[list[str]]:
    """Every command that takes a database, with what it needs besides."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
            continue
        names = {parameter.name for parameter in command.params}
        if "url" not in names:
            continue
        words = [*path, name]
        for parameter in command.params:
            if parameter.required and parameter.name:
                value = WORDS.get(parameter.name, "folder")
                words += [value] if isinstance(parameter, click.Argument) else [parameter.opts[0], value]
        yield words + MORE.get(name, [])


EVERY_COMMAND: Final = [words for words in commands(main) if words != ["db", "url"]]


@pytest.mark.parametrize("debug", [(), ("--debug",)], ids=["", "debug"])
@pytest.mark.parametrize(
    "url",
    [
        *(f"postgresql://user:{spoilt}@127.0.0.1:1/db" for spoilt in SPOILT),
        f"postgresql://user:{SECRET}@127.0.0.1:1/db",
        f"postgresql://127.0.0.1:1/db?user=me&password={SECRET}",
        f"postgresql://127.0.0.1:1/db?sslpassword={SECRET}&sslmode=nonsense",
        f"host=127.0.0.1 port=1 password={SECRET}",
        f"host=127.0.0.1 port=1 password='{SECRET} x'",
        f"host=127.0.0.1 port=1 password=x {SECRET}",
        f"postgresql//user:{SECRET}@127.0.0.1:1/db",
        f"user:{SECRET}@127.0.0.1:1/db",
        f"postgres://user:{SECRET}@127.0.0.1:port/db",
        SECRET,
    ],
)
def test_no_way_to_write_a_url_wrongly_shows_its_password(said: Said, url: str, debug: tuple[str, ...]) -> None:
    text = said(*debug, "db", "status", "--url", url, exit_code=4)

    assert "Error: " in text
    assert SECRET not in text


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=" ".join)
def test_no_command_shows_the_password_of_a_database_that_refuses_it(
    said: Said, database: embedded.EmbeddedStatus, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "BTCUSDT-1h.csv").write_text("time,open,high,low,close,volume\n")
    text = said("--debug", *command, "--url", make_conninfo(database.url or "", password=SECRET))

    assert "password authentication failed" in text
    assert SECRET not in text


def test_every_command_that_takes_a_database_was_tried() -> None:
    assert {words[0] for words in EVERY_COMMAND} >= {
        "ingest",
        "backfill",
        "candles",
        "db",
        "delete",
        "repair",
        "export",
    }
    assert len(EVERY_COMMAND) > 20


@pytest.mark.parametrize("way", ["PGPASSWORD", "PGPASSFILE", "passfile in the URL"])
def test_a_password_may_stay_out_of_the_url(
    said: Said, database: embedded.EmbeddedStatus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    parts = conninfo_to_dict(database.url or "")
    password = str(parts.pop("password"))
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"127.0.0.1:*:*:tapehouse:{password}\n")
    passfile.chmod(0o600)
    if way == "PGPASSWORD":
        monkeypatch.setenv(way, password)
    elif way == "PGPASSFILE":
        monkeypatch.setenv(way, str(passfile))
    else:
        parts["passfile"] = str(passfile)

    for command in (["db", "status", "--json"], ["coverage"], ["db", "migrate"]):
        assert password not in said(*command, "--url", make_conninfo("", **parts), exit_code=0)


@pytest.mark.parametrize("answers", [True, False], ids=["answers", "does not answer"])
def test_a_gateways_password_shows_nowhere(
    said: Said, database: embedded.EmbeddedStatus, sandbox: Sandbox, answers: bool
) -> None:
    address = sandbox.url if answers else "http://127.0.0.1:1"
    gateway = address.replace("://", f"://me:{SECRET}@")
    asked = ("--exchange", "kraken", "--symbol", "SOL/USD", "--since", "10m")
    text = said("--debug", "ingest", "ohlcv", *asked, "--exchange-url", gateway, exit_code=0 if answers else None)

    assert ("can't be asked at the moment" in text) != answers
    assert SECRET not in text
    # In the database, the gateway is known by host and port.
    with psycopg.connect(database.url or "") as connection:
        addresses = connection.execute("select address from rate_budget where exchange = 'kraken'").fetchall()
    assert (address.removeprefix("http://"),) in addresses
    assert not any(SECRET in address for (address,) in addresses)


def test_the_log_of_the_embedded_server_holds_neither_its_password_nor_those_of_statements(
    database: embedded.EmbeddedStatus,
) -> None:
    password = str(conninfo_to_dict(database.url or "")["password"])
    with psycopg.connect(database.url or "", autocommit=True) as connection:
        with pytest.raises(psycopg.errors.SyntaxError):
            connection.execute(f"create role someone password '{SECRET}' nonsense")  # pyright: ignore[reportArgumentType]
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(make_conninfo(database.url or "", password=SECRET))
    log = database.log_path.read_text()

    assert "Ready on 127.0.0.1" in log
    assert SECRET not in log
    assert password not in log
