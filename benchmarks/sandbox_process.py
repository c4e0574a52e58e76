"""The sandbox exchange in a process of its own, so that it takes nothing from those who ask it but the machine."""

import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from tapehouse.errors import ServiceError

EXCHANGE_ID: Final = "binance"
SYMBOL: Final = "BTC/USDT"
# The sandbox's generated market is listed since then.
FIRST_CANDLE: Final = datetime(2025, 1, 1, tzinfo=UTC)


@contextmanager
def sandbox_url(*options: str, latency_ms: float = 0) -> Generator[str]:
    """The address of a sandbox that lives as long as the block and waits so long before each answer.

    `options` are further ones of `tapehouse sandbox`.
    """
    command = [sys.executable, "-m", "tapehouse", "sandbox", "--port", "0", "--latency-ms", str(latency_ms), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = re.search(r"http://\S+", process.stdout.readline())
            if address is None:
                raise ServiceError("The sandbox exchange does not start: run `tapehouse sandbox` to see why.")
            yield address[0]
        finally:
            process.terminate()
