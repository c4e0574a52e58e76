"""`tapehouse status` and `tapehouse db maintain`: what they print, for people and for programs, and how they end."""

import json
import signal
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tapehouse.embedded import EmbeddedStatus
from tapehouse.store.connection import connect
from tapehouse.timeframe import timeframe
from tests.cli.conftest import Cli, Program
from tests.status.conftest import DAY, HOUR, MINUTE, fill, follow, make_series, new_store, write


@pytest.fixture(scope="module")
def sound_url(database: EmbeddedStatus) -> Iterator[str]:
    with new_store(database.url or "") as url:
        with connect(url) as connection:
            fill(connection)
        yield url


@pytest.fixture(scope="module")
def ailing_url(database: EmbeddedStatus) -> Iterator[str]:
    """A store in which a series has not come for two hours and lacks a day, and a job fails."""
    with new_store(database.url or "") as url:
        with connect(url) as connection:
            series = make_series(connection)
            end = timeframe("1m").floor(datetime.now(UTC)) - 2 * HOUR
            write(connection, series, (end - 40 * DAY, end - 39 * DAY), (end - 38 * DAY, end))
            follow(connection, series, every=MINUTE, last=2 * HOUR)
            connection.execute(
                "create or replace procedure retain_ohlcv(job_id integer, config jsonb) language plpgsql "
                "as $$ begin raise exception 'out of luck'; end $$"
            )
        yield url


def test_a_sound_store_is_shown_on_one_screen(cli: Cli, sound_url: str) -> None:
    shown = cli("status", "--url", sound_url)

    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("server    embedded, PostgreSQL 17")
    assert len(lines) < 65
    series = next(line for line in lines if "BTC/USDT" in line)
    assert series.split()[2:4] == ["ohlcv", "1m"]
    assert "2m" in series
    assert next(line for line in lines if line.startswith("trade ")).split()[:2] == ["trade", "0"]
    assert lines[-1] == "Nothing needs a person."


def test_what_needs_a_person_is_told_at_the_end_with_exit_code_1(cli: Cli, ailing_url: str) -> None:
    shown = cli("status", "--url", ailing_url)

    assert shown.exit_code == 1
    told = shown.stdout.partition("Needs a person (2):")[2].strip().splitlines()
    assert told[0].startswith("critical stale_data: exchange-")
    assert "BTC/USDT 1m ends 2h" in told[0]
    assert told[1].strip().startswith("warning gap: exchange-")
    assert "lacks 1d from" in told[1]


def test_programs_are_given_all_of_it(cli: Cli, ailing_url: str) -> None:
    shown = cli("status", "--url", ailing_url, "--json")

    assert shown.exit_code == 1
    told = json.loads(shown.stdout)
    assert told["needs_a_person"] is True
    assert [one["kind"] for one in told["findings"]] == ["stale_data", "gap"]
    (series,) = told["series"]
    assert (series["timeframe"], series["gaps"], series["longest_gap_s"]) == ("1m", 1, 86_400.0)
    assert series["lag_intervals"] == pytest.approx(series["lag_s"] / 60)
    assert datetime.fromisoformat(series["covered_until"]).tzinfo is not None
    assert {"database", "tables", "rollups", "retention", "jobs", "disk"} <= set(told)
    assert told["disk"]["free_bytes"] > 0


def test_nothing_stored_yet_is_said(cli: Cli, empty_url: str) -> None:
    shown = cli("status", "--url", empty_url)

    assert shown.exit_code == 0
    assert "Nothing is stored yet: `tapehouse ingest ohlcv --help` shows how to begin." in shown.stderr


def test_more_series_than_fit_are_counted(cli: Cli, database: EmbeddedStatus) -> None:
    with new_store(database.url or "") as url:
        with connect(url) as connection:
            for number in range(22):
                series = make_series(connection)
                end = timeframe("1m").floor(datetime.now(UTC)) - number * MINUTE
                write(connection, series, (end - 2 * MINUTE, end))
        shown = cli("status", "--url", url)

    lags = [line.split()[6] for line in shown.stdout.splitlines() if "BTC/USDT" in line]
    assert len(lags) == 20
    assert lags[0].startswith(("21m", "22m"))
    assert "... and 2 series that lag less: --json lists them all." in shown.stderr


