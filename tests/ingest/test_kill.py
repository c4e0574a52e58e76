"""An ingest that is killed at random moments and run again ends where an undisturbed one does.

A few kills in every test run; thirty of each with `make campaign`.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, LiteralString

import pytest

from tapehouse import embedded
from tapehouse.sandbox import Fault, Sandbox, generated_markets
from tapehouse.store.connection import connect
from tapehouse.store.migrate import migrate

IS_FULL: Final = os.environ.get("TAPEHOUSE_CAMPAIGN") == "full"
END: Final = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
# Everything a reader can see, and the ledgers, as of the end.
STATE: Final[dict[str, LiteralString]] = {
    "candles": "select symbol, md5(string_agg(c::text, ',' order by time)), count(*) from candle c group by 1",
    "hours": "select symbol, md5(string_agg(c::text, ',' order by time)) from candle_1h_view c group by 1 order by 1",
    "days": "select symbol, md5(string_agg(c::text, ',' order by time)) from candle_1d_view c group by 1 order by 1",
    "coverage": """
        select symbol, covered
        from coverage join series using (series_id) join instrument using (instrument_id)
        order by 1
    """,
    "unavailable": "select count(*) from unavailable",
    "quarantine": "select count(*) from quarantine",
    "trades": "select symbol, md5(string_agg(t::text, ',' order by time, trade_id)) from trade_view t group by 1",
    "traded minutes": """
        select symbol, md5(string_agg(c::text, ',' order by time)) from trade_candle_1m_view c group by 1
    """,
    "imbalances": "select symbol, md5(string_agg(m::text, ',' order by time)) from imbalance_view m group by 1",
    "stale": "select (select count(*) from stale_rollup), (select count(*) from stale_feature)",
}


@dataclass(frozen=True)
class Campaign:
    """What is ingested, and how often it is killed; so much history that the last kill meets it at work."""

    command: str
    symbols: str
    days: float
    kills: int
    path: str
    rows: LiteralString

    def start(self, url: str, sandbox: Sandbox) -> subprocess.Popen[bytes]:
        since, until = (bound.isoformat() for bound in (END - timedelta(days=self.days), END))
        command = [str(Path(sys.executable).with_name("tapehouse")), "ingest", self.command, "--exchange", "binance"]
        command += ["--symbol", self.symbols, "--since", since, "--until", until]
        command += ["--url", url, "--exchange-url", sandbox.url]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def run(self, url: str, sandbox: Sandbox) -> None:
        process = self.start(url, sandbox)
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors.decode()

    def rows_stored(self, url: str) -> int:
        with connect(url) as connection:
            return connection.execute(self.rows).fetchall()[0][0]


CANDLES: Final = Campaign(
    "ohlcv",
    "BTC/USDT,ETH/USDT,SOL/USDT",
    days=180 if IS_FULL else 4,
    kills=30 if IS_FULL else 2,
    path="klines",
    rows="select count(*) from ohlcv",
)
# In small pages, since a day of it has few of a thousand.
TRADES: Final = Campaign(
    "trades",
    "BTC/USDT,ETH/USDT",
    days=10 if IS_FULL else 0.6,
    kills=30 if IS_FULL else 1,
    path="aggTrades",
    rows="select count(*) from trade",
)


@contextmanager
def database(folder: Path) -> Generator[str]:
    with embedded.running(folder) as status:
        assert status.url is not None
        with connect(status.url) as connection:
            migrate(connection)
        yield status.url


def state(url: str) -> dict[str, Any]:
    with connect(url) as connection:
        return {name: sorted(connection.execute(query).fetchall()) for name, query in STATE.items()}


def kill_at_work(process: subprocess.Popen[bytes], sandbox: Sandbox, rng: random.Random) -> None:
    """Kill after a random number of requests and a random moment more, however quick the machine is."""
    target = len(sandbox.requests) + rng.randint(5, 40)
    while process.poll() is None and len(sandbox.requests) < target:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 1.5))
    process.kill()
    process.communicate()


@pytest.mark.campaign
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("campaign", [CANDLES, TRADES], ids=lambda campaign: campaign.command)
def test_killed_ingests_end_where_an_undisturbed_one_does(tmp_path: Path, campaign: Campaign):
    rng = random.Random(11)
    with Sandbox(generated_markets(seed=7), page_rows=100) as sandbox:
        with database(tmp_path / "undisturbed") as url:
            campaign.run(url, sandbox)
            expected, complete = state(url), campaign.rows_stored(url)
        sandbox.faults.add(Fault(kind="status", status=503, path=campaign.path, probability=0.1, seed=3))
        with database(tmp_path / "killed") as url:
            partial: set[int] = set()
            for _ in range(campaign.kills):
                kill_at_work(campaign.start(url, sandbox), sandbox, rng)
                partial.add(campaign.rows_stored(url))
            campaign.run(url, sandbox)
            assert state(url) == expected
    assert expected["stale"] == [(0, 0)]
    assert complete > 10_000
    # The kills met the ingest at work, not only before and after it.
    assert len(partial - {0, complete}) >= campaign.kills // 3
