"""Ingest: from an exchange's pages through validation into the store, resumed by coverage.

The command line calls these functions directly; flows wrap the same ones. Refreshing what is derived
afterwards is `tapehouse.store.rollups` and `tapehouse.store.features`.
"""

from tapehouse.ingest.batch import SERIES_AT_ONCE, Outcome, Watcher, ingest_batch, ingest_each
from tapehouse.ingest.candles import ingest_candles
from tapehouse.ingest.plan import IngestPlan, plan_candles, plan_trades
from tapehouse.ingest.result import MAX_REJECT_SHARE, IngestResult
from tapehouse.ingest.run import (
    CandleRequest,
    IngestedSeries,
    SeriesRequest,
    TradeRequest,
    ingest_chunk,
    ingest_series,
    open_instrument,
    open_series,
    plan_series,
    sync_instruments,
)
from tapehouse.ingest.trades import ingest_trades

__all__ = [
    "MAX_REJECT_SHARE",
    "SERIES_AT_ONCE",
    "CandleRequest",
    "IngestPlan",
    "IngestResult",
    "IngestedSeries",
    "Outcome",
    "SeriesRequest",
    "TradeRequest",
    "Watcher",
    "ingest_batch",
    "ingest_candles",
    "ingest_chunk",
    "ingest_each",
    "ingest_series",
    "ingest_trades",
    "open_instrument",
    "open_series",
    "plan_candles",
    "plan_series",
    "plan_trades",
    "sync_instruments",
]