def test_maintaining_runs_what_is_due_and_says_what_failed(cli: Cli, ailing_url: str) -> None:
    done = cli("db", "maintain", "--url", ailing_url)

    assert done.exit_code == 1
    assert "running policy_compression of ohlcv" in done.stderr
    runs = done.stdout.split("\n\n")[0].splitlines()[2:]
    assert [line.split("  ")[0] for line in runs][:2] == ["retain_ohlcv", "policy_compression of imbalance"]
    assert runs[0].endswith("out of luck")
    assert done.stdout.strip().endswith("failed, 1 time in a row: out of luck.")

    again = cli("db", "maintain", "--url", ailing_url, "--json")
    assert again.exit_code == 1
    told = json.loads(again.stdout)
    assert told["runs"] == []
    assert [one["kind"] for one in told["findings"]] == ["storage_job_failing"]
    table = next(one for one in told["tables"] if one["name"] == "ohlcv")
    assert table["compressed"] > 0
    assert table["due"] == 0
    assert table["saved"] > 0
    assert told["findings"][0]["message"].endswith("failed, 1 time in a row: out of luck.")


def test_maintaining_a_sound_store_needs_no_person(cli: Cli, sound_url: str) -> None:
    done = cli("db", "maintain", "--url", sound_url)

    assert done.exit_code == 0, done.output
    assert done.stdout.strip().endswith("Nothing needs a person.")
    assert cli("db", "maintain", "--url", sound_url).stdout.startswith("No job was left to be run.")


def test_ctrl_c_ends_maintaining_and_leaves_no_lock(program: Program, database: EmbeddedStatus) -> None:
    with new_store(database.url or "") as url, connect(url) as connection:
        # As if another process were refreshing the rollups.
        connection.execute("select pg_advisory_lock(%s)", [0x726F6C6C])
        maintaining = program("db", "maintain", "--url", url)
        assert maintaining.stderr is not None
        assert maintaining.stderr.readline() == "refreshing what is derived\n"

        maintaining.send_signal(signal.SIGINT)

        printed = maintaining.communicate(timeout=30)
        assert (maintaining.returncode, printed) == (130, ("", ""))
        assert connection.execute("select pg_try_advisory_lock(%s)", [0x6B656570]).fetchone() == (True,)
        assert connection.execute("select count(*) from job_run").fetchone() == (0,)


def test_metrics_say_from_the_start_that_the_database_is_down(program: Program) -> None:
    serving = program("metrics", "--port", "0", "--url", "postgresql://nobody@127.0.0.1:1/nowhere")
    assert serving.stderr is not None
    url = serving.stderr.readline().split()[2]

    with urllib.request.urlopen(url, timeout=30) as answer:
        assert "tapehouse_up 0.0" in answer.read().decode().splitlines()

    serving.send_signal(signal.SIGINT)
    _, said = serving.communicate(timeout=30)
    assert serving.returncode == 0
    assert said.startswith("No database answers at 127.0.0.1:1/nowhere")


def test_metrics_are_not_read_all_the_time(cli: Cli) -> None:
    refused = cli("metrics", "--every", "0s")

    assert refused.exit_code == 2
    assert refused.stderr.startswith("Error: Reading the database more than once a second")


@pytest.mark.parametrize("command", [("status",), ("db", "maintain")])
def test_a_database_that_is_not_there_is_no_finding(cli: Cli, command: tuple[str, ...]) -> None:
    gone = cli(*command, "--url", "postgresql://nobody:geheim@127.0.0.1:1/nowhere")

    assert gone.exit_code == 4
    assert gone.stderr.startswith("Error: No database answers at 127.0.0.1:1/nowhere")
    assert "geheim" not in gone.output
    assert gone.stdout == ""
    assert cli(*command, "--often").exit_code == 2
