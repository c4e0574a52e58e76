import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from tapehouse.cli import main
from tapehouse.files.arrow import parquet
from tests.files.exported import Shelf, every, made_trades

NEW_YEAR = datetime(2025, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def at(**delta: float) -> datetime:
    return NEW_YEAR + timedelta(**delta)


@pytest.fixture
def export(store_url: str) -> Callable[..., Result]:
    def run(*arguments: object) -> Result:
        return CliRunner().invoke(main, ["export", *map(str, arguments), "--url", store_url])

    return run


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_all_of_an_exchange_goes_into_a_folder(shelf: Shelf, export: Callable[..., Result], tmp_path: Path):
    shelf.candles([at(), at(minutes=3)], [(at(), at(minutes=1)), (at(minutes=3), at(minutes=5))])
    shelf.trades(made_trades([at(seconds=1)]), [(at(), at(seconds=2))])
    answer = told(export(tmp_path, "--exchange", shelf.listing.exchange, "--json"))
    assert answer["format"] == "parquet"
    facts = [(one["dataset"], one["timeframe"], one["rows"], one["gaps"]) for one in answer["series"]]
    gap = [at(minutes=1).isoformat(), at(minutes=3).isoformat()]
    assert facts == [("trade", None, 1, []), ("ohlcv", "1m", 2, [gap])]
    for series in answer["series"]:
        assert not series["from_sandbox"]
        for file in series["files"]:
            assert (file["status"], file["bytes"]) == ("written", Path(file["path"]).stat().st_size)
            assert len(pd.read_parquet(file["path"])) == file["rows"]


def test_a_file_is_named_for_its_format(shelf: Shelf, export: Callable[..., Result], tmp_path: Path):
    shelf.candles(every(MINUTE, at(), at(minutes=9)), [(at(), at(minutes=9))])
    which = ("--exchange", shelf.listing.exchange, "--symbol", "BTC/USDT", "--timeframe", "1m")
    window = ("--start", "2025-01-01T00:02:00Z", "--end", "2025-01-01T00:05:00Z")
    for name, read in (("a.csv", pd.read_csv), ("a.parquet", pd.read_parquet), ("a.feather", pd.read_feather)):
        result = export(tmp_path / name, *which, *window)
        assert result.exit_code == 0, result.stderr
        assert len(read(tmp_path / name)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out", "--timeframe", "5m"], "No such series is stored of 5m.*there is .* 1m"),
        (["out", "--symbol", "ETH/USDT"], "No such series is stored of ETH/USDT"),
        (["one.csv"], r"is one file, and 2 series were asked for \(\S+ BTC/USDT trades, \S+ BTC/USDT 1m\): name"),
        (["one.csv", "--format", "parquet"], "is named as csv, and --format says parquet"),
        (["out", "--timeframe", "1m", "--dataset", "trade"], "Trades have no timeframe"),
        (["out", "--start", "2025-01-02", "--end", "2025-01-01"], "swap them"),
        (["taken", "--timeframe", "1m"], "is a file that is no"),
    ],
)
def test_what_makes_no_sense_is_refused(
    shelf: Shelf, export: Callable[..., Result], tmp_path: Path, arguments: list[str], message: str
):
    shelf.candles([at()], [(at(), at(minutes=1))])
    shelf.trades(made_trades([at()]), [(at(), at(seconds=1))])
    (tmp_path / "taken").write_text("")
    path, *options = arguments
    result = export(tmp_path / path, "--exchange", shelf.listing.exchange, *options)
    assert result.exit_code == 2
    assert pd.Series([result.stderr]).str.contains(message).all(), result.stderr


def test_of_many_series_a_refusal_names_some(shelf: Shelf, export: Callable[..., Result], tmp_path: Path):
    for minutes in (1, 3, 5, 15, 30):
        shelf.candles([at()], [(at(), at(minutes=minutes))], timeframe=f"{minutes}m")
    refused = export(tmp_path / "one.csv", "--exchange", shelf.listing.exchange)
    assert "5 series were asked for" in refused.stderr
    assert "BTC/USDT 5m and 2 more): name" in refused.stderr


def test_a_table_tells_files_and_gaps(make_shelf: Callable[..., Shelf], export: Callable[..., Result], tmp_path: Path):
    shelf = make_shelf(from_sandbox=True)
    shelf.candles([at(), at(minutes=2)], [(at(), at(minutes=1)), (at(minutes=2), at(minutes=3))])
    which = ("--exchange", shelf.listing.exchange)
    result = export(tmp_path, *which)
    assert result.stdout.splitlines()[-1].split()[-6:] == ["2", "1", "1", "1", "0", "0"]
    assert "gap 2025-01-01 00:01 to 2025-01-01 00:02 UTC" in result.stderr
    assert "came from the sandbox" in result.stderr
    assert export(tmp_path, *which).stdout.splitlines()[-1].split()[-6:] == ["2", "1", "1", "0", "1", "0"]


def test_one_series_that_fails_stops_no_other(shelf: Shelf, export: Callable[..., Result], tmp_path: Path):
    # Feather has no room for times between milliseconds.
    shelf.trades(made_trades([at(microseconds=5)]), [(at(), at(minutes=1))])
    shelf.candles([at()], [(at(), at(minutes=1))])
    shelf.candles([at()], [(at(), at(minutes=3))], timeframe="3m")
    result = export(tmp_path, "--exchange", shelf.listing.exchange, "--format", "feather")
    assert result.exit_code == 2
    assert [line.split()[2] for line in result.stdout.splitlines() if "BTC/USDT" in line] == ["1m", "3m"]
    assert "BTC/USDT trades" in result.stderr
    assert len(list(tmp_path.rglob("*.feather"))) == 2


@pytest.mark.parametrize("form", ["parquet", "feather", "csv"])
def test_a_killed_export_leaves_no_half_file(shelf: Shelf, store_url: str, tmp_path: Path, form: str):
    times = every(timedelta(seconds=2), at(), at(days=4))
    shelf.trades(made_trades(times), [(at(), at(days=4))])
    command = [
        *(sys.executable, "-m", "tapehouse", "export", str(tmp_path), "--exchange", shelf.listing.exchange),
        *("--format", form, "--url", store_url),
    ]
    random = Random(form)
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not any(tmp_path.rglob(".*.part")):
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.05))
        process.kill()
        process.wait()
        for path in tmp_path.rglob(f"[!.]*.{form}"):
            assert _rows(path) == len(times) // 4 if form == "parquet" else len(times)
    for part in tmp_path.rglob(".*.part"):
        os.utime(part, times=(0, 0))
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
    finished = sorted(tmp_path.rglob(f"[!.]*.{form}"))
    assert sum(map(_rows, finished)) == len(times)
    assert not any(tmp_path.rglob(".*.part"))


def _rows(path: Path) -> int:
    """The rows of a whole file; what is cut short can't be read."""
    match path.suffix:
        case ".parquet":
            return len(parquet.read_table(os.fspath(path), partitioning=None))
        case ".feather":
            return len(pd.read_feather(path))
        case _:
            return len(pd.read_csv(path))
