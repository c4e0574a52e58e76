"""The flow that fetches history, on a real Prefect server, a real database and ccxt over HTTP."""

import asyncio
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import pytest
from click.testing import CliRunner
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact
from prefect.client.schemas.sorting import ArtifactSort

import flows.series
from flows.backfill import backfill, command
from flows.ingest_ohlcv import CandleMarkets
from tapehouse.errors import BeyondRetention, ExchangeError, TapehouseError
from tapehouse.exchange import RetryPolicy, open_exchange
from tapehouse.sandbox import Fault, Sandbox
from tapehouse.store.connection import Connection
from tapehouse.store.retention import change_kept
from tasks import derived, retrying
from tasks.load import ingest_chunk
from tests.flows.services import PrefectServer

pytestmark = pytest.mark.usefixtures("settings")

# The days of these tests are none of other tests'.
DAY: Final = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=90)
NEXT: Final = DAY + timedelta(days=1)


def markets(**symbols: list[str]) -> list[CandleMarkets]:
    return [CandleMarkets(exchange=exchange, symbols=names) for exchange, names in symbols.items()]


def minutes(database: Connection, exchange: str, symbol: str, start: datetime = DAY, end: datetime = NEXT) -> int:
    row = database.execute(
        "select count(*) from candle where exchange = %s and symbol = %s and timeframe_s = 60"
        " and time >= %s and time < %s",
        (exchange, symbol, start, end),
    ).fetchone()
    assert row is not None
    return row[0]


async def artifact(key: str) -> Artifact:
    """The artifact of that key that was published last."""
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])), sort=ArtifactSort.CREATED_DESC, limit=1
        )
    return found[0]


async def test_exchanges_are_fetched_side_by_side_and_told_of(server: PrefectServer, database: Connection) -> None:
    reports = await backfill(
        markets(binance=["BTC/USDT", "ETH/USDT"], binanceusdm=["BTC/USDT:USDT"]),
        start=DAY.isoformat(),
        end=NEXT.isoformat(),
    )

    assert [(report.name, report.result.inserted) for report in reports] == [
        ("binance BTC/USDT 1m", 1440),
        ("binance ETH/USDT 1m", 1440),
        ("binanceusdm BTC/USDT:USDT 1m", 1440),
    ]
    assert minutes(database, "binance", "ETH/USDT") == 1440
    table = server.latest_artifact("backfill")["data"]
    assert [(row["exchange"], row["symbol"], row["planned"], row["inserted"], row["error"]) for row in table] == [
        ("binance", "BTC/USDT", 1440, 1440, None),
        ("binance", "ETH/USDT", 1440, 1440, None),
        ("binanceusdm", "BTC/USDT:USDT", 1440, 1440, None),
    ]
    for name, rows in (("binance", "2,880"), ("binanceusdm", "1,440"), ("total", "4,320")):
        shown = await artifact(f"backfill-{name}")
        assert (shown.type, shown.data) == ("progress", 100)
        assert (shown.description or "").startswith(f"{name} 100%: {rows} rows, ")
    behind = database.execute(
        "select count(*) from stale_rollup join instrument using (instrument_id) where symbol = 'ETH/USDT'"
    ).fetchone()
    assert behind == (0,)


async def test_only_what_is_missing_before_between_and_after_is_fetched(
    server: PrefectServer, database: Connection
) -> None:
    del server
    asked = markets(binance=["SOL/USDT"])
    for first, last in ((4, 6), (10, 12)):
        await backfill(asked, start=f"{DAY:%Y-%m-%d}T{first:02}:00Z", end=f"{DAY:%Y-%m-%d}T{last:02}:00Z")

    (filled,) = await backfill(asked, start=DAY.isoformat(), end=NEXT.isoformat())
    (again,) = await backfill(asked, start=DAY.isoformat(), end=NEXT.isoformat())

    assert minutes(database, "binance", "SOL/USDT") == 1440
    assert (filled.row()["planned"], filled.result.inserted) == (20 * 60, 20 * 60)
    assert (again.row()["planned"], again.result.fetched) == (0, 0)


async def test_trades_have_no_timeframe(server: PrefectServer, database: Connection) -> None:
    del server
    (report,) = await backfill(
        markets(binance=["ETH/BTC"]), "trade", start=DAY.isoformat(), end=(DAY + timedelta(minutes=10)).isoformat()
    )

    stored = database.execute("select count(*) from trade_view where symbol = 'ETH/BTC'").fetchone()
    assert str(report.request) == "ETH/BTC trades"
    assert stored == (report.result.inserted,)
    assert report.result.inserted > 0


