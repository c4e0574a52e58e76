"""A backfill of the recorded series that is killed again and again, from an exchange that misbehaves.

A few kills and days in every test run; twenty kills and all of the recordings with `make campaign`.
"""

import logging
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest

from tapehouse import MarketData
from tapehouse.ranges import TimeRange, subtract_ranges
from tapehouse.sandbox import Asked, Fault, Sandbox, recorded_markets
from tapehouse.store.connection import connect
from tapehouse.timeframe import from_ms, to_ms
from tests.ingest.test_kill import IS_FULL, database, state
from tests.ingest.test_recorded import recorded

PAGE_CANDLES: Final = 1000
PATH: Final = "/fapi/v1/klines"
# One request in ten meets one of these.
FAULTS: Final[list[dict[str, Any]]] = [
    {"kind": "status", "status": 429, "retry_after_s": 1},
    {"kind": "status", "status": 503},
    {"kind": "hang"},
    {"kind": "drop"},
    {"kind": "html"},
    {"kind": "short_page", "rows": 300},
    {"kind": "duplicate_rows", "rows": 50},
    {"kind": "unordered_rows", "rows": 50},
]
FAULT_RATE: Final = 0.1
# After these the page is asked for again; a request that hangs until the client gives up is not on record.
ASKED_AGAIN: Final = ("status", "drop", "html", "short_page")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Campaign:
    """Which recordings are fetched, from when on, and how often the backfill is killed meanwhile."""

    names: Sequence[str]
    start: datetime
    end: datetime
    kills: int

    @property
    def symbols(self) -> dict[str, str]:
        return {name: f"{name}/USDT:USDT" for name in self.names}


# The recordings begin and end at different moments within.
CAMPAIGN: Final = (
    Campaign(
        ["BTC", "ETH", "SOL", "XRP"], datetime(2025, 5, 4, tzinfo=UTC), datetime(2025, 6, 16, tzinfo=UTC), kills=20
    )
    if IS_FULL
    else Campaign(["BTC", "XRP"], datetime(2025, 5, 4, tzinfo=UTC), datetime(2025, 5, 12, tzinfo=UTC), kills=2)
)


@dataclass
class Requests:
    """The requests for candles on the sandbox's record; `lost` counts pages that were in flight at kills."""

    sandbox: Sandbox
    lost: int = 0

    def all(self) -> list[Asked]:
        return [one for one in self.sandbox.requests if one.path == PATH]

    def note_lost(self, url: str, asked_before: int) -> None:
        """Count the pages asked for since then that are not covered."""
        covered = coverage(url)
        pages = {
            (one.query["symbol"], from_ms(int(one.query["startTime"])), from_ms(int(one.query["endTime"]) + 1))
            for one in self.all()[asked_before:]
            # Not those of the search for where a series begins.
            if "endTime" in one.query and int(one.query["startTime"]) >= to_ms(CAMPAIGN.start)
        }
        self.lost += sum(bool(subtract_ranges([(start, end)], covered.get(symbol, []))) for symbol, start, end in pages)


def coverage(url: str) -> dict[str, list[TimeRange]]:
    """What is covered, by the exchange's own names of symbols."""
    with connect(url) as connection:
        rows = connection.execute(
            "select replace(split_part(symbol, ':', 1), '/', ''), covered "
            "from coverage join series using (series_id) join instrument using (instrument_id)"
        )
        return {symbol: [(one.lower, one.upper) for one in covered] for symbol, covered in rows.fetchall()}


def start_backfill(url: str, sandbox: Sandbox) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).with_name("tapehouse")), "backfill", "--exchange", "binanceusdm"]
    command += ["--symbol", ",".join(CAMPAIGN.symbols.values()), "--timeframe", "1m", "--force"]
    command += ["--start", CAMPAIGN.start.isoformat(), "--end", CAMPAIGN.end.isoformat()]
    command += ["--url", url, "--exchange-url", sandbox.url]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def run_backfill(url: str, sandbox: Sandbox) -> None:
    process = start_backfill(url, sandbox)
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors.decode()


