import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from tapehouse.coverage_chart.axis import ticks
from tapehouse.coverage_chart.image import save_image
from tapehouse.coverage_chart.page import save_page
from tapehouse.coverage_chart.palette import DARK, LIGHT
from tapehouse.lanes import STATES, Lane, Lanes, Ranges, State, paint
from tapehouse.sandbox import Fault, Sandbox
from tapehouse.timeframe import to_us
from tests.cli.conftest import Cli

START = datetime(2025, 5, 1, tzinfo=UTC)
HOUR_US = 3_600_000_000
NASTY = "<script>alert('x')</script> $a$ & \"b\""


def lane(*parts: tuple[int, int, State], name: str = "BTC/USDT 1m", exchange: str = "binance") -> Lane:
    """A lane of 100 hours, its parts in hours."""
    start_us = to_us(START)
    layers: list[tuple[State, Ranges]] = [
        (state, (np.array([start_us + first * HOUR_US]), np.array([start_us + last * HOUR_US])))
        for first, last, state in parts
    ]
    return Lane(exchange, name, 12_345, False, paint((start_us, start_us + 100 * HOUR_US), layers))


def lanes(*some: Lane) -> Lanes:
    return Lanes(to_us(START), to_us(START) + 100 * HOUR_US, some)


class Page(HTMLParser):
    """What is on a page: the boxes of its lanes with their tips, the texts, and what it would load."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.boxes: list[dict[str, str]] = []
        self.names: list[str] = []
        self.texts: list[str] = []
        self.scripts = 0
        self.loads: list[str] = []
        self._path: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._path.append(tag)
        self.loads += [value for name, value in given.items() if name in ("src", "href") or "url(" in value]
        self.scripts += tag == "script"
        if tag == "rect":
            self.boxes.append({**given, "tip": ""})
        if "data-name" in given:
            self.names.append(given["data-name"])

    def handle_data(self, data: str) -> None:
        if self._path[-2:] == ["rect", "title"]:
            self.boxes[-1]["tip"] += data
        elif self._path and self._path[-1] == "text":
            self.texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        while self._path and self._path.pop() != tag:
            pass


def test_a_page_has_a_box_a_part_with_its_exact_times(tmp_path: Path) -> None:
    path = tmp_path / "chart.html"
    save_page(lanes(lane((10, 50, "rows"), (20, 21, "failed"))), path, title="Coverage")

    page = Page(path)

    assert {(box["class"], box["x"], box["width"], box["tip"]) for box in page.boxes} == {
        ("s0", "0.0", "100.0", "outside of what was asked for\n2025-05-01 00:00 to 2025-05-01 10:00 (10 h)"),
        ("s2", "100.0", "100.0", "fetched\n2025-05-01 10:00 to 2025-05-01 20:00 (10 h)"),
        ("s9", "200.0", "10.0", "failed after retries\n2025-05-01 20:00 to 2025-05-01 21:00 (1 h)"),
        ("s2", "210.0", "290.0", "fetched\n2025-05-01 21:00 to 2025-05-03 02:00 (1 d 5 h)"),
        ("s0", "500.0", "500.0", "outside of what was asked for\n2025-05-03 02:00 to 2025-05-05 04:00 (2 d 2 h)"),
    }
    assert "12,345" in page.texts
    # Nothing covers a short part.
    widths = [float(box["width"]) for box in page.boxes]
    assert widths == sorted(widths, reverse=True)


def test_a_page_shows_names_as_they_are_and_loads_nothing(tmp_path: Path) -> None:
    path = tmp_path / "chart.html"
    save_page(lanes(lane((0, 9, "rows"), name=NASTY, exchange=NASTY)), path, title=NASTY)

    page = Page(path)

    assert page.scripts == 1
    assert page.loads == []
    assert "http" not in path.read_text(encoding="utf-8")
    assert page.names == [f"{NASTY} {NASTY}"]
    assert page.texts.count(NASTY) == 2


def test_many_short_holes_are_told_of_in_one_part(tmp_path: Path) -> None:
    path = tmp_path / "chart.html"
    start_us, minute_us = to_us(START), 60_000_000
    starts = start_us + 10 * HOUR_US + np.arange(120) * 2 * minute_us
    layers: list[tuple[State, Ranges]] = [
        ("rows", (np.array([start_us]), np.array([start_us + 100 * HOUR_US]))),
        ("missing", (starts, starts + minute_us // 2)),
    ]
    parts = paint((start_us, start_us + 100 * HOUR_US), layers)
    save_page(lanes(Lane("binance", "BTC/USDT 1m", 1, False, parts)), path, title="Coverage")

    tips = [box["tip"] for box in Page(path).boxes]

    (told,) = (tip for tip in tips if "pieces" in tip)
    assert re.match(r"fetched \(7[45](\.\d)? %\) and never asked for, in 239 pieces\n2025-05-01 10:00 to", told)


@pytest.mark.parametrize("count", [1, 60])
def test_a_picture_has_its_states_in_their_colors(tmp_path: Path, count: int) -> None:
    path = tmp_path / "chart.png"
    shown: list[tuple[int, int, State]] = [
        (10 * number, 10 * number + 10, state) for number, state in enumerate(STATES)
    ]
    save_image(lanes(*(lane(*shown, name=f"{NASTY} {number}") for number in range(count))), path, title=NASTY)

    pixels = np.rint(255 * np.asarray(matplotlib.image.imread(path))[..., :3]).astype(int)

    for color in LIGHT.values():
        wanted = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
        assert (pixels == wanted).all(axis=-1).sum() > 500


def test_the_palettes_have_a_color_of_its_own_for_every_state() -> None:
    for palette in (LIGHT, DARK):
        assert tuple(palette) == STATES
        assert len(set(palette.values())) == len(STATES)


@pytest.mark.parametrize(
    ("length", "texts"),
    [
        (timedelta(hours=1), ["05-01 00:00", "05-01 00:10", "05-01 00:20", "05-01 00:30"]),
        (timedelta(hours=20), ["05-01 00:00", "05-01 03:00", "05-01 06:00", "05-01 09:00"]),
        (timedelta(days=7), ["2025-05-01", "2025-05-02", "2025-05-03", "2025-05-04"]),
        (timedelta(days=400), ["2025-05", "2025-07", "2025-09", "2025-11"]),
        (timedelta(days=365 * 8), ["2026", "2027", "2028", "2029"]),
        (timedelta(days=365 * 300), ["2050", "2100", "2150", "2200"]),
    ],
)
def test_ticks_are_at_round_times(length: timedelta, texts: list[str]) -> None:
    found = ticks(to_us(START), to_us(START + length), most=9)

    assert [text for _, text in found[:4]] == texts
    assert 4 <= len(found) <= 9
    assert all(to_us(START) <= time_us <= to_us(START + length) for time_us, _ in found)


@pytest.fixture
def with_holes(cli: Cli, sandbox: Sandbox) -> None:
    """An hour of candles whose two rows in the middle, 00:29 and 00:30, were rejected."""
    sandbox.faults.add(Fault("negative_volume", rows=2))
    stored = cli(
        *("ingest", "ohlcv", "--exchange", "binanceusdm", "--symbol", "BTC/USDT:USDT"),
        *("--since", "2025-04-03", "--until", "2025-04-03T01:00Z"),
    )
    assert stored.exit_code == 0, stored.output


@pytest.mark.usefixtures("with_holes")
def test_the_command_draws_what_is_stored(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "chart.html"
    only = ("--exchange", "binanceusdm", "--symbol", "BTC/USDT:USDT", "--start", "2025-04-03", "--end", "2025-04-04")
    result = cli("coverage", *only, "--chart", str(path))

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"Chart of 1 series written to {path}.\n"
    assert [box["tip"] for box in Page(path).boxes][-1] == "rejected rows\n2025-04-03 00:29 to 2025-04-03 00:31 (2 min)"
    assert Page(path).names == ["binanceusdm BTC/USDT:USDT 1m (sandbox)"]
    assert cli("coverage", *only, "--chart", str(path.with_suffix(".png"))).exit_code == 0
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert sorted(tmp_path.iterdir()) == [path, path.with_suffix(".png")]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--chart", "chart.jpg"], "ends in .html or .png"),
        (["--chart", "chart.html", "--json"], "exclude each other"),
        (["--start", "2025-01-01"], "add --chart"),
        (["--chart", "chart.html", "--start", "2025-02-01", "--end", "2025-01-01"], "swap them"),
        (["--chart", "no/such/folder/chart.html"], "Can't write"),
        (["--chart", "chart.html", "--end", "1999-01-01"], "choose other bounds"),
    ],
)
@pytest.mark.usefixtures("with_holes")
def test_what_can_not_be_drawn_is_refused(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("coverage", *options)

    assert result.exit_code != 0
    assert says in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("only", "says"), [([], "Nothing is stored yet"), (["--exchange", "bitstamp"], "No such series is stored")]
)
@pytest.mark.parametrize("name", ["chart.html", "chart.png"])
def test_a_chart_of_nothing_is_an_error(
    cli: Cli, tmp_path: Path, empty_url: str, only: list[str], says: str, name: str
) -> None:
    result = cli("coverage", "--url", empty_url, *only, "--chart", str(tmp_path / name))

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {says}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("with_holes")
def test_the_table_tells_how_long_ago_a_series_was_fetched(cli: Cli) -> None:
    lines = cli("coverage", "--exchange", "binanceusdm").stdout.splitlines()

    assert "updated" in lines[0]
    assert any(re.search(r"BTC/USDT:USDT .* \d+ (s|min) ago +sandbox", line) for line in lines)
