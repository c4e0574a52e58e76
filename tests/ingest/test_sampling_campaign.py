"""Fifty markets sampled each second: ten seconds in every test run, five minutes with `make campaign`.

How late snapshots are depends on the machine, so only the campaign, which has it for itself, wants every tick.
"""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

import numpy as np
import pytest

from tapehouse.ingest.sampling import Sampling, SamplingOutcome, sample_books
from tapehouse.store.connection import connect
from tests.ingest.conftest import OpenExchange

IS_FULL: Final = os.environ.get("TAPEHOUSE_CAMPAIGN") == "full"
SAMPLING: Final = Sampling(20, timedelta(seconds=1), timedelta(minutes=5) if IS_FULL else timedelta(seconds=10))
MARKETS: Final = 50
SERVE: Final = f"""
import sys
from tapehouse.sandbox import Sandbox, generated_markets

with Sandbox(generated_markets(seed=7, extra={MARKETS}), limits={{"binance": 10**9}}) as sandbox:
    print(sandbox.url, flush=True)
    sys.stdin.read()
"""

_logger = logging.getLogger(__name__)


@pytest.fixture
def sandbox_url() -> Iterator[str]:
    """A sandbox in a process of its own, as an exchange would be."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate("")


def resident_mb() -> float:
    """How much memory this process has in use, of all kinds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.campaign
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads its memory from /proc")
def test_fifty_markets_are_sampled_each_second(sandbox_url: str, store_url: str, open_unlimited: OpenExchange):
    symbols = [f"EXTRA{number:03d}/USDT" for number in range(1, MARKETS + 1)]
    memory_mb: list[float] = []

    def note(outcomes: object) -> None:
        memory_mb.append(resident_mb())

    async def run() -> list[SamplingOutcome]:
        async with open_unlimited("binance", sandbox_url) as exchange:
            return await sample_books(exchange, symbols, SAMPLING, database_url=store_url, progress=note)

    outcomes = asyncio.run(run())
    with connect(store_url) as connection:
        counts = dict(
            connection.execute(
                "select symbol, count(*) from order_book join instrument using (instrument_id) "
                "where exchange = 'binance' group by 1"
            ).fetchall()
        )
        connection.execute("update instrument set exchange = %s where exchange = 'binance'", (uuid4().hex,))
    lateness_ms = np.concatenate([outcome.lateness_ms for outcome in outcomes])
    _logger.info(
        "%d markets, %d ticks: %d missed, lateness p50 %.0f ms, p99 %.0f ms, most %.0f ms, memory %.0f to %.0f MB",
        MARKETS,
        SAMPLING.ticks,
        sum(outcome.missed for outcome in outcomes),
        *np.percentile(lateness_ms, [50, 99, 100]),
        memory_mb[0],
        memory_mb[-1],
    )
    assert [outcome.error for outcome in outcomes] == [None] * MARKETS
    assert {outcome.ticks for outcome in outcomes} == {SAMPLING.ticks}
    assert counts == {outcome.symbol: outcome.inserted for outcome in outcomes}
    assert all(outcome.inserted == len(outcome.lateness_ms) >= outcome.sampled > 0 for outcome in outcomes)
    if IS_FULL:
        assert sum(outcome.missed for outcome in outcomes) == 0
        # The first minute fills buffers and caches; from then on nothing grows.
        assert memory_mb[-1] < 1.05 * memory_mb[len(memory_mb) // 5]
