"""Ingest: from an exchange's pages through validation into the store, resumed by coverage.

The command line calls these functions directly; flows wrap the same ones. Refreshing rollups
afterwards is `tapehouse.store.rollups`.
"""

from tapehouse.ingest.candles import CandleIngest, ingest_candles
from tapehouse.ingest.plan import CandlePlan, plan_candles
from tapehouse.ingest.run import SeriesRequest, ingest_series, open_series, sync_instruments

__all__ = [
    "CandleIngest",
    "CandlePlan",
    "SeriesRequest",
    "ingest_candles",
    "ingest_series",
    "open_series",
    "plan_candles",
    "sync_instruments",
]
