"""Ingest: from an exchange's pages through validation into the store, resumed by coverage.

The command line calls these functions directly; flows wrap the same ones. Refreshing rollups
afterwards is `tapehouse.store.rollups`.
"""

from tapehouse.ingest.batch import SERIES_AT_ONCE, Outcome, Watcher, ingest_batch, ingest_each
from tapehouse.ingest.candles import MAX_REJECT_SHARE, CandleIngest, ingest_candles
from tapehouse.ingest.plan import CandlePlan, plan_candles
from tapehouse.ingest.run import SeriesRequest, ingest_series, open_series, sync_instruments

__all__ = [
    "MAX_REJECT_SHARE",
    "SERIES_AT_ONCE",
    "CandleIngest",
    "CandlePlan",
    "Outcome",
    "SeriesRequest",
    "Watcher",
    "ingest_batch",
    "ingest_candles",
    "ingest_each",
    "ingest_series",
    "open_series",
    "plan_candles",
    "sync_instruments",
]
