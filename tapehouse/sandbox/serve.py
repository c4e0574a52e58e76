"""Running the sandbox exchange in the foreground: what `tapehouse sandbox` does."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from tapehouse.sandbox.catalog import generated_markets
from tapehouse.sandbox.recorded import recorded_markets
from tapehouse.sandbox.server import Sandbox


def serve(
    *,
    port: int,
    seed: int,
    replay: Path | None,
    shift_to_now: bool,
    latency_ms: float,
    say: Callable[[str], None],
) -> None:
    """Serve recorded markets where a directory is given, else generated ones, until Ctrl-C or SIGTERM.

    `say` is given the lines that tell the address and its use, once the sandbox answers there.
    """
    markets = generated_markets(seed=seed) if replay is None else recorded_markets(replay, shift_to_now=shift_to_now)
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with Sandbox(markets, port=port, latency_ms=latency_ms) as sandbox:
        say(f"Sandbox exchange at {sandbox.url} with {len(markets)} markets (Ctrl-C stops it).")
        say(f"To use it, in another terminal: export TAPEHOUSE_EXCHANGE_URL={sandbox.url}")
        stopped.wait()
