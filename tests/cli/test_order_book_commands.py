"""Order books sampled into the store and out of it again, and the imbalances computed from them."""

import json
import signal
import threading
from typing import Any, Final

import pytest
from click.testing import Result

from tapehouse.embedded import EmbeddedStatus
from tapehouse.sandbox import Fault, Sandbox
from tapehouse.store.connection import connect
from tests.cli.conftest import Cli, Program

_SAMPLE: Final = ("ingest", "order-books", "--exchange", "binance", "--every", "500ms")
_BTC: Final = ("binance", "BTC/USDT")


@pytest.fixture(scope="module")
def sampled() -> list[Result]:
    """Where the one sampling that most tests look at is kept."""
    return []


@pytest.fixture
def report(cli: Cli, sampled: list[Result]) -> dict[str, Any]:
    """What a sampling of BTC/USDT for two seconds, five levels a side, told of itself."""
    if not sampled:
        sampled.append(cli(*_SAMPLE, "--symbol", "BTC/USDT", "--depth", "5", "--for", "2s", "--json"))
    assert sampled[0].exit_code == 0, sampled[0].output
    return json.loads(sampled[0].stdout)


def test_a_sampling_tells_of_its_ticks_and_refreshes_features(report: dict[str, Any]) -> None:
    (book,) = report["order_books"]

    assert (book["exchange"], book["symbol"], book["ticks"], book["error"]) == (*_BTC, 4, None)
    assert book["sampled"] + book["missed"] == 4
    assert book["inserted"] == book["sampled"] > 0
    assert 0 < book["lateness_ms"]["p50"] <= book["lateness_ms"]["p99"]
    assert len(report["features_refreshed"]) == 1


@pytest.mark.usefixtures("report")
def test_the_last_order_book_is_the_one_that_was_stored_last(cli: Cli, database: EmbeddedStatus) -> None:
    book = json.loads(cli("order-book", *_BTC, "--json").stdout)

    with connect(database.url or "") as connection:
        stored = connection.execute(
            "select side, level, price, amount from order_book_view where symbol = 'BTC/USDT' and time = ("
            "select max(time) from order_book_view where symbol = 'BTC/USDT') order by 1, 2"
        ).fetchall()
    levels = book["levels"]
    assert [level["level"] for level in levels] == [1, 2, 3, 4, 5]
    assert stored == [
        (side, level["level"], level[f"{side}_price"], level[f"{side}_amount"])
        for side in ("ask", "bid")
        for level in levels
    ]
    assert book["from_sandbox"] is True


@pytest.mark.usefixtures("report")
def test_an_order_book_is_shown_with_its_best_prices_side_by_side(cli: Cli) -> None:
    shown = cli("order-book", *_BTC, "--depth", "2")

    header, _, best, second = (line.split() for line in shown.stdout.splitlines())
    assert header == ["level", "bid_amount", "bid_price", "ask_price", "ask_amount"]
    prices = [[float(price.replace(",", "")) for price in row[2:4]] for row in (best, second)]
    assert prices[1][0] < prices[0][0] < prices[0][1] < prices[1][1]
    assert "As it was at 20" in shown.stderr
    assert "These levels came from the sandbox" in shown.stderr


@pytest.mark.usefixtures("report")
def test_before_the_first_snapshot_there_is_no_order_book(cli: Cli) -> None:
    shown = cli("order-book", *_BTC, "--at", "1d")

    assert shown.exit_code == 0
    assert "No order book was stored by 20" in shown.stderr
    assert json.loads(cli("order-book", *_BTC, "--at", "1d", "--json").stdout)["levels"] == []


@pytest.mark.usefixtures("report")
def test_imbalances_follow_from_the_snapshots(cli: Cli, database: EmbeddedStatus) -> None:
    answer = json.loads(cli("imbalances", *_BTC, "--start", "10m", "--json").stdout)

    with connect(database.url or "") as connection:
        # Of the last snapshot of each second; one with all of its five levels a side.
        expected = connection.execute("""
            with last as (
                select distinct on (date_trunc('second', time)) date_trunc('second', time) as second, time
                from order_book_view where symbol = 'BTC/USDT'
                order by date_trunc('second', time), time desc
            )
            select to_char(second at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'),
                (sum(amount) filter (where side = 'bid') - sum(amount) filter (where side = 'ask')) / sum(amount)
            from last join order_book_view using (time)
            where symbol = 'BTC/USDT'
            group by second order by second
        """).fetchall()
    computed = [(one["time"], one["book_imbalance_1s"]) for one in answer["imbalances"]]
    # The last second had not ended when features were computed, if the sampling ended within it.
    assert len(computed) >= len(expected) - 1 > 0
    assert computed == [(time, pytest.approx(value)) for time, value in expected[: len(computed)]]


