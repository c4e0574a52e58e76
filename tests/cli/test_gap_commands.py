"""`tapehouse gaps` and `tapehouse repair`, in this process and as a program."""

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from tapehouse.moments import span_text
from tapehouse.sandbox import Fault, Sandbox
from tapehouse.store.connection import connect
from tapehouse.timeframe import to_ms
from tests.cli.conftest import Cli, Program

# Hours that no other test asks for.
START: Final = datetime(2025, 9, 1, tzinfo=UTC)
SERIES: Final = ("--exchange", "binance", "--symbol", "SOL/USDT", "--timeframe", "3m")


@pytest.fixture
def holes(cli: Cli, sandbox: Sandbox, database: Any) -> Iterator[None]:
    """Two hours of three-minute candles with a hole in between, of which the exchange left two out."""
    missing = Fault("missing_rows", path="klines", start_ms=to_ms(at(6)), end_ms=to_ms(at(12)))
    sandbox.faults.add(missing)
    for since, until in ((0, 30), (60, 120)):
        bounds = ("--since", at(since).isoformat(), "--until", at(until).isoformat())
        assert cli("ingest", "ohlcv", *SERIES, *bounds).exit_code == 0
    sandbox.faults.clear()
    yield
    with connect(database.url) as connection:
        connection.execute("update instrument set exchange = 'gone' || random() where exchange = 'binance'")


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def causes(cli: Cli, *arguments: str) -> list[tuple[str, str, str]]:
    shown = cli("gaps", *SERIES, "--json", *arguments)
    assert shown.exit_code == 0
    return [(gap["start"], gap["end"], gap["cause"]) for gap in json.loads(shown.stdout)["gaps"]]


@pytest.mark.usefixtures("holes")
def test_gaps_are_shown_with_their_causes(cli: Cli):
    hole = (at(30).isoformat(), at(60).isoformat(), "never_asked")
    empty = (at(6).isoformat(), at(12).isoformat(), "exchange_empty")
    assert causes(cli) == [empty, hole]
    assert causes(cli, "--cause", "never_asked") == [hole]
    assert causes(cli, "--end", at(36).isoformat()) == [empty, (hole[0], at(36).isoformat(), "never_asked")]
    assert causes(cli, "--dataset", "ohlcv", "--start", at(12).isoformat()) == [hole]
    assert cli("gaps", *SERIES, "--cause", "never_asked").stderr == "1 gap: 1 never_asked.\n"
    table = cli("gaps", *SERIES)
    assert "2025-09-01 00:30  2025-09-01 01:00     30m  never_asked" in table.stdout
    assert "2 gaps: 1 exchange_empty, 1 never_asked." in table.stderr


@pytest.mark.usefixtures("holes")
def test_of_very_many_gaps_a_table_shows_the_first(cli: Cli, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tapehouse.cli.gaps.MOST_SHOWN", 1)
    table = cli("gaps", *SERIES)
    assert "exchange_empty" in table.stdout
    assert "never_asked" not in table.stdout
    assert "... and 1 more: --json lists them all." in table.stderr
    assert len(causes(cli)) == 2


@pytest.mark.usefixtures("holes")
def test_repair_closes_gaps_and_then_has_nothing_to_do(cli: Cli, sandbox: Sandbox):
    planned = cli("repair", *SERIES, "--dry-run", "--json")
    assert [gap["treatment"] for gap in json.loads(planned.stdout)["gaps"]] == ["ask", "ask"]
    assert len(causes(cli)) == 2

    done = cli("repair", *SERIES, "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert [(gap["outcome"], gap["sources"], gap["left"]) for gap in answer["gaps"]] == [
        ("repaired", ["exchange"], [])
    ] * 2
    assert causes(cli) == []

    asked = len(sandbox.requests)
    again = cli("repair", *SERIES)
    assert (again.exit_code, again.stdout) == (0, "")
    assert "No gaps" in again.stderr
    assert len(sandbox.requests) == asked


@pytest.mark.usefixtures("holes")
def test_repair_fails_with_the_exchange_and_notes_that(cli: Cli, sandbox: Sandbox):
    sandbox.faults.add(Fault("status", status=451, path="klines"))
    failed = cli("repair", *SERIES, "--cause", "never_asked")
    assert failed.exit_code == 3
    assert "binance SOL/USDT 3m" in failed.stderr
    assert "1 gap tried: 1 open." in failed.stderr
    assert "open" in failed.stdout
    sandbox.faults.clear()
    assert causes(cli, "--cause", "failed") == [(at(30).isoformat(), at(60).isoformat(), "failed")]
    later = cli("repair", *SERIES, "--cause", "failed")
    assert later.exit_code == 0
    assert "Nothing is due, 1 wait for their next try" in later.stderr


@pytest.mark.usefixtures("holes")
def test_ctrl_c_stops_a_repair_cleanly(program: Program, sandbox: Sandbox, cli: Cli):
    sandbox.faults.add(Fault("hang", path="klines"))
    asked = len(sandbox.requests)
    process = program("repair", *SERIES, "--json")
    while not any("time" in one.path for one in sandbox.requests[asked:]):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (130, "")
    assert "run the same command again" in stderr
    assert len(causes(cli)) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("gaps", "--dataset", "trade", "--timeframe", "1m"), "Trades have no timeframe"),
        (("gaps", "--timeframe", "7m"), "7m"),
        (("gaps", "--start", "1d", "--end", "2d"), "swap them"),
        (("repair", "--fallback", "kraken:", "--dry-run"), "names no fallback"),
    ],
)
def test_options_that_make_no_sense_are_refused(cli: Cli, arguments: tuple[str, ...], says: str):
    refused = cli(*arguments)
    assert refused.exit_code == 2
    assert says in refused.stderr


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(days=3, hours=4, minutes=5), "3d 4h"),
        (timedelta(minutes=30), "30m"),
        (timedelta(days=1, minutes=1), "1d"),
        (timedelta(milliseconds=1), "1ms"),
        (timedelta(seconds=61), "1m 1s"),
    ],
)
def test_lengths_are_told_by_their_largest_units(length: timedelta, text: str):
    assert span_text(length) == text


@pytest.mark.parametrize("command", ["gaps", "repair"])
def test_a_series_that_is_not_stored_is_no_series_without_gaps(cli: Cli, command: str):
    result = cli(command, "--exchange", "kraken", "--symbol", "NOPE/USD")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: No such series is stored" in result.stderr


@pytest.mark.parametrize("command", ["gaps", "repair"])
def test_where_nothing_is_stored_there_are_no_gaps(cli: Cli, empty_url: str, command: str):
    shown, as_json = cli(command, "--url", empty_url), cli(command, "--url", empty_url, "--json")

    assert (shown.exit_code, shown.stdout) == (0, "")
    assert shown.stderr == cli("coverage", "--url", empty_url).stderr
    assert shown.stderr.startswith("Nothing is stored yet: ")
    assert (as_json.exit_code, json.loads(as_json.stdout)["gaps"]) == (0, [])


@pytest.mark.usefixtures("holes")
def test_what_the_sandbox_invented_is_not_asked_of_a_real_exchange(
    cli: Cli, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("TAPEHOUSE_EXCHANGE_URL")
    before = causes(cli)

    result = cli("repair", *SERIES)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: binance SOL/USDT 3m came from the sandbox: add --sandbox" in result.stderr
    assert causes(cli) == before
