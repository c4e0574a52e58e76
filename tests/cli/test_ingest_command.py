import json
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from click.testing import Result

from tapehouse.embedded import EmbeddedStatus
from tapehouse.exchange import Exchange
from tapehouse.ingest.venue import open_shared_exchange
from tapehouse.sandbox import Fault, Sandbox
from tapehouse.store.connection import connect
from tests.cli.conftest import Cli, Program

_BINANCE: Final = ("ingest", "ohlcv", "--exchange", "binance")
_COUNTS: Final = ("fetched", "inserted", "changed", "unchanged", "rejected", "refused")


def _json(result: Result) -> Any:
    return json.loads(result.stdout)


def _counts(series: dict[str, Any]) -> tuple[int, ...]:
    return tuple(series[name] for name in _COUNTS)


def test_several_series_are_ingested_and_their_rollups_refreshed(cli: Cli) -> None:
    days = ("--since", "2025-05-01", "--until", "2025-05-01T10:00Z")

    result = cli(*_BINANCE, "--symbol", "BTC/USDT,ETH/USDT", "--symbol", "SOL/USDT", *days, "--json")

    assert result.exit_code == 0, result.output
    report = _json(result)
    assert [one["symbol"] for one in report["series"]] == ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
    assert [_counts(one) for one in report["series"]] == [(600, 600, 0, 0, 0, 0)] * 3
    assert {(one["start"], one["end"]) for one in report["series"]} == {
        ("2025-05-01T00:00:00+00:00", "2025-05-01T10:00:00+00:00")
    }
    assert [one["error"] for one in report["series"]] == [None] * 3
    assert {"start": "2025-05-01T00:00:00+00:00", "end": "2025-05-02T00:00:00+00:00"} in report["rollups_refreshed"]


def test_a_second_run_asks_only_for_the_last_candles(cli: Cli, sandbox: Sandbox) -> None:
    asked = (*_BINANCE, "--symbol", "BTC/USDT", "--since", "2025-05-10", "--until", "2025-05-10T10:00Z", "--json")
    assert cli(*asked).exit_code == 0
    before = len(sandbox.requests)

    report = _json(cli(*asked))

    klines = [one.query for one in sandbox.requests[before:] if "klines" in one.path]
    # 2025-05-10T09:55Z to before 10:00Z, the last five candles.
    assert [(one["startTime"], one["endTime"]) for one in klines] == [("1746870900000", "1746871199999")]
    assert _counts(report["series"][0]) == (5, 0, 0, 5, 0, 0)
    assert not any(one["start"].startswith("2025-05-10") for one in report["rollups_refreshed"])


def test_a_series_that_fails_does_not_stop_the_others(cli: Cli) -> None:
    day = ("--since", "2025-05-11", "--until", "2025-05-11T01:00Z")

    result = cli(*_BINANCE, "--symbol", "NOPE/USDT,BTC/USDT", *day)

    assert result.exit_code == 2
    failed, done = (line.split() for line in result.stdout.splitlines() if "/USDT" in line)
    assert failed[:3] == ["binance", "NOPE/USDT", "1m"]
    assert failed[-1] == "failed"
    assert done[:6] == ["binance", "BTC/USDT", "1m", "60", "60", "60"]
    assert "Error: binance NOPE/USDT 1m: binance has no symbol 'NOPE/USDT'" in result.stderr


def test_the_exit_code_is_that_of_the_worst_failure(cli: Cli, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("null_price", symbol="ETH/USDT", rows=1000))

    result = cli(
        *_BINANCE, "--symbol", "NOPE/USDT,ETH/USDT", "--since", "2025-05-12", "--until", "2025-05-12T01:00Z", "--json"
    )

    assert result.exit_code == 5
    unknown, bad = _json(result)["series"]
    assert unknown["error"].startswith("binance has no symbol 'NOPE/USDT'")
    assert (bad["fetched"], bad["inserted"], bad["rejected"]) == (60, 0, 60)


def test_without_a_terminal_progress_is_a_line_a_series_on_stderr(cli: Cli) -> None:
    result = cli(*_BINANCE, "--symbol", "BTC/USDT", "--since", "2025-05-13", "--until", "2025-05-13T01:00Z", "--json")

    assert "\x1b" not in result.stderr
    assert result.stderr.splitlines()[0] == "binance: 1m candles from 2025-05-13 00:00 UTC on."
    assert "binance BTC/USDT 1m done: 60 rows in" in result.stderr


def test_the_sandbox_option_starts_an_exchange_for_the_command(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAPEHOUSE_EXCHANGE_URL")

    result = cli(
        "ingest", "ohlcv", "--sandbox", "--exchange", "kraken", "--symbol", "BTC/USD", "--since", "1h", "--json"
    )

    assert result.exit_code == 0, result.output
    assert _json(result)["series"][0]["inserted"] in (59, 60)


@pytest.mark.parametrize(
    ("module", "method", "arguments", "noun"),
    [
        ("tapehouse.ingest.batch", "fetchTrades", ("trades", "--since", "1h"), "trades"),
        ("tapehouse.ingest.sampling", "fetchOrderBook", ("order-books", "--for", "1s"), "order books"),
    ],
    ids=["trades", "order-books"],
)
def test_what_an_exchange_does_not_give_is_said(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, module: str, method: str, arguments: tuple[str, ...], noun: str
) -> None:
    @asynccontextmanager
    async def open_less(*args: Any, **options: Any) -> AsyncGenerator[Exchange]:
        async with open_shared_exchange(*args, **options) as exchange:
            exchange._connection.ccxt.has[method] = False  # pyright: ignore[reportPrivateUsage] -- no exchange of the sandbox lacks it
            yield exchange

    monkeypatch.setattr(f"{module}.open_shared_exchange", open_less)

    command, *rest = arguments
    result = cli("ingest", command, "--exchange", "binance", "--symbol", "BTC/USDT", *rest)

    assert result.exit_code == 3
    assert f": binance gives no {noun} through ccxt: choose another exchange." in result.stderr


def test_ctrl_c_keeps_what_was_committed_and_the_next_run_goes_on(
    program: Program, cli: Cli, sandbox: Sandbox, database: EmbeddedStatus
) -> None:
    asked = (*_BINANCE, "--symbol", "ETH/BTC", "--since", "2025-02-01", "--until", "2025-02-09")
    sandbox.latency_ms = 100
    process = program(*asked)
    with connect(database.url or "") as connection:
        while _minutes_stored(connection) == 0:
            assert process.poll() is None
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    sandbox.latency_ms = 0

    assert process.returncode == 130
    with connect(database.url or "") as connection:
        kept = _minutes_stored(connection)
    assert stdout.splitlines()[-1].split()[-1] == "stopped"
    again = "tapehouse ingest ohlcv --exchange binance --symbol ETH/BTC --since 2025-02-01 --until 2025-02-09"
    assert f"Stopped. What was stored stays: {kept:,} rows. To go on: {again}" in stderr.splitlines()
    report = _json(cli(*asked, "--json"))
    # 8 days of minutes, of which the trailing five are asked for again in any case.
    assert report["series"][0]["inserted"] == 8 * 1440 - kept


def _minutes_stored(connection: Any) -> int:
    row = connection.execute(
        "select count(*) from ohlcv join instrument using (instrument_id) where symbol = 'ETH/BTC' "
        "and time between '2025-02-01' and '2025-02-09'"
    ).fetchone()
    return int(row[0])
