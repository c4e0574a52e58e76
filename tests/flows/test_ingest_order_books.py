"""The flow that samples order books, on a real Prefect server, a real database and ccxt over HTTP."""

from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from flows.ingest_order_books import command, ingest_order_books
from flows.markets import Markets
from tapehouse.errors import InputError, UnknownExchange, UnknownSymbol
from tapehouse.store.connection import Connection
from tests.flows.services import PrefectServer

pytestmark = pytest.mark.usefixtures("settings")


async def test_it_samples_each_market_and_tells_of_it(server: PrefectServer, database: Connection) -> None:
    markets = [
        Markets(exchange="binance", symbols=["BTC/USDT", "ETH/USDT"]),
        Markets(exchange="okx", symbols=["BTC/USDT"]),
    ]

    reports = await ingest_order_books(markets, depth=5, every="500ms", lasting="2s")

    stored = dict(
        database.execute(
            "select exchange || ' ' || symbol, count(distinct time) from order_book_view where level = 5 group by 1"
        ).fetchall()
    )
    table = server.latest_artifact("ingest-order-books")["data"]
    assert [report.name for report in reports] == ["binance BTC/USDT", "binance ETH/USDT", "okx BTC/USDT"]
    for report, row in zip(reports, table, strict=True):
        assert f"{row['exchange']} {row['symbol']}" == report.name
        assert row["sampled"] + row["missed"] == row["ticks"] == 4
        assert row["stored"] == stored[report.name] > 0
        assert 0 < row["lateness_p50_ms"] <= row["lateness_p99_ms"]


async def test_its_progress_ends_at_a_hundred_percent(server: PrefectServer) -> None:
    await ingest_order_books([Markets(exchange="binance", symbols=["SOL/USDT"])], every="500ms", lasting="500ms")

    assert server.latest_artifact("sampling-binance")["data"] == 100


async def test_it_computes_features_over_what_it_sampled(server: PrefectServer, database: Connection) -> None:
    del server
    await ingest_order_books([Markets(exchange="binance", symbols=["EMBER/USDT"])], every="500ms", lasting="3s")

    computed = database.execute("select count(*) from order_book_1s_view where symbol = 'EMBER/USDT'").fetchone()
    assert computed is not None
    assert computed[0] >= 1


async def test_a_run_that_began_late_ends_before_the_next_is_due(
    server: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = server.post("/flows/", {"name": "ingest-order-books"})
    deployment = server.post("/deployments/", {"name": "late", "flow_id": flow["id"]})
    began = datetime.now(UTC)
    # One of them is always due within 30.5 and 35.5 s, as long as the sampling may still begin.
    for seconds in range(30, 130, 5):
        due = {"scheduled_time": (began + timedelta(seconds=seconds)).isoformat()}
        state = {"type": "SCHEDULED", "state_details": due}
        server.post(f"/deployments/{deployment['id']}/create_flow_run", {"state": state})
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", deployment["id"])

    markets = [Markets(exchange="binance", symbols=["SOL/USDT"])]
    (report,) = await ingest_order_books(markets, every="500ms", lasting="1h")

    server.post(f"/deployments/{deployment['id']}", {}, method="DELETE")
    assert 1 <= report.outcome.ticks <= 11


async def test_a_market_that_fails_does_not_stop_the_others(server: PrefectServer, database: Connection) -> None:
    markets = [Markets(exchange="binance", symbols=["NOPE/USDT", "ETH/BTC"])]

    with pytest.raises(UnknownSymbol, match=r"^1 of 2 failed\. binance NOPE/USDT: binance has no"):
        await ingest_order_books(markets, every="500ms", lasting="500ms")

    sampled = database.execute("select count(*) from order_book_view where symbol = 'ETH/BTC'").fetchone()
    assert sampled is not None
    assert sampled[0] > 0
    errors = {row["symbol"]: row["error"] for row in server.latest_artifact("ingest-order-books")["data"]}
    assert errors["ETH/BTC"] is None


async def test_an_exchange_that_fails_does_not_stop_the_others(server: PrefectServer) -> None:
    markets = [Markets(exchange=exchange, symbols=["BTC/USDT"]) for exchange in ("nosuch", "binance")]

    with pytest.raises(UnknownExchange, match=r"^1 of 2 failed\. nosuch BTC/USDT: ccxt knows no exchange"):
        await ingest_order_books(markets, every="500ms", lasting="500ms")

    rows = {row["exchange"]: row["ticks"] for row in server.latest_artifact("ingest-order-books")["data"]}
    assert rows == {"nosuch": 0, "binance": 1}


@pytest.mark.parametrize(("every", "lasting"), [("1 second", "5m"), ("1s", "soon"), ("10ms", "5m"), ("1m", "1s")])
async def test_a_length_of_time_that_makes_no_sense_is_refused(server: PrefectServer, every: str, lasting: str) -> None:
    del server
    with pytest.raises(InputError):
        await ingest_order_books(every=every, lasting=lasting)


def test_a_command_line_that_makes_no_sense_is_refused() -> None:
    refused = CliRunner().invoke(command, ["binance"])

    assert refused.exit_code == 2
    assert "Name symbols of binance too" in refused.output
