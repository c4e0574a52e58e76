"""Ingest: from an exchange's pages through validation into the store, resumed by coverage.

The command line calls these functions directly; flows wrap the same ones. Refreshing what is derived
afterwards is `tapehouse.store.rollups` and `tapehouse.store.features`.
"""

from tapehouse.ingest.backfill import Backfill, backfill, plan_backfill
from tapehouse.ingest.batch import SERIES_AT_ONCE, Outcome, Watcher, ingest_batch, ingest_each
from tapehouse.ingest.candles import ingest_candles
from tapehouse.ingest.chunks import IngestedSeries, Report, ingest_chunk, ingest_chunks, walk_chunks
from tapehouse.ingest.plan import IngestPlan, plan_candles, plan_trades
from tapehouse.ingest.repair import Repaired, Treatment, repair_gaps, treatment_of
from tapehouse.ingest.repairs import ExchangeRepair, FallbackName, due_by_exchange, repair_all, repair_exchange
from tapehouse.ingest.result import MAX_REJECT_SHARE, IngestResult
from tapehouse.ingest.run import (
    CandleRequest,
    SeriesRequest,
    TradeRequest,
    ingest_plan,
    ingest_series,
    open_instrument,
    open_series,
    plan_series,
    sync_instruments,
)
from tapehouse.ingest.substitution import Fallback
from tapehouse.ingest.trades import ingest_trades

__all__ = [
    "MAX_REJECT_SHARE",
    "SERIES_AT_ONCE",
    "Backfill",
    "CandleRequest",
    "ExchangeRepair",
    "Fallback",
    "FallbackName",
    "IngestPlan",
    "IngestResult",
    "IngestedSeries",
    "Outcome",
    "Repaired",
    "Report",
    "SeriesRequest",
    "TradeRequest",
    "Treatment",
    "Watcher",
    "backfill",
    "due_by_exchange",
    "ingest_batch",
    "ingest_candles",
    "ingest_chunk",
    "ingest_chunks",
    "ingest_each",
    "ingest_plan",
    "ingest_series",
    "ingest_trades",
    "open_instrument",
    "open_series",
    "plan_backfill",
    "plan_candles",
    "plan_series",
    "plan_trades",
    "repair_all",
    "repair_exchange",
    "repair_gaps",
    "sync_instruments",
    "treatment_of",
    "walk_chunks",
]