def kill_at_work(process: subprocess.Popen[bytes], requests: Requests, rng: random.Random) -> bool:
    """Kill after a random number of requests and a random moment more; says whether it was still at work."""
    target = len(requests.all()) + rng.randint(1, 9)
    while process.poll() is None and len(requests.all()) < target:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.3))
    is_at_work = process.poll() is None
    process.kill()
    process.communicate()
    return is_at_work


def fewest_pages(expected: dict[str, pd.DataFrame]) -> int:
    return sum(-(-len(frame) // PAGE_CANDLES) for frame in expected.values())


@pytest.fixture
def sandbox(recorded_data: Path) -> Iterator[Sandbox]:
    with Sandbox(recorded_markets(recorded_data), limits={"binanceusdm": 10**9}) as sandbox:
        yield sandbox


@pytest.fixture
def expected(recorded_data: Path) -> dict[str, pd.DataFrame]:
    """What the recordings hold of the campaign's range, as pandas reads them."""
    last = CAMPAIGN.end - timedelta(minutes=1)
    return {name: recorded(recorded_data, name).loc[CAMPAIGN.start : last] for name in CAMPAIGN.names}


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_a_killed_backfill_from_a_faulty_exchange_ends_where_a_sound_one_does(
    tmp_path: Path, sandbox: Sandbox, expected: dict[str, pd.DataFrame]
):
    rng = random.Random(23)
    with database(tmp_path / "sound") as url:
        run_backfill(url, sandbox)
        sound = state(url)
    requests = Requests(sandbox)
    asked_by_sound, began_s = len(requests.all()), time.monotonic()
    for fault in FAULTS:
        sandbox.faults.add(Fault(path="klines", probability=FAULT_RATE / len(FAULTS), seed=5, **fault))
    with database(tmp_path / "killed") as url:
        kills_at_work = 0
        for _ in range(CAMPAIGN.kills):
            asked_before = len(requests.all())
            kills_at_work += kill_at_work(start_backfill(url, sandbox), requests, rng)
            requests.note_lost(url, asked_before)
        run_backfill(url, sandbox)
        seconds = time.monotonic() - began_s
        assert state(url) == sound
        stored = stored_candles(url)
    for name, frame in expected.items():
        pd.testing.assert_frame_equal(
            stored[name], frame, check_exact=True, check_index_type=False, check_freq=False, check_dtype=False
        )
    struck = {f"{one['kind']}": 0 for one in sandbox.faults.as_json()}
    for one in sandbox.faults.as_json():
        struck[str(one["kind"])] += int(str(one["struck"]))
    asked, least = len(requests.all()) - asked_by_sound, fewest_pages(expected)
    retries = sum(struck[kind] for kind in ASKED_AGAIN) + requests.lost
    _logger.info(
        "%d requests for %d candles, by a sound run %d; at least %d pages, %d lost at %d of %d kills at work, "
        "faults %s: %.3f of the fewest, in %.0f s",
        asked,
        sum(map(len, expected.values())),
        asked_by_sound,
        least,
        requests.lost,
        kills_at_work,
        CAMPAIGN.kills,
        struck,
        asked / (least + retries),
        seconds,
    )
    assert asked <= 1.15 * (least + retries)
    # A kill costs what was in flight: with one request at a time of each series, a page or two of each.
    assert requests.lost <= 2 * len(CAMPAIGN.names) * CAMPAIGN.kills
    assert kills_at_work >= CAMPAIGN.kills // 2


def stored_candles(url: str) -> dict[str, pd.DataFrame]:
    with MarketData.connect(url) as market:
        return {
            name: market.candles("binanceusdm", symbol, "1m", CAMPAIGN.start, CAMPAIGN.end)
            for name, symbol in CAMPAIGN.symbols.items()
        }
