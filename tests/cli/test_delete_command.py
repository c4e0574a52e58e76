"""`tapehouse delete` and `tapehouse db retention`: what they show, ask and change."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tapehouse.embedded import EmbeddedStatus
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection, connect
from tapehouse.store.instruments import CandleSeries, ensure_candle_series
from tapehouse.store.ledger import record_wanted
from tapehouse.timeframe import timeframe
from tests.cli.conftest import Cli, Program
from tests.store.conftest import InstrumentFactory, candles
from tests.store.conftest import make_instrument as make_instrument

START = datetime(2025, 6, 1, tzinfo=UTC)


@pytest.fixture
def connection(database: EmbeddedStatus) -> Iterator[Connection]:
    with connect(database.url or "") as connection:
        yield connection


@pytest.fixture
def series(connection: Connection, make_instrument: InstrumentFactory) -> CandleSeries:
    """Three hours of 1m candles, of which the second was never fetched."""
    made = ensure_candle_series(connection, make_instrument(), timeframe("1m"))
    for first in (0, 120):
        start = START + timedelta(minutes=first)
        window = [(start, start + timedelta(hours=1))]
        write_candles(connection, made, candles(start, [100.0] * 60), asked=window, covered=window)
    return made


def rows(connection: Connection, series: CandleSeries) -> int:
    ((found,),) = connection.execute(
        "select count(*) from ohlcv where instrument_id = %s", (series.instrument.instrument_id,)
    ).fetchall()
    return found


def asked(series: CandleSeries, *more: str) -> list[str]:
    named = ["--exchange", series.instrument.exchange, "--symbol", series.instrument.symbol, "--timeframe", "1m"]
    return ["delete", *named, *more]


def test_a_dry_run_shows_what_would_go_and_deletes_nothing(
    cli: Cli, connection: Connection, series: CandleSeries
) -> None:
    shown = cli(*asked(series, "--dry-run")).stdout
    found = json.loads(cli(*asked(series, "--dry-run", "--json", "--start", "2025-06-01T02:30Z")).stdout)

    assert "120" in shown
    assert "2025-06-01 00:00 to 2025-06-01 01:00, 2025-06-01 02:00 to 2025-06-01 03:00" in shown
    assert found == {
        "exchange": series.instrument.exchange,
        "symbol": "BTC/USDT",
        "dataset": "ohlcv",
        "timeframe": "1m",
        "start": "2025-06-01T02:30:00+00:00",
        "end": "2025-06-01T03:00:00+00:00",
        "rows": 30,
        "covered": [{"start": "2025-06-01T02:30:00+00:00", "end": "2025-06-01T03:00:00+00:00"}],
        "deleted": False,
    }
    assert rows(connection, series) == 120


def test_what_is_agreed_to_is_deleted_and_rollups_follow(
    cli: Cli, connection: Connection, series: CandleSeries
) -> None:
    cli("refresh")

    result = cli(*asked(series, "--end", "2025-06-01T00:30Z", "--yes", "--json"))

    found: dict[str, Any] = json.loads(result.stdout)
    assert (found["rows"], found["deleted"]) == (30, True)
    assert found["rollups_refreshed"][0] == {"start": "2025-06-01T00:00:00+00:00", "end": "2025-06-02T00:00:00+00:00"}
    assert rows(connection, series) == 90
    counted = connection.execute(
        "select minutes from candle_1h where instrument_id = %s order by time", (series.instrument.instrument_id,)
    ).fetchall()
    assert counted == [(30,), (60,)]
    assert (
        cli(*asked(series, "--end", "2025-06-01T00:30Z", "--yes")).stdout == f"Nothing of {series} is stored there.\n"
    )


def test_a_series_that_is_deleted_is_no_longer_listed(cli: Cli, connection: Connection, series: CandleSeries) -> None:
    exchange = series.instrument.exchange
    record_wanted(connection, series, (START, START + timedelta(days=1)))

    def listed() -> list[str]:
        return [one["exchange"] for one in json.loads(cli("coverage", "--json").stdout)["series"]]

    assert exchange in listed()
    assert cli(*asked(series, "--yes")).exit_code == 0
    assert exchange not in listed()
    assert "No such series is stored" in cli("gaps", "--exchange", exchange).stderr


def test_where_nobody_can_be_asked_nothing_is_deleted(cli: Cli, connection: Connection, series: CandleSeries) -> None:
    result = cli(*asked(series), input="y\n")

    assert result.exit_code == 2
    assert "Nothing was deleted" in result.stderr
    assert "--yes" in result.stderr
    assert rows(connection, series) == 120


@pytest.mark.parametrize(("answer", "left", "code"), [("n", 120, 2), ("y", 0, 0)])
def test_at_a_terminal_it_asks(
    program: Program, connection: Connection, series: CandleSeries, answer: str, left: int, code: int
) -> None:
    ours, its = pty.openpty()
    process = program(*asked(series), stdin=its)
    os.write(ours, f"{answer}\n".encode())
    _, told = process.communicate(timeout=60)
    os.close(ours)
    os.close(its)

    assert f"Delete 120 rows of {series} from 2025-06-01 00:00 to 2025-06-01 03:00 UTC? [y/N]" in told
    assert process.returncode == code
    assert rows(connection, series) == left


def test_ctrl_c_at_the_question_deletes_nothing(program: Program, connection: Connection, series: CandleSeries) -> None:
    ours, its = pty.openpty()
    process = program(*asked(series), stdin=its)
    assert process.stderr is not None
    told = ""
    while not told.endswith("[y/N]: "):
        told += process.stderr.read(1)
    # One that comes between the question and the waiting for an answer is heard with the next.
    for _ in range(10):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
            break
    _, rest = process.communicate(timeout=60)
    os.close(ours)
    os.close(its)

    assert (process.returncode, rest) == (130, "\nNothing was deleted.\n")
    assert rows(connection, series) == 120


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--exchange", "nowhere", "--symbol", "BTC/USDT", "--timeframe", "1m"], "No instruments of nowhere"),
        (["--exchange", "nowhere", "--symbol", "BTC/USDT"], "Say what to delete"),
        (["--exchange", "nowhere", "--symbol", "BTC/USDT", "--dataset", "ohlcv"], "Say what to delete"),
        (["--exchange", "x", "--symbol", "y", "--dataset", "trade", "--timeframe", "1m"], "has no timeframe"),
        (["--exchange", "x", "--symbol", "y", "--timeframe", "7m"], "does not tile"),
        (["--exchange", "x", "--symbol", "y", "--timeframe", "1m", "--start", "2d", "--end", "3d"], "swap them"),
    ],
)
def test_what_makes_no_sense_is_refused(cli: Cli, options: list[str], says: str) -> None:
    result = cli("delete", *options, "--yes")

    assert result.exit_code == 2
    assert says in result.stderr


def test_a_series_that_is_not_stored_is_named(cli: Cli, series: CandleSeries) -> None:
    result = cli(*asked(series, "--timeframe", "1h", "--yes"))

    assert result.exit_code == 2
    assert f"Nothing of {series.instrument.exchange} BTC/USDT 1h is stored" in result.stderr


@pytest.fixture
def usual_retention(connection: Connection) -> Iterator[None]:
    """The retention of a new database, before and after."""
    jobs = connection.execute(
        "select job_id, config, scheduled from timescaledb_information.jobs where proc_name in "
        "('retain_ohlcv', 'retain_ticks', 'retain_features')"
    ).fetchall()
    yield
    for job_id, config, scheduled in jobs:
        connection.execute(
            "select alter_job(%s, config => %s::jsonb, scheduled => %s)", (job_id, json.dumps(config), scheduled)
        )


def kept(cli: Cli, *options: str) -> dict[str, dict[str, Any]]:
    result = cli("db", "retention", *options, "--json")
    assert result.exit_code == 0, result.output
    return {one["dataset"]: one for one in json.loads(result.stdout)["retention"]}


@pytest.mark.usefixtures("usual_retention")
def test_retention_is_shown_and_changed(cli: Cli) -> None:
    before = kept(cli)
    after = kept(cli, "--keep", "ohlcv=10y", "--keep", "trade=forever", "--keep", "imbalance = 18 months")

    assert [one["keep"] for one in before.values()] == ["2 years", "90 days", "30 days", "1 year", "1 year"]
    assert [one["keep"] for one in after.values()] == ["10 years", None, "30 days", "1 year", "1 year 6 mons"]
    assert after["ohlcv"]["kept_since"] < before["ohlcv"]["kept_since"]
    assert kept(cli) == after
    shown = cli("db", "retention").stdout
    assert "10 years" in shown
    assert "forever" in shown


@pytest.mark.usefixtures("usual_retention")
def test_less_is_kept_only_with_a_yes(cli: Cli) -> None:
    refused = cli("db", "retention", "--keep", "ohlcv=90d")

    assert refused.exit_code == 2
    assert "will drop ohlcv before" in refused.stderr
    assert kept(cli)["ohlcv"]["keep"] == "2 years"
    assert kept(cli, "--keep", "ohlcv=90d", "--yes")["ohlcv"]["keep"] == "90 days"


@pytest.mark.parametrize(
    "keep", ["ohlcv", "ohlcv=", "ohlcv=5", "ohlcv=0d", "ohlcv=-5d", "ohlcv=5m", "ohlcv=1000y", "candles=5y", "=5y"]
)
def test_periods_that_make_no_sense_are_refused(cli: Cli, keep: str) -> None:
    result = cli("db", "retention", "--keep", keep, "--yes")

    assert result.exit_code == 2
    assert "as in --keep ohlcv=5y" in result.stderr
    assert "'' is no time" not in result.stderr
