"""The benchmarks there are, by their keys, and the bars they have to meet."""

from collections.abc import Callable
from typing import Final

from benchmarks import (
    backfilling,
    compressing,
    exporting_files,
    fetching,
    fetching_trades,
    importing,
    importing_files,
    inventory,
    memory,
    reading,
    refreshing,
    writing,
    writing_trades,
)
from benchmarks.figure import Bar, Outcome
from benchmarks.setting import Setting

BENCHMARKS: Final[dict[str, Callable[[Setting], Outcome]]] = {
    "upsert_new_vs_copy": writing.upsert_new_vs_copy,
    "upsert_unproven_vs_copy": writing.upsert_unproven_vs_copy,
    "reingest_identical_vs_on_conflict": writing.reingest_identical_vs_on_conflict,
    "trades_upsert_vs_copy": writing_trades.trades_upsert_vs_copy,
    "import_parquet_rows_per_s_vs_copy": importing_files.import_parquet_rows_per_s_vs_copy,
    "read_1m_rows_vs_psql_copy": reading.read_1m_rows_vs_psql_copy,
    "read_1m_compressed_rows_vs_psql_copy": reading.read_1m_compressed_rows_vs_psql_copy,
    "read_1m_trades_vs_psql_copy": reading.read_1m_trades_vs_psql_copy,
    "read_1m_compressed_trades_vs_psql_copy": reading.read_1m_compressed_trades_vs_psql_copy,
    "http_ingest_vs_bare_ccxt_loop": fetching.http_ingest_vs_bare_ccxt_loop,
    "http_ingest_limited_vs_bare_ccxt_loop": fetching.http_ingest_limited_vs_bare_ccxt_loop,
    "trades_http_ingest_vs_bare_ccxt_loop": fetching_trades.trades_http_ingest_vs_bare_ccxt_loop,
    "trades_http_ingest_limited_vs_bare_ccxt_loop": fetching_trades.trades_http_ingest_limited_vs_bare_ccxt_loop,
    "backfill_vs_bare_ccxt_loop": backfilling.backfill_vs_bare_ccxt_loop,
    "backfill_speedup_8_symbols": backfilling.backfill_speedup_8_symbols,
    "backfill_peak_rss_ratio_10x": memory.backfill_peak_rss_ratio_10x,
    "book_1s_features_snapshots_per_s": refreshing.book_1s_features_snapshots_per_s,
    "inventory_ms_500_series": inventory.inventory_ms_500_series,
    "peak_rss_mb_10x_history": memory.peak_rss_mb_10x_history,
    "bytes_per_compressed_candle": compressing.bytes_per_compressed_candle,
    "bytes_per_compressed_trade": compressing.bytes_per_compressed_trade,
    "bytes_per_compressed_snapshot_20": compressing.bytes_per_compressed_snapshot_20,
    "export_parquet_vs_pyarrow_write": exporting_files.export_parquet_vs_pyarrow_write,
    "export_parquet_vs_same_settings": exporting_files.export_parquet_vs_same_settings,
    "import_tapehouse_ms": importing.import_tapehouse_ms,
}
BARS: Final = {
    "upsert_new_vs_copy": Bar(">=", 0.8, native_only=True),
    "upsert_unproven_vs_copy": Bar(">=", 0.45, native_only=True),
    "reingest_identical_vs_on_conflict": Bar(">=", 3.0),
    "trades_upsert_vs_copy": Bar(">=", 0.5, native_only=True),
    "import_parquet_rows_per_s_vs_copy": Bar(">=", 0.5, native_only=True),
    "read_1m_rows_vs_psql_copy": Bar("<=", 1.15, native_only=True),
    "read_1m_compressed_rows_vs_psql_copy": Bar("<=", 1.15, native_only=True),
    "read_1m_trades_vs_psql_copy": Bar("<=", 1.2, native_only=True),
    "http_ingest_vs_bare_ccxt_loop": Bar("<=", 1.5),
    "http_ingest_limited_vs_bare_ccxt_loop": Bar("<=", 1.5),
    "trades_http_ingest_vs_bare_ccxt_loop": Bar("<=", 1.6),
    "trades_http_ingest_limited_vs_bare_ccxt_loop": Bar("<=", 1.6),
    "backfill_vs_bare_ccxt_loop": Bar("<=", 1.3),
    "backfill_speedup_8_symbols": Bar(">=", 6.0),
    "backfill_peak_rss_ratio_10x": Bar("<=", 1.1),
    "inventory_ms_500_series": Bar("<=", 50.0, of="measured"),
    "peak_rss_mb_10x_history": Bar("<=", 1.1),
    "export_parquet_vs_pyarrow_write": Bar("<=", 2.0, native_only=True),
    "bytes_per_compressed_candle": Bar("<=", 16.0, of="measured"),
    "bytes_per_compressed_trade": Bar("<=", 16.0, of="measured"),
    "bytes_per_compressed_snapshot_20": Bar("<=", 260.0, of="measured"),
}
