"""An ingest that is killed at random moments and run again ends where an undisturbed one does.

Five kills in every test run; thirty with `make campaign`.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, LiteralString

import pytest

from tapehouse import embedded
from tapehouse.sandbox import Fault, Sandbox, generated_markets
from tapehouse.store.connection import connect
from tapehouse.store.migrate import migrate

KILLS: Final = 30 if os.environ.get("TAPEHOUSE_CAMPAIGN") == "full" else 5
SYMBOLS: Final = "BTC/USDT,ETH/USDT,SOL/USDT"
END: Final = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
# So much history that the last kill still meets an ingest at work.
DAYS: Final = 6 * KILLS

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
    "stale": "select count(*) from stale_rollup",
}


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


def start_ingest(url: str, sandbox: Sandbox) -> subprocess.Popen[bytes]:
    since, until = (bound.isoformat() for bound in (END - timedelta(days=DAYS), END))
    command = [
        str(Path(sys.executable).with_name("tapehouse")),
        "ingest",
        "ohlcv",
        "--exchange",
        "binance",
        "--symbol",
        SYMBOLS,
    ]
    command += ["--since", since, "--until", until, "--url", url, "--exchange-url", sandbox.url]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def run_ingest(url: str, sandbox: Sandbox) -> None:
    process = start_ingest(url, sandbox)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors.decode()


def kill_at_work(process: subprocess.Popen[bytes], sandbox: Sandbox, rng: random.Random) -> None:
    """Kill after a random number of requests and a random moment more, however quick the machine is."""
    target = len(sandbox.requests) + rng.randint(5, 40)
    while process.poll() is None and len(sandbox.requests) < target:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 1.5))
    process.kill()
    process.communicate()


def rows_stored(url: str) -> int:
    with connect(url) as connection:
        return connection.execute("select count(*) from ohlcv").fetchall()[0][0]


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_killed_ingests_end_where_an_undisturbed_one_does(tmp_path: Path):
    rng = random.Random(11)
    with Sandbox(generated_markets(seed=7)) as sandbox:
        with database(tmp_path / "undisturbed") as url:
            run_ingest(url, sandbox)
            expected = state(url)
        sandbox.faults.add(Fault(kind="status", status=503, path="klines", probability=0.1, seed=3))
        with database(tmp_path / "killed") as url:
            partial: set[int] = set()
            for _ in range(KILLS):
                kill_at_work(start_ingest(url, sandbox), sandbox, rng)
                partial.add(rows_stored(url))
            run_ingest(url, sandbox)
            assert state(url) == expected
    assert {count for _, _, count in expected["candles"]} == {DAYS * 1440}
    # The kills met the ingest at work, not only before and after it.
    assert len(partial - {0, 3 * DAYS * 1440}) >= KILLS // 3
