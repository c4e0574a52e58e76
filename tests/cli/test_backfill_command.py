"""`tapehouse backfill` against a real sandbox over HTTP and a real database; interrupted as a program of its own."""

import json
import signal
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from click.testing import Result

from tapehouse.embedded import EmbeddedStatus
from tapehouse.ingest.plan import CHUNK_CANDLES, CHUNK_TRADES
from tapehouse.sandbox import Fault, Sandbox
from tapehouse.store.connection import Connection, connect
from tapehouse.store.retention import change_kept
from tests.cli.conftest import Cli, Program

# A day that is over, which retention keeps.
_DAY: Final = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=60)
_COUNTS: Final = ("planned", "fetched", "inserted", "changed", "unchanged", "rejected", "refused", "failed")


def _backfill(symbols: str, start: datetime, end: datetime, *, exchange: str = "binance") -> tuple[str, ...]:
    times = ("--start", f"{start:%Y-%m-%dT%H:%M:%SZ}", "--end", f"{end:%Y-%m-%dT%H:%M:%SZ}")
    return ("backfill", "--exchange", exchange, "--symbol", symbols, *times)


def _series(result: Result) -> list[dict[str, Any]]:
    return json.loads(result.stdout)["series"]


def _minutes(connection: Connection, symbol: str, start: datetime, end: datetime) -> int:
    """How many different minutes of that range are stored."""
    row = connection.execute(
        "select count(distinct time) from candle where exchange = 'binance' and symbol = %s and timeframe_s = 60"
        " and time >= %s and time < %s",
        (symbol, start, end),
    ).fetchone()
    assert row is not None
    return row[0]


def test_the_help_tells_in_which_order_a_range_is_fetched(cli: Cli) -> None:
    hours = CHUNK_TRADES // timedelta(hours=1)
    assert (
        f"It goes by blocks of {CHUNK_CANDLES:,} candles, or {hours} hours of trades: the newest block first, each from"
        in " ".join(cli("backfill", "--help").stdout.split())
    )


def test_several_exchanges_and_timeframes_are_fetched_side_by_side(cli: Cli) -> None:
    asked = _backfill("BTC/USDT", _DAY, _DAY + timedelta(days=2), exchange="binance,bybit")

    result = cli(*asked, "--timeframe", "1h,1d", "--json")

    assert result.exit_code == 0, result.output
    found = {(one["exchange"], one["timeframe"]): tuple(one[name] for name in _COUNTS) for one in _series(result)}
    hours, days = (48, 48, 48, 0, 0, 0, 0, 0), (2, 2, 2, 0, 0, 0, 0, 0)
    assert found == {
        ("binance", "1h"): hours,
        ("binance", "1d"): days,
        ("bybit", "1h"): hours,
        ("bybit", "1d"): days,
    }
    assert {(one["start"], one["end"], one["is_ended"], one["error"]) for one in _series(result)} == {
        (_DAY.isoformat(), (_DAY + timedelta(days=2)).isoformat(), True, None)
    }
    span = f"{_DAY:%Y-%m-%d} 00:00 to {_DAY + timedelta(days=2):%Y-%m-%d} 00:00 UTC"
    assert result.stderr.splitlines()[0] == f"binance, bybit: 1h, 1d candles of BTC/USDT from {span}."


def test_only_what_is_missing_before_between_and_after_is_fetched(cli: Cli) -> None:
    for first, last in ((6, 8), (12, 14)):
        span = _DAY + timedelta(hours=first), _DAY + timedelta(hours=last)
        assert cli(*_backfill("SOL/USDT", *span)).exit_code == 0

    filled, again = (cli(*_backfill("SOL/USDT", _DAY, _DAY + timedelta(days=1)), "--json").stdout for _ in range(2))

    (rest,), (nothing,) = json.loads(filled)["series"], json.loads(again)["series"]
    assert tuple(rest[name] for name in _COUNTS) == (1200, 1200, 1200, 0, 0, 0, 0, 0)
    assert tuple(nothing[name] for name in _COUNTS) == (0,) * len(_COUNTS)
    assert {"start": _DAY.isoformat(), "end": (_DAY + timedelta(days=1)).isoformat()} in json.loads(filled)[
        "rollups_refreshed"
    ]
    assert json.loads(again)["rollups_refreshed"] == []


def test_what_lies_before_the_first_candle_is_not_walked_through(cli: Cli) -> None:
    # EMBER is listed from 2025-07-01 09:30 on.
    days = (datetime(2025, 2, 1, tzinfo=UTC), datetime(2025, 7, 2, tzinfo=UTC))

    (series,) = _series(cli(*_backfill("EMBER/USDT", *days), "--timeframe", "1h", "--json"))

    assert series["begins_at"] == "2025-07-01T09:00:00+00:00"
    assert (series["planned"], series["inserted"]) == (15, 15)


def test_trades_are_fetched_too(cli: Cli) -> None:
    asked = _backfill("ETH/USDT", _DAY, _DAY + timedelta(minutes=10))

    result = cli(*asked, "--dataset", "trade", "--json")

    (series,) = _series(result)
    assert result.exit_code == 0
    assert (series["dataset"], series["planned"], series["planned_seconds"]) == ("trade", None, 600)
    assert series["inserted"] == series["fetched"] > 0


