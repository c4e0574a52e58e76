"""Running the sandbox exchange in the foreground: what `tapehouse sandbox` does."""

import signal
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType

from tapehouse.sandbox.catalog import generated_markets
from tapehouse.sandbox.clock import ReplayClock, wall_clock_ms
from tapehouse.sandbox.market import Market
from tapehouse.sandbox.recorded import recorded_markets
from tapehouse.sandbox.server import Sandbox
from tapehouse.timeframe import from_ms, to_ms


def serve(
    *,
    port: int,
    seed: int,
    replay: Path | None,
    shift_to_now: bool,
    latency_ms: float,
    speed: float | None,
    begin: datetime | None,
    say: Callable[[str], None],
) -> None:
    """Serve recorded markets where a directory is given, else generated ones, until Ctrl-C or SIGTERM.

    With a speed or a beginning the exchanges' clock runs that many times as fast as ours, from then on, or from the
    first recorded moment, or from now where nothing is recorded; it waits for the first subscription to a stream.
    `say` is given the lines that tell the address and its use, once the sandbox answers there.
    """
    markets = generated_markets(seed=seed) if replay is None else recorded_markets(replay, shift_to_now=shift_to_now)
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    clock = None if speed is None and begin is None else _clock(markets, speed, begin, is_replay=replay is not None)
    with Sandbox(markets, port=port, latency_ms=latency_ms, clock_ms=clock) as sandbox:
        say(f"Sandbox exchange at {sandbox.url} with {len(markets)} markets (Ctrl-C stops it).")
        if clock is not None:
            say(f"Its clock stands at {from_ms(clock()):%Y-%m-%d %H:%M:%S} UTC until a stream is subscribed to.")
        say(f"To use it, in another terminal: export TAPEHOUSE_EXCHANGE_URL={sandbox.url}")
        stopped.wait()


def _clock(markets: Sequence[Market], speed: float | None, begin: datetime | None, *, is_replay: bool) -> ReplayClock:
    if begin is not None:
        start_ms = to_ms(begin)
    elif is_replay:
        start_ms = min(market.history.first_ms for market in markets)
    else:
        start_ms = wall_clock_ms()
    return ReplayClock(start_ms, speed=1.0 if speed is None else speed)
