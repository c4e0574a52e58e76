"""The benchmarks there are, by their keys."""

from collections.abc import Callable
from typing import Final

from benchmarks import reading, writing
from benchmarks.figure import Bar, Outcome
from benchmarks.setting import Setting

BENCHMARKS: Final[dict[str, Callable[[Setting], Outcome]]] = {
    benchmark.__name__: benchmark
    for benchmark in (
        writing.upsert_new_vs_copy,
        writing.upsert_unproven_vs_copy,
        writing.reingest_identical_vs_on_conflict,
        reading.read_1m_rows_vs_psql_copy,
        reading.read_1m_compressed_rows_vs_psql_copy,
    )
}
BARS: Final = {
    "upsert_new_vs_copy": Bar(">=", 0.8, native_only=True),
    "upsert_unproven_vs_copy": Bar(">=", 0.45, native_only=True),
    "reingest_identical_vs_on_conflict": Bar(">=", 3.0),
    "read_1m_rows_vs_psql_copy": Bar("<=", 1.15, native_only=True),
    "read_1m_compressed_rows_vs_psql_copy": Bar("<=", 1.15, native_only=True),
}
