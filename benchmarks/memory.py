"""How much memory an ingest and a backfill take, by how much history they are for."""

import subprocess
import sys

from benchmarks.backfilling import nothing_stored
from benchmarks.figure import Figure
from benchmarks.rounds import take_rounds
from benchmarks.sandbox_process import sandbox_url
from benchmarks.setting import Setting


def peak_rss_mb_10x_history(setting: Setting) -> Figure:
    """The peak resident memory of a process that ingests ten times the history, against one that ingests it once."""
    candles = setting.sizes.history_candles
    with setting.emptied_database(), sandbox_url() as sandbox:
        taken = take_rounds(
            min(setting.sizes.rounds, 3),
            lambda: _peak_rss_mb(setting.url, sandbox, 10 * candles),
            lambda: _peak_rss_mb(setting.url, sandbox, candles),
            warm_up=False,
        )
    return taken.as_cost("peak_rss_mb_10x_history", "MB", baseline=f"ingest of {candles:,} candles by a fresh process")


def backfill_peak_rss_ratio_10x(setting: Setting) -> Figure:
    """The peak resident memory of a process that backfills ten times the range, against one that backfills it once."""
    candles = setting.sizes.history_candles
    with setting.emptied_database() as connection, sandbox_url() as sandbox:

        def measured(number: int) -> float:
            with nothing_stored(connection):
                return _peak_rss_mb(setting.url, sandbox, number, program="backfill_process")

        taken = take_rounds(
            min(setting.sizes.rounds, 3), lambda: measured(10 * candles), lambda: measured(candles), warm_up=False
        )
    baseline = f"backfill of {candles:,} candles by a fresh process"
    return taken.as_cost("backfill_peak_rss_ratio_10x", "MB", baseline=baseline)


def _peak_rss_mb(url: str, sandbox: str, candles: int, *, program: str = "ingest_process") -> float:
    command = [sys.executable, "-m", f"benchmarks.{program}", url, sandbox, str(candles)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