def test_a_series_that_fails_is_named_and_stops_no_other(cli: Cli, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("null_price", symbol="ETH/USDT", rows=1000))

    result = cli(*_backfill("NOPE/USDT,ETH/USDT,BTC/USDT", _DAY, _DAY + timedelta(hours=1)))

    # Too many rejected rows is worse than a symbol that there is not.
    assert result.exit_code == 5
    states = {line.split()[1]: line.split()[-1] for line in result.stdout.splitlines() if "/USDT" in line}
    assert (states["NOPE/USDT"], states["ETH/USDT"]) == ("failed", "failed")
    assert states["BTC/USDT"] != "failed"
    assert "Error: binance NOPE/USDT 1m: binance has no symbol 'NOPE/USDT'" in result.stderr
    assert "Error: binance ETH/USDT 1m: 60 of 60 rows were rejected" in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--exchange", "binanc"), "ccxt knows no exchange 'binanc': did you mean binance"),
        (("--exchange", ","), "No exchange was given"),
        (("--timeframe", "7m"), "'7m'"),
        (("--dataset", "trade", "--timeframe", "1m"), "Trades have no timeframe"),
        (("--end", "2025-01-01"), "--start is"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_else_is_said(
    cli: Cli, options: tuple[str, ...], said: str
) -> None:
    names = () if "--exchange" in options else ("--exchange", "binance")

    result = cli("backfill", *names, "--symbol", "BTC/USDT", "--start", "2025-05-01", *options)

    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert said in line


def test_what_retention_would_drop_is_refused_unless_forced(cli: Cli, database: EmbeddedStatus) -> None:
    asked = _backfill("ETH/BTC", _DAY, _DAY + timedelta(hours=1))
    with connect(database.url or "") as connection:
        change_kept(connection, {"ohlcv": "30 days"})
        try:
            refused, forced = cli(*asked), cli(*asked, "--force", "--json")
        finally:
            change_kept(connection, {"ohlcv": "2 years"})

    assert refused.exit_code == 4
    assert "binance ETH/BTC 1m is kept for" in refused.stderr
    assert "--force" in refused.stderr
    assert _series(forced)[0]["inserted"] == 60


def test_ctrl_c_says_what_was_stored_and_how_to_go_on(
    program: Program, cli: Cli, sandbox: Sandbox, database: EmbeddedStatus
) -> None:
    start, end = _DAY - timedelta(days=30), _DAY
    asked = _backfill("BTC/USDT,ETH/USDT", start, end)
    sandbox.latency_ms = 100
    process = program(*asked, "--json")
    with connect(database.url or "") as connection:
        while _minutes(connection, "BTC/USDT", start, end) == 0:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate()
        sandbox.latency_ms = 0
        kept = [_minutes(connection, symbol, start, end) for symbol in ("BTC/USDT", "ETH/USDT")]
        behind = connection.execute("select count(*) from stale_rollup").fetchone()

    assert process.returncode == 130
    assert [(one["inserted"], one["is_ended"]) for one in json.loads(stdout)["series"]] == [
        (minutes, False) for minutes in kept
    ]
    *_, said, hint = stderr.splitlines()
    stopped, again = said.split(" To go on: tapehouse ")
    assert stopped == f"Stopped. What was stored stays: {sum(kept):,} rows."
    assert "tapehouse refresh" in hint
    assert behind != (0,)

    # The very words.
    rest = _series(cli(*again.split()))

    assert [one["inserted"] for one in rest] == [30 * 1440 - minutes for minutes in kept]
    with connect(database.url or "") as connection:
        assert connection.execute("select count(*) from stale_rollup").fetchone() == (0,)


def test_a_killed_run_is_continued_by_the_next(
    program: Program, cli: Cli, sandbox: Sandbox, database: EmbeddedStatus
) -> None:
    start, end = _DAY - timedelta(days=30), _DAY
    asked = _backfill("SOL/USDT", start, end)
    sandbox.latency_ms = 100
    process = program(*asked)
    with connect(database.url or "") as connection:
        while _minutes(connection, "SOL/USDT", start, end) == 0:
            assert process.poll() is None
        process.kill()
        process.communicate()
        sandbox.latency_ms = 0

        (rest,) = _series(cli(*asked, "--json"))

        assert rest["inserted"] < 30 * 1440
        assert rest["unchanged"] == 0
        assert _minutes(connection, "SOL/USDT", start, end) == 30 * 1440


def test_hints_to_go_on_keep_the_sandbox(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAPEHOUSE_EXCHANGE_URL")
    process = program(*_backfill("ETH/USDT", _DAY - timedelta(days=400), _DAY), "--sandbox")
    assert process.stderr is not None
    # The header: the sandbox is there, and the rest has begun.
    assert process.stderr.readline().startswith("binance: 1m candles of ETH/USDT")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()

    assert process.returncode == 130
    (said,) = (line for line in stderr.splitlines() if line.startswith("Stopped."))
    assert said.endswith("--sandbox")
