"""How much memory an ingest takes, by how much history it is for."""

import subprocess
import sys

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


def _peak_rss_mb(url: str, sandbox: str, candles: int) -> float:
    command = [sys.executable, "-m", "benchmarks.ingest_process", url, sandbox, str(candles)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