async def test_a_series_that_fails_does_not_stop_the_others(server: PrefectServer, database: Connection) -> None:
    with pytest.raises(TapehouseError, match=r"^2 of 3 failed") as failed:
        await backfill(
            markets(binance=["NOPE/USDT", "EMBER/USDT"], nosuch=["BTC/USDT"]),
            start=DAY.isoformat(),
            end=(DAY + timedelta(hours=1)).isoformat(),
        )

    assert "nosuch BTC/USDT 1m: ccxt knows no exchange 'nosuch'" in str(failed.value)
    assert minutes(database, "binance", "EMBER/USDT") == 60
    errors = {row["symbol"]: row["error"] for row in server.latest_artifact("backfill")["data"]}
    assert errors["EMBER/USDT"] is None
    assert errors["NOPE/USDT"].startswith("binance has no symbol 'NOPE/USDT'")


async def test_a_window_that_can_not_be_had_is_passed_and_told_of(
    server: PrefectServer, database: Connection, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.series, "ingest_chunk", ingest_chunk.with_options(retry_delay_seconds=0))
    impatient = partial(open_exchange, base_url=sandbox.url, retry=RetryPolicy(attempts=1))
    monkeypatch.setattr(flows.series, "open_exchange", impatient)
    asked = markets(binance=["QUILL/USDT"])
    # From then on it is known where the series begins.
    await backfill(asked, start=f"{DAY:%Y-%m-%d}T23:00Z", end=NEXT.isoformat())
    # Pages are of 1,000 candles: of two pages, the older one fails in each of the task's attempts.
    sandbox.faults.add(Fault("status", symbol="QUILL/USDT", count=1 + retrying.RETRIES))

    with pytest.raises(ExchangeError, match=r"1 of 1 failed.*1 range could not be had"):
        await backfill(asked, start=DAY.isoformat(), end=NEXT.isoformat())

    (row,) = server.latest_artifact("backfill")["data"]
    assert (row["planned"], row["inserted"], row["failed"]) == (1380, 380, 1)
    assert minutes(database, "binance", "QUILL/USDT", DAY + timedelta(minutes=1000)) == 440

    (again,) = await backfill(asked, start=DAY.isoformat(), end=NEXT.isoformat())

    assert (again.row()["planned"], again.result.inserted, again.result.failed) == (1000, 1000, 0)


@pytest.fixture
def kept_for_a_month(database: Connection) -> Generator[None]:
    change_kept(database, {"ohlcv": "30 days"})
    yield
    change_kept(database, {"ohlcv": "2 years"})


@pytest.mark.usefixtures("kept_for_a_month")
async def test_what_retention_would_drop_is_refused_unless_forced(server: PrefectServer, database: Connection) -> None:
    del server
    asked = markets(binanceusdm=["SOL/USDT:USDT"])
    start, end = DAY.isoformat(), (DAY + timedelta(hours=1)).isoformat()

    with pytest.raises(BeyondRetention, match="store it all the same with"):
        await backfill(asked, start=start, end=end)
    assert minutes(database, "binanceusdm", "SOL/USDT:USDT") == 0

    await backfill(asked, start=start, end=end, force=True)
    assert minutes(database, "binanceusdm", "SOL/USDT:USDT") == 60


async def test_a_cancelled_run_keeps_what_it_stored_and_refreshes_what_it_can(
    server: PrefectServer, database: Connection, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server
    # Long enough for all that there is to refresh.
    monkeypatch.setattr(derived, "BRIEF_S", 120.0)
    asked, start = markets(binanceusdm=["ETH/USDT:USDT"]), DAY - timedelta(days=20)
    sandbox.latency_ms = 100
    running = asyncio.create_task(backfill(asked, start=start.isoformat(), end=NEXT.isoformat()))
    while minutes(database, "binanceusdm", "ETH/USDT:USDT", start) == 0:
        assert not running.done()
        await asyncio.sleep(0.1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    sandbox.latency_ms = 0

    kept = minutes(database, "binanceusdm", "ETH/USDT:USDT", start)
    assert 0 < kept < 21 * 1440
    shown = await artifact("backfill-total")
    assert (shown.description or "").startswith(f"total {kept / (21 * 1440):.0%}: {kept:,} rows")
    behind = database.execute("select count(*) from stale_rollup").fetchone()
    assert behind == (0,)

    (report,) = await backfill(asked, start=start.isoformat(), end=NEXT.isoformat())
    assert report.result.inserted == 21 * 1440 - kept


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["binance"], "Name symbols of binance too"),
        (["binance", "BTC/USDT", "--timeframe", "7m"], "'7m' is not one of"),
        (["binance", "BTC/USDT", "--dataset", "books"], "'books' is not one of"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(arguments: list[str], said: str) -> None:
    refused = CliRunner().invoke(command, arguments)

    assert refused.exit_code == 2
    assert said in refused.output


def test_it_runs_from_a_shell_with_the_exit_code_of_its_error(server: PrefectServer) -> None:
    done = server.python("-m", "flows.backfill", "nosuch", "BTC/USDT")

    assert done.returncode == 2
    assert "Error: 1 of 1 failed. nosuch BTC/USDT 1m: ccxt knows no exchange 'nosuch'" in done.stderr