@pytest.mark.usefixtures("report")
def test_imbalances_are_short_in_a_table_and_exact_elsewhere(cli: Cli) -> None:
    shown = cli("imbalances", *_BTC, "--start", "10m")
    header = cli("imbalances", *_BTC, "--start", "10m", "--format", "csv").stdout.splitlines()[0]

    assert "book 60s" in shown.stdout.splitlines()[0]
    assert "These imbalances came from the sandbox" in shown.stderr
    assert "Order books not sampled: " in shown.stderr
    assert header.split(",")[1:3] == ["book_imbalance_1s", "book_imbalance_5s"]


@pytest.mark.usefixtures("report")
def test_coverage_shows_order_books_as_a_dataset(cli: Cli) -> None:
    series = json.loads(cli("coverage", "--symbol", "BTC/USDT", "--json").stdout)["series"]

    assert {one["dataset"] for one in series} >= {"order_book"}
    (row,) = (
        line.split() for line in cli("coverage", "--symbol", "BTC/USDT").stdout.splitlines() if "order_book" in line
    )
    assert (row[0], row[1], row[-1]) == (*_BTC, "sandbox")


def test_a_market_that_fails_does_not_stop_the_others(cli: Cli) -> None:
    result = cli(*_SAMPLE, "--symbol", "NOPE/USDT,ETH/USDT", "--for", "1s")

    failed, done = (line.split() for line in result.stdout.splitlines() if "/USDT" in line)
    assert result.exit_code == 2
    assert (failed[0], failed[-1], done[0], done[1]) == ("NOPE/USDT", "failed", "ETH/USDT", "2")
    assert "Error: binance has no symbol 'NOPE/USDT'" in result.stderr


def test_missed_ticks_are_counted_and_explained(cli: Cli, sandbox: Sandbox) -> None:
    sandbox.latency_ms = 700

    result = cli(*_SAMPLE, "--symbol", "SOL/USDT", "--for", "2s", "--json")
    shown = cli(*_SAMPLE, "--symbol", "SOL/USDT", "--for", "2s")

    (book,) = json.loads(result.stdout)["order_books"]
    assert result.exit_code == 0
    assert book["missed"] >= 2
    assert "ticks brought no snapshot in time" in shown.stderr


def test_crossed_books_are_rejected_and_kept_in_quarantine(cli: Cli, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("crossed_book", symbol="QUILL/USDT"))

    result = cli(*_SAMPLE, "--symbol", "QUILL/USDT", "--for", "1s", "--json")

    (book,) = json.loads(result.stdout)["order_books"]
    assert (book["inserted"], book["rejected"]) == (0, book["sampled"])
    rows = json.loads(cli("quarantine", "--symbol", "QUILL/USDT", "--json").stdout)["rows"]
    assert {(row["dataset"], *row["reasons"]) for row in rows} == {("order_book", "crossed")}


def test_ctrl_c_keeps_what_was_sampled(program: Program, sandbox: Sandbox, database: EmbeddedStatus) -> None:
    process = program(*_SAMPLE, "--symbol", "ETH/BTC", "--for", "5m")
    asked = threading.Event()
    while not asked.wait(0.05):
        assert process.poll() is None
        if len([one for one in sandbox.requests if "depth" in one.path and one.query.get("symbol") == "ETHBTC"]) > 3:
            asked.set()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)

    assert process.returncode == 130
    assert stderr.splitlines()[-1].startswith("Stopped. What was sampled is stored;")
    with connect(database.url or "") as connection:
        stored = connection.execute("select count(*) from order_book_view where symbol = 'ETH/BTC'").fetchone()
    assert stored is not None
    assert stored[0] > 0
