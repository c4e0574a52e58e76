"""Streams: the recorded session of Binance over WebSocket, checked and stored, against receiving it with bare ccxt.pro.

Each side is a process of its own on one core; the sandbox and the database have the rest of the machine.
"""

import json
import subprocess
import sys
from contextlib import AbstractContextManager
from typing import Final

from benchmarks.figure import Figure, Outcome, Skipped
from benchmarks.rounds import take_rounds
from benchmarks.sandbox_process import sandbox_url
from benchmarks.setting import Setting

# Of the 34,419 recorded ones: the last of each market's trades wait for others behind them.
_TRADES: Final = 34_000
# Speeds at which the session has as many trades as can be had, and a thousand a second: it lasts 651 s.
_FASTEST: Final = "1000"
_THOUSAND_A_SECOND: Final = "19"
_ROUNDS: Final = 3
_BARE: Final = "bare ccxt.pro that receives them and does nothing"


def stream_trades_per_s(setting: Setting) -> Outcome:
    """Trades received, checked and stored a second, as fast as they can be had."""
    return _streamed(setting, "stream_trades_per_s", "seconds", _FASTEST)


def stream_cpu_share_1000_trades_per_s(setting: Setting) -> Outcome:
    """What of a core a stream of a thousand trades a second takes."""
    return _streamed(setting, "stream_cpu_share_1000_trades_per_s", "cpu_seconds", _THOUSAND_A_SECOND)


def stream_flush_lag_p99_ms(setting: Setting) -> Outcome:
    """How long the oldest row of a write had waited when it was stored, in 99 of 100, at a thousand trades a second."""
    key = "stream_flush_lag_p99_ms"
    if not setting.recordings.is_dir():
        return Skipped(key, f"no recordings in {setting.recordings}")
    trades = min(_TRADES, setting.sizes.written_rows)

    def lag_ms() -> float:
        return _run_stream(setting, _THOUSAND_A_SECOND, str(trades))["lag_ms"]

    taken = take_rounds(1, lag_ms, lambda: 1000.0, warm_up=False)
    return taken.as_cost(key, "ms", baseline="the interval of flushes")


def stream_rss_flat_10_min(setting: Setting) -> Outcome:
    """The resident memory at the end of ten minutes of streaming, against that after the first fifth of them."""
    key = "stream_rss_flat_10_min"
    if not setting.recordings.is_dir():
        return Skipped(key, f"no recordings in {setting.recordings}")
    found = _run_stream(setting, "1", f"{setting.sizes.streamed_s}s")
    ratio = found["last_mb"] / found["first_mb"]
    return Figure(
        key=key,
        measured=found["last_mb"],
        baseline=found["first_mb"],
        unit="MB",
        ratio=ratio,
        spread=(ratio, ratio),
        baseline_name="the same process after a fifth of the time",
        note=f"{found['stored']:,.0f} trades in {found['seconds']:,.0f} s",
    )


def _streamed(setting: Setting, key: str, what: str, speed: str) -> Outcome:
    if not setting.recordings.is_dir():
        return Skipped(key, f"no recordings in {setting.recordings}")
    trades = min(_TRADES, setting.sizes.written_rows)
    rounds = min(setting.sizes.rounds, _ROUNDS)

    def ours() -> float:
        return _run_stream(setting, speed, str(trades))[what]

    def bare() -> float:
        with _session(setting, speed) as sandbox:
            return _run("bare_stream_process", sandbox, str(trades))[what]

    taken = take_rounds(rounds, ours, bare, warm_up=False)
    note = f"{trades:,} trades of two markets"
    if what == "seconds":
        return taken.as_rate(key, "trades/s", trades, baseline=_BARE, note=note)
    # Of a second in which a thousand come.
    return taken.as_cost(key, "of a core", scale=1000 / trades, baseline=_BARE, note=note)


def _run_stream(setting: Setting, speed: str, amount: str) -> dict[str, float]:
    with setting.database_of_the_sandbox(), _session(setting, speed) as sandbox:
        return _run("stream_process", setting.url, sandbox, amount)


def _session(setting: Setting, speed: str) -> AbstractContextManager[str]:
    return sandbox_url("--replay", str(setting.recordings / "l2_trades"), "--speed", speed)


def _run(program: str, *arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", f"benchmarks.{program}", *arguments]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
