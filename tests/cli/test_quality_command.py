"""`tapehouse quality`: tables, JSON, thresholds, and what it says where there is nothing."""

import inspect
import json
from dataclasses import asdict
from typing import Any, Final

import click
import pytest

from tapehouse.cli import main
from tapehouse.quality import Thresholds
from tapehouse.sandbox import Fault, Sandbox
from tapehouse.store.connection import connect
from tests.cli.conftest import Cli

_MARKET: Final = ("--exchange", "bybit", "--symbol", "SOL/USDT")
_DAYS: Final = ("--start", "2025-06-03", "--end", "2025-06-05")
_START_MS: Final = 1_748_908_800_000  # 2025-06-03
_HOUR_MS: Final = 3_600_000


@pytest.fixture(autouse=True)
def two_days(cli: Cli, sandbox: Sandbox) -> None:
    """Hours of SOL/USDT; of the second day six are missing, and one came with a price of 0."""
    first_ms, bad_ms = _START_MS + 30 * _HOUR_MS, _START_MS + 40 * _HOUR_MS
    for kind, start_ms, end_ms in (
        ("missing_rows", first_ms, first_ms + 6 * _HOUR_MS),
        ("zero_price", bad_ms, bad_ms + _HOUR_MS),
    ):
        fault: dict[str, Any] = {"kind": kind, "path": "kline", "start_ms": start_ms, "end_ms": end_ms}
        sandbox.faults.add(Fault(**fault))
    window = ("--since", _DAYS[1], "--until", _DAYS[3])
    stored = cli("ingest", "ohlcv", *_MARKET, "--timeframe", "1h", *window)
    assert stored.exit_code == 0, stored.output


def test_the_table_names_days_scores_and_findings(cli: Cli) -> None:
    result = cli("quality", *_MARKET, *_DAYS)

    assert result.exit_code == 0, result.output
    days, _, findings = result.stdout.partition("\n\n")
    header, _, first, second = days.splitlines()
    assert header.split()[:5] == ["exchange", "symbol", "dataset", "day", "(UTC)"]
    assert first.split()[:8] == ["bybit", "SOL/USDT", "ohlcv", "1h", "2025-06-03", "100.00", "first", "day"]
    # 17 of 24 hours, one row of 18 rejected.
    assert second.split()[4:11] == ["2025-06-04", "66.89", "score", "-33.11,", "gaps", "+2,", "rejected"]
    assert "70.83%" in second
    told = [line.split() for line in findings.splitlines()[2:]]
    assert [(one[4], *one[5:9], one[-1]) for one in told] == [
        ("gap", "2025-06-04", "06:00", "2025-06-04", "12:00", "exchange_empty"),
        ("gap", "2025-06-04", "16:00", "2025-06-04", "17:00", "rejected"),
        ("rejected", "2025-06-04", "16:00", "2025-06-04", "16:00", "price_not_positive"),
    ]


def test_json_holds_everything(cli: Cli) -> None:
    first, second = json.loads(cli("quality", *_MARKET, *_DAYS, "--json").stdout)["days"]

    assert (first["score"], first["findings"], first["day"]) == (100.0, [], "2025-06-03T00:00:00+00:00")
    assert (second["expected"], second["known"], second["rows"], second["rejected"]) == (24, 17, 17, 1)
    assert second["since_yesterday"] == {"score": -33.11, "gaps": 2, "rejected": 1}
    assert second["findings"][0] == {
        "kind": "gap",
        "start": "2025-06-04T06:00:00+00:00",
        "end": "2025-06-04T12:00:00+00:00",
        "count": 6,
        "detail": "exchange_empty",
    }


def test_nothing_of_those_days_and_nothing_at_all(cli: Cli, empty_url: str) -> None:
    # In a database of its own exchanges nothing was ever to be fetched then.
    none = cli("quality", *_MARKET, "--start", "2024-01-01", "--end", "2024-01-03")
    assert (none.exit_code, none.stderr) == (0, "Nothing was to be fetched on those days.\n")
    assert "Nothing is stored yet" in cli("quality", "--url", empty_url).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--exchange", "bybit", "--symbol", "NO/SUCH"), "No such series is stored"),
        (("--exchange", "bybbit"), "did you mean bybit"),
        (("--dataset", "trade", "--timeframe", "1h"), "have no timeframe"),
        (("--timeframe", "7m"), "7m"),
        (("--stale-bars", "1"), "stale-bars"),
        (("--start", "2025-06-05", "--end", "2025-06-03"), "swap them"),
    ],
)
def test_what_makes_no_sense_is_told(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    result = cli("quality", *arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_thresholds_are_those_of_the_library(cli: Cli) -> None:
    command = main.commands["quality"]
    assert isinstance(command, click.Command)
    defaults = {one.name: one.default for one in command.params}

    assert {name: defaults[name] for name in inspect.signature(Thresholds).parameters} == asdict(Thresholds())
    # 10,000 times less likely than ever: nothing else changes.
    assert cli("quality", *_MARKET, *_DAYS, "--stale-odds", "1e-13", "--still-book-trades", "9").exit_code == 0


def test_what_is_found_is_kept(cli: Cli, database: Any) -> None:
    assert cli("quality", *_MARKET, *_DAYS).exit_code == 0

    with connect(database.url) as connection:
        rows = connection.execute(
            "select q.score from quality q join series using (series_id) join instrument i using (instrument_id) "
            "where i.exchange = 'bybit' and i.symbol = 'SOL/USDT' order by q.day"
        ).fetchall()
    assert rows == [(100.0,), (66.89,)]
