"""The demo, run as `make demo` does, in a copy of what it needs: it keeps its files beside the flows."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final
from uuid import uuid4

import psutil
import pytest

from tests.flows.services import ROOT

_MARK: Final = "DEMO_TEST_RUN"
_AT_MOST_S: Final = 500


@pytest.mark.timeout(_AT_MOST_S + 60)
def test_the_demo_shows_what_it_did_and_leaves_nothing_running(tmp_path: Path) -> None:
    for folder in ("flows", "tasks", "tapehouse", "sql"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    run = uuid4().hex
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "TAPEHOUSE_"))}

    try:
        done = subprocess.run(
            [sys.executable, "-m", "flows.demo"],
            cwd=tmp_path,
            env={**inherited, _MARK: run},
            capture_output=True,
            text=True,
            timeout=_AT_MOST_S,
            check=False,
        )
    finally:
        left = _end_processes_of(run)

    assert done.returncode == 0, done.stderr
    assert left == []
    fetched, inserted, *_, rejected, _ = _first_counts(done.stdout, "binance", "BTC/USDT")
    # Seven days of minutes, less those that have begun at either end; two were spoiled.
    assert 10_078 <= fetched <= 10_080
    assert (inserted, rejected) == (fetched - 2, 2)
    shown = done.stdout.partition("In quarantine")[2].partition("\n\n")[0]
    for reason in ("high_below_open_close_low", "volume_negative", "price_not_finite"):
        assert reason in shown
    stored = [line.split() for line in done.stdout.partition("Coverage, and")[2].splitlines()]
    minutes = next(row[7] for row in stored if row[:2] == ["binance", "BTC/USDT"])
    assert f"binance BTC/USDT 1m: the last 5 of {minutes} (native)" in done.stdout
    assert (tmp_path / ".tapehouse" / "demo-chart.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def _first_counts(output: str, *market: str) -> list[int]:
    """The numbers of the first table row of that market."""
    rows = (line.split() for line in output.splitlines())
    row = next(row for row in rows if tuple(row[:2]) == market)
    return [int(number.replace(",", "")) for number in row[2:]]


def _end_processes_of(run: str) -> list[str]:
    """End the processes with this run's mark in their environment, which children inherit, and name them."""
    ended: list[str] = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(_MARK) == run:
                ended.append(" ".join(process.cmdline()))
                process.kill()
        except psutil.Error:
            continue
    return ended
