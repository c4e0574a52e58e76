"""The built wheel, installed alone outside the checkout, serves queries."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(source: Path, target: str, folder: Path) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder, cwd=source)
    return next(folder.glob("*.whl" if target == "wheel" else "*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment in which only the wheel and its requirements are installed."""
    folder = tmp_path_factory.mktemp("installed")
    uv = Path(sys.executable).with_name("uv")
    run(uv, "venv", "--quiet", "--python", sys.executable, folder, cwd=folder)
    python = folder / "bin" / "python"
    run(uv, "pip", "install", "--quiet", "--python", python, "-c", ROOT / "requirements" / "dev.txt", wheel, cwd=folder)
    return python


def test_the_wheel_holds_the_library_and_its_sql_alone(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"tapehouse"}
    packed = {name.removeprefix("tapehouse/") for name in names if name.startswith("tapehouse/sql/")}
    assert packed == {str(path.relative_to(ROOT)) for path in (ROOT / "sql").rglob("*") if path.is_file()}
    assert "tapehouse/embedded/node/package-lock.json" in names
    assert "tapehouse/query/twin.py" not in names


def test_a_wheel_from_the_sdist_holds_the_same(wheel: Path, tmp_path: Path):
    sdist = build(ROOT, "sdist", tmp_path)
    run("tar", "-xzf", sdist, cwd=tmp_path)
    again = build(next(tmp_path.glob("tapehouse-*/")), "wheel", tmp_path / "wheel")
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


def test_importing_the_installed_library_pulls_in_nothing_heavy(python: Path, tmp_path: Path):
    code = "import sys, json, tapehouse; from tapehouse import MarketData; print(json.dumps(sorted(sys.modules)))"
    loaded = {name.split(".")[0] for name in json.loads(run(python, "-c", code, cwd=tmp_path))}
    assert not loaded & {"prefect", "ccxt", "pandera", "aiohttp", "matplotlib", "pyarrow"}


def test_the_installed_library_migrates_and_queries(python: Path, tmp_path: Path, store_url: str):
    tapehouse = python.with_name("tapehouse")
    pending = run(tapehouse, "db", "migrate", cwd=tmp_path, TAPEHOUSE_DATABASE_URL=store_url)
    code = "from tapehouse import MarketData; print(list(MarketData.connect().instruments().columns)[:2])"
    shown = run(python, "-c", code, cwd=tmp_path, TAPEHOUSE_DATABASE_URL=store_url)
    assert shown.strip() == "['exchange', 'symbol']"
    assert pending


def test_what_needs_an_extra_says_which(python: Path, tmp_path: Path, store_url: str):
    command = ["ingest", "ohlcv", "--exchange", "binance", "--symbol", "BTC/USDT", "--since", "1h", "--url", store_url]
    done = subprocess.run(
        [python.with_name("tapehouse"), *command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "pip install 'tapehouse[ingest]'" in done.stderr
    assert "Traceback" not in done.stderr
