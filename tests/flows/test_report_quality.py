"""The flow that reports quality, on a real Prefect server: what it keeps, its table and its chart."""

import re
from datetime import UTC, datetime
from typing import Final

import pytest

from flows.ingest_ohlcv import CandleMarkets, ingest_ohlcv
from flows.report_quality import report_quality
from tapehouse.sandbox import Fault, Sandbox
from tapehouse.store.connection import Connection
from tapehouse.timeframe import to_ms
from tests.flows.services import PrefectServer

pytestmark = pytest.mark.usefixtures("settings")

# Days that no other test asks for.
FIRST: Final = "2025-09-01"
LAST: Final = "2025-09-03"
HOLE: Final = datetime(2025, 9, 2, 12, tzinfo=UTC), datetime(2025, 9, 2, 15, tzinfo=UTC)


async def test_days_are_judged_kept_and_drawn(server: PrefectServer, sandbox: Sandbox, database: Connection) -> None:
    start_ms, end_ms = map(to_ms, HOLE)
    sandbox.faults.add(Fault("missing_rows", path="klines", symbol="SOL/USDT", start_ms=start_ms, end_ms=end_ms))
    await ingest_ohlcv([CandleMarkets(exchange="binanceusdm", symbols=["SOL/USDT:USDT"])], "1h", FIRST, LAST)
    await ingest_ohlcv([CandleMarkets(exchange="binance", symbols=["SOL/USDT"])], "1h", FIRST, LAST)

    found = await report_quality("binance", "SOL/USDT", "ohlcv", "1h", FIRST, LAST)

    # Three hours of 24 are missing.
    assert [(one.quality.score, one.changes_text) for one in found] == [
        (100.0, "first day"),
        (87.5, "score -12.5, gaps +1"),
    ]
    artifact = server.latest_artifact("report-quality")
    assert artifact["description"] == "2 days of series, 1 of them with findings."
    worst, best = artifact["data"]
    assert (worst["series"], worst["day"], worst["score"]) == ("binance SOL/USDT 1h", "2025-09-02", 87.5)
    assert (worst["since_yesterday"], worst["findings"]) == ("score -12.5, gaps +1", "gap 12:00:00 exchange_empty")
    assert (best["day"], best["known_percent"], best["findings"]) == ("2025-09-01", 100.0, "")
    kept = database.execute("select day, score from quality join series using (series_id) order by day").fetchall()
    assert kept == [(one.quality.day, one.quality.score) for one in found]

    # The chart is of the last 30 days.
    chart = server.post("/artifacts/filter", {"artifacts": {"key": {"any_": ["quality-scores"]}}})[-1]["data"]
    assert "No report yet." in chart
    await ingest_ohlcv([CandleMarkets(exchange="binance", symbols=["SOL/USDT"])], "1h", "2d")
    await report_quality("binance", "SOL/USDT", "ohlcv", "1h", "1d")
    charts = server.post("/artifacts/filter", {"artifacts": {"key": {"any_": ["quality-scores"]}}})
    # Of two days, but that right after midnight no bar of today has closed.
    assert any(re.search("binance SOL/USDT 1h  ██?  100.00", one["data"]) for one in charts)


async def test_a_form_without_a_stored_series_gives_an_empty_table(server: PrefectServer) -> None:
    assert await report_quality("okx", "NO/SUCH") == []
    assert server.latest_artifact("report-quality")["data"] == []
