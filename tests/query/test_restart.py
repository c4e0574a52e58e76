"""A database that is killed while threads read: they go on by themselves once it is back, and never read wrong."""

import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import psutil
import pytest

from tapehouse import MarketData, embedded
from tapehouse.errors import StoreUnreachable
from tapehouse.store.connection import connect
from tapehouse.store.migrate import migrate
from tests.query.conftest import Tape, in_units, make_instrument, random_bars
from tests.query.moments import write_bars

START = datetime(2026, 3, 1, tzinfo=UTC)
THREADS = 8


@pytest.fixture
def own_url(tmp_path: Path) -> Generator[tuple[str, int]]:
    """The URL of a database of one's own, and the process that watches over it."""
    with embedded.running(tmp_path / "data") as status:
        assert status.url
        assert status.pid
        with connect(status.url) as connection:
            migrate(connection)
        yield status.url, status.pid


def test_reads_recover_by_themselves(own_url: tuple[str, int]):
    url, pid = own_url
    bars = random_bars(START, 600)
    with connect(url) as connection:
        tape: Tape = make_instrument(connection, "BTC/USDT")
        write_bars(tape, bars)
    done = threading.Event()

    with MarketData.connect(url, cache_mb=0) as market:

        def read(number: int) -> tuple[int, int]:
            """How many answers there were, and how many times nothing answered."""
            answers = failures = 0
            while not done.is_set():
                start = number * 10
                end = START + timedelta(minutes=start + 300)
                try:
                    found = market.candles("an-exchange", "BTC/USDT", "1m", START + timedelta(minutes=start), end)
                except StoreUnreachable:
                    failures += 1
                    continue
                pd.testing.assert_frame_equal(found, in_units(bars.iloc[start : start + 300]), check_freq=False)
                answers += 1
            return answers, failures

        with ThreadPoolExecutor(THREADS) as threads:
            reading = [threads.submit(read, number) for number in range(THREADS)]
            try:
                time.sleep(1)
                (node,) = psutil.Process(pid).children()
                node.kill()
                back = market.candles("an-exchange", "BTC/USDT", "1m", START, START + timedelta(minutes=300))
                assert len(back) == 300
                before = market.stats().reads.queries
                while market.stats().reads.queries < before + 5 * THREADS:
                    time.sleep(0.05)
            finally:
                done.set()
            counts = [one.result() for one in reading]
        assert all(answers for answers, _ in counts)
        assert market.stats().reads.reconnections > 0
