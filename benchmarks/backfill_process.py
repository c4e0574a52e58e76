"""`python -m benchmarks.backfill_process DATABASE SANDBOX CANDLES`: backfill that many, print the peak memory in MB."""

import sys

from benchmarks.backfilling import Unwatched, candle_request
from benchmarks.ingest_process import peak_rss_mb
from benchmarks.sandbox_process import EXCHANGE_ID
from tapehouse.ingest import Backfill, backfill


def _backfill(url: str, sandbox: str, candles: int) -> None:
    asked = [Backfill(EXCHANGE_ID, [candle_request(candles)])]
    (outcome,) = backfill(asked, database_url=url, base_url=sandbox, watcher=Unwatched(), force=True)
    assert outcome.result.fetched == candles


if __name__ == "__main__":
    _backfill(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    print(peak_rss_mb())
