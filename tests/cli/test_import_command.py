"""`tapehouse import` as people type it: what a dry run shows, and what becomes of a folder of files."""

import json
import signal
import time
from pathlib import Path
from uuid import uuid4

import pytest

from tapehouse import embedded
from tapehouse.files.arrow import pa, parquet
from tapehouse.store.connection import connect
from tests.cli.conftest import Cli, Program
from tests.files.importing import HEADER, START_MS, candle_lines, text, zipped


@pytest.fixture
def exchange() -> str:
    return f"exchange-{uuid4().hex[:12]}"


def test_a_dry_run_shows_what_was_understood_and_writes_nothing(cli: Cli, tmp_path: Path, exchange: str):
    (tmp_path / "BTC_USDT-1m.csv").write_bytes(text(HEADER, *candle_lines([0, 1, 5])))
    asked = ("import", str(tmp_path), "--exchange", exchange, "--dry-run")

    shown, as_json = cli(*asked), cli(*asked, "--json")

    assert (shown.exit_code, as_json.exit_code) == (0, 0)
    assert "milliseconds since 1970" in shown.stdout
    assert "time in time, open in open" in shown.stdout
    assert json.loads(as_json.stdout)["files"] == [
        {
            "file": str(tmp_path / "BTC_USDT-1m.csv"),
            "content": "CSV",
            "layout": "candles",
            "checksum_verified": False,
            "exchange": exchange,
            "symbol": "BTC/USDT",
            "from_sandbox": False,
            "dataset": "ohlcv",
            "timeframe": "1m",
            "columns": {name: name for name in HEADER.split(",")},
            "times": "milliseconds since 1970",
            "amount_unit": None,
            "rows": 3,
            "in_order": True,
            "first": "2025-01-03T00:00:00+00:00",
            "last": "2025-01-03T00:05:00+00:00",
            "covered": None,
            "error": None,
        }
    ]
    assert cli("instruments", "--exchange", exchange, "--json").stdout.count(exchange) == 0


def test_a_dry_run_over_several_files_has_a_line_for_each(cli: Cli, tmp_path: Path, exchange: str):
    for name in ("BTC_USDT-1m.csv", "ETH_USDT-5m.csv"):
        (tmp_path / name).write_bytes(text(HEADER, *candle_lines([0, 5])))
    (tmp_path / "notes.md").write_text("# Notes\n")

    shown = cli("import", str(tmp_path), "--exchange", exchange, "--dry-run")

    assert shown.exit_code == 2
    lines = [line.split() for line in shown.stdout.splitlines() if exchange in line]
    assert [(line[2], line[3], line[5]) for line in lines] == [("BTC/USDT", "1m", "2"), ("ETH/USDT", "5m", "2")]
    assert f"ccxt knows no exchange '{exchange}'" in shown.stderr
    assert "2 of 3 files are understood" in shown.stderr
    assert "notes.md" in shown.stderr


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_file_that_is_refused_is_named_once(cli: Cli, tmp_path: Path, more: list[str]):
    (tmp_path / "plain.csv").write_bytes(text(HEADER, *candle_lines(range(3))))

    refused = cli("import", str(tmp_path / "plain.csv"), *more)

    assert refused.exit_code == 2
    assert refused.stderr.endswith(
        "Error: Nothing in plain.csv tells which exchange its rows are of: say so with --exchange.\n"
    )


def test_one_bad_file_does_not_stop_the_others(cli: Cli, tmp_path: Path, exchange: str):
    (tmp_path / "a.csv").write_bytes(b"")
    (tmp_path / "b.csv").write_bytes(text(HEADER, *candle_lines(range(3))))
    (tmp_path / "c.csv").write_bytes(text(HEADER, *(line.replace(",99.75", ",-1") for line in candle_lines(range(20)))))
    (tmp_path / "d.zip").write_bytes(zipped("d.csv", text(HEADER, *candle_lines(range(2, 6)))))
    (tmp_path / ".hidden.csv").write_bytes(b"")

    done = cli("import", str(tmp_path), "--exchange", exchange, "--symbol", "BTC/USDT", "--force", "--json")

    assert done.exit_code == 5
    files = {Path(one["file"]).name: one for one in json.loads(done.stdout)["files"]}
    assert {name: (one["inserted"], one["unchanged"], one["rejected"]) for name, one in files.items()} == {
        "a.csv": (0, 0, 0),
        "b.csv": (3, 0, 0),
        "c.csv": (0, 0, 20),
        "d.zip": (3, 1, 0),
    }
    assert "a.csv is empty (0 bytes)" in done.stderr
    assert "20 of 20 rows were rejected" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("no-such-file.csv",), "There is no no-such-file.csv"),
        ((".", "--timeframe", "7m"), "does not tile a UTC day"),
        ((".", "--exchange", "Bi/nance"), "is no name of an exchange"),
        ((".",), "There are no files below"),
    ],
)
def test_what_makes_no_sense_is_refused(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
):
    monkeypatch.chdir(tmp_path)
    done = cli("import", *arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_ctrl_c_says_how_to_go_on(program: Program, database: embedded.EmbeddedStatus, tmp_path: Path, exchange: str):
    rows = 1_000_000
    times = pa.array([START_MS - (rows - n) * 1000 for n in range(rows)], pa.timestamp("ms", "UTC"))
    values = pa.array([100.0] * rows)
    parquet.write_table(
        pa.table({"time": times, **dict.fromkeys(HEADER.split(",")[1:], values)}), tmp_path / "a.parquet"
    )
    running = program("import", str(tmp_path), "--exchange", exchange, "--symbol", "BTC/USDT", "--force")
    has_rows = (
        "select count(*) > 0 from coverage join series using (series_id) join instrument using (instrument_id) "
        "where exchange = %s and rows > 0"
    )
    with connect(database.url or "") as connection:
        while connection.execute(has_rows, [exchange]).fetchone() != (True,):
            assert running.poll() is None
            time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate(timeout=20)
    assert running.returncode == 130
    assert "run the same command again to go on" in stderr
