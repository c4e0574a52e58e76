"""Files that are broken in one way each, and what becomes of each: imported, in part or whole, or refused."""

import json
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tapehouse.errors import InputError, NaiveDatetime, QualityError, TapehouseError
from tapehouse.files.arrow import Array, ipc, pa, parquet
from tapehouse.store.connection import Connection
from tapehouse.timeframe import timeframe
from tests.files.importing import (
    HEADER,
    START_MS,
    candle_line,
    candle_lines,
    gzipped,
    import_path,
    reasons_of,
    rows_of,
    text,
    trade_line,
    zipped,
)

GOOD = candle_lines(range(12))
TRADES_HEADER = "timestamp,id,side,price,amount"
FAR_MS = 4_000_000_000_000  # in 2096


@dataclass(frozen=True)
class Broken:
    """A file with that name and content, what the user says of it, and what has to become of it.

    Either it is refused with an error that says `refusal`, or so many rows are stored and others rejected.
    """

    about: str
    name: str
    content: bytes | Callable[[Path], None]
    told: dict[str, Any] = field(default_factory=dict[str, Any])
    error: type[TapehouseError] | None = None
    refusal: str = ""
    stored: int = 0
    rejected: dict[str, int] = field(default_factory=dict[str, int])


def refused(about: str, name: str, content: bytes | Callable[[Path], None], refusal: str, **told: Any) -> Broken:
    return Broken(about, name, content, told, InputError, refusal)


def imported(about: str, name: str, content: bytes | Callable[[Path], None], stored: int, **told: Any) -> Broken:
    return Broken(about, name, content, told, stored=stored)


def partly(
    about: str,
    content: bytes | Callable[[Path], None],
    stored: int,
    rejected: dict[str, int],
    name: str = "a.csv",
    **told: Any,
) -> Broken:
    return Broken(about, name, content, told, stored=stored, rejected=rejected)


def candle_table(count: int = 12) -> Array:
    times = pa.array([(START_MS + n * 60_000) * 1000 for n in range(count)], pa.timestamp("us", "UTC"))
    columns = {"open": 100.25, "high": 101.5, "low": 99.75, "close": 100.5, "volume": 1.125}
    return pa.table({"date": times, **{name: [value] * count for name, value in columns.items()}})


def as_parquet(path: Path) -> None:
    parquet.write_table(candle_table(), path)


def as_cut_parquet(path: Path) -> None:
    parquet.write_table(candle_table(1000), path)
    path.write_bytes(path.read_bytes()[:-200])


def write_feather(table: Array, path: Path) -> None:
    with ipc.new_file(path, table.schema) as file:
        file.write_table(table)


def as_cut_feather(path: Path) -> None:
    write_feather(candle_table(1000), path)
    path.write_bytes(path.read_bytes()[:-200])


def as_feather(path: Path) -> None:
    write_feather(candle_table(), path)


def with_checksum(told: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(text(HEADER, *GOOD))
        path.with_name(path.name + ".CHECKSUM").write_text(told)

    return write


def two_files_in_a_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", text(HEADER, *GOOD))
        archive.writestr("b.csv", text(HEADER, *GOOD))


def packed_in_no_known_way(path: Path) -> None:
    content = bytearray(zipped("a.csv", text(HEADER, *GOOD)))
    unknown, directory = (97).to_bytes(2, "little"), content.index(b"PK\1\2")
    content[8:10] = content[directory + 10 : directory + 12] = unknown
    path.write_bytes(content)


def as_feather_without_its_words(path: Path) -> None:
    words = pa.DictionaryArray.from_arrays(pa.array([*[0] * 11, 99], pa.int32()), ["binance"], safe=False)
    write_feather(candle_table().append_column("source", words), path)


def with_a_time_beyond_all_years(path: Path) -> None:
    times = candle_table().column("date").cast(pa.int64()).to_pylist()
    column = pa.array([*times[:11], 2**62], pa.timestamp("us", "UTC"))
    parquet.write_table(candle_table().set_column(0, "date", column), path)


def with_a_column_twice(path: Path) -> None:
    table = candle_table()
    parquet.write_table(table.append_column("volume", table.column("volume")), path)


def with_substitutes_through_pandas(path: Path) -> None:
    frame = candle_table().rename_columns(HEADER.split(",")).to_pandas().assign(source="trades")
    frame[frame.index != 3].to_parquet(path)


def json_rows(minutes: range) -> bytes:
    return json.dumps([list(map(float, line.split(","))) for line in candle_lines(minutes)]).encode()


def json_with_half_a_character() -> bytes:
    rows: list[list[object]] = [list(map(float, line.split(","))) for line in GOOD]
    rows[4][1] = "\ud800"
    return json.dumps(rows).encode()


def changed(minute: int, column: int, cell: str) -> bytes:
    """Twelve good candles but for one cell."""
    cells = GOOD[minute].split(",")
    cells[column] = cell
    return text(HEADER, *GOOD[:minute], ",".join(cells), *GOOD[minute + 1 :])


def iso_lines(zone: str, day: str = "2025-01-03", hours: tuple[int, ...] = (0,)) -> list[str]:
    return [f"{day}T{hour:02}:{minute:02}:00{zone},1,2,1,2,3" for hour in hours for minute in range(12)]


BROKEN = [
    # What the file is
    refused("0 bytes", "a.csv", b"", "is empty"),
    refused("a gz of nothing", "a.csv.gz", gzipped(b""), "holds an empty file"),
    refused("a header alone", "a.csv", text(HEADER), "holds no rows"),
    refused("an empty JSON list", "a.json", b"[]", "holds no rows"),
    refused("binary garbage", "a.csv", bytes(range(256)) * 40, "none of the files that can be imported"),
    refused("UTF-16", "a.csv", text(HEADER, *GOOD).decode().encode("utf-16"), "none of the files that can be"),
    refused("a zip cut short", "a.zip", zipped("a.csv", text(HEADER, *GOOD))[:-60], "damaged or cut short"),
    refused("a gz cut short", "a.csv.gz", gzipped(text(HEADER, *candle_lines(range(5000))))[:-900], "damaged or cut"),
    refused("a Parquet file cut short", "a.parquet", as_cut_parquet, "a.parquet is damaged"),
    refused("a feather file cut short", "a.feather", as_cut_feather, "a.feather is damaged"),
    refused("feather that lacks words", "a.feather", as_feather_without_its_words, "a.feather is damaged"),
    partly("a time beyond all years", with_a_time_beyond_all_years, 11, {"time_not_believable": 1}),
    refused("JSON cut short", "a.json", b'[{"time": 1735862400000, "open": 1, "high"', "cut short, or no JSON"),
    refused("a zip of two files", "a.zip", two_files_in_a_zip, "holds 2 files"),
    refused("a wrong checksum", "a.csv", with_checksum("0" * 64 + "  a.csv"), "is not what a.csv.CHECKSUM tells"),
    refused("JSON nested deep", "a.json", b'[{"time":' + b"[" * 5000 + b"]" * 5000 + b"}]", "nested too deep"),
    refused("a number of 5,000 digits", "a.json", b'[{"time":' + b"1" * 5000 + b"}]", "too long a number"),
    refused("a zip packed in a way of its own", "a.zip", packed_in_no_known_way, "can't be unpacked here"),
    refused("an empty checksum", "a.csv", with_checksum(""), "is not what a.csv.CHECKSUM tells"),
    refused("JSON with more behind its list", "a.json", json_rows(range(12)) + b"\n{}", "with no list where its first"),
    refused("JSON whose second list is cut short", "a.json", json_rows(range(12)) + b"[[1", "cut short, or no JSON"),
    imported("two JSON lists one after another", "a.json", json_rows(range(5)) + b"\n" + json_rows(range(5, 12)), 12),
    imported("Parquet named csv", "a.csv", as_parquet, 12),
    imported("feather named parquet", "a.parquet", as_feather, 12),
    imported("CSV named parquet", "a.parquet", text(HEADER, *GOOD), 12),
    imported("gz named csv", "a.csv", gzipped(text(HEADER, *GOOD)), 12),
    imported("a byte order mark", "a.csv", b"\xef\xbb\xbf" + text(HEADER, *GOOD), 12),
    imported("semicolons", "a.csv", text(HEADER, *GOOD).replace(b",", b";"), 12),
    imported("lines as Windows ends them", "a.csv", text("", HEADER, *GOOD, "", end="\r\n"), 12),
    # Its columns
    refused("no volume", "a.csv", text("time,open,high,low,close", "1,1,1,1,1"), "which it lacks volume, nor"),
    refused(
        "columns of something else",
        "a.csv",
        text("name,age", "a,3"),
        "a.csv is neither candles, for which it lacks time, open, high, low, close, volume, nor trades, for which it "
        "lacks time, id, price, amount: its columns are name, age.",
    ),
    refused("no candles", "a.csv", text("time,age", "1,3"), "lacks open, .*, volume of candles", dataset="ohlcv"),
    refused("trades without an id", "a.csv", text("time,price,amount", f"{START_MS},1,2"), "for which it lacks id:"),
    refused("five columns without names", "a.csv", text("1,2,3,4,5"), "does not name its columns"),
    refused("a cell more in all lines but the first", "a.csv", text(HEADER, f"{GOOD[0]},"), "None of the lines"),
    refused("a column twice in Parquet", "a.parquet", with_a_column_twice, "names two"),
    imported("an index without a name", "a.csv", text(f",{HEADER}", *(f"7,{line}" for line in GOOD)), 12),
    refused("a column twice", "a.csv", text("time,open,open,high,low,close,volume", "1,1,1,1,1,1,1"), "names two"),
    # Whose rows they are
    refused("another symbol in its name", "ETH_USDT-1m.csv", text(HEADER, *GOOD), "is of ETH/USDT, not of BTC/USDT"),
    refused(
        "another symbol in its rows",
        "a.csv",
        text("symbol," + HEADER, *(f"ETH-USDT,{line}" for line in GOOD)),
        "is of ETH-USDT, not of BTC/USDT",
    ),
    refused(
        "two symbols in its rows",
        "a.csv",
        text("symbol," + HEADER, *(f"{'BE'[n % 2]}TC-USDT,{line}" for n, line in enumerate(GOOD))),
        "mixes series, its column symbol holds BTC-USDT, ETC-USDT",
    ),
    refused(
        "a perpetual said to be spot",
        "a.csv",
        text("symbol," + HEADER, *(f"BTC-USDT-PERP,{line}" for line in GOOD)),
        "is of BTC-USDT-PERP, not of BTC/USDT",
    ),
    refused("no symbol", "a.csv", text(HEADER, *GOOD), "'BTCUSDT' is no symbol", symbol="BTCUSDT"),
    refused("amounts of an inverse contract", "a.csv", text(HEADER, *GOOD), "--amount-unit", symbol="BTC/USD:BTC"),
    refused(
        "another exchange in its rows",
        "a.csv",
        text("exchange," + HEADER, *(f"KRAKEN,{line}" for line in GOOD)),
        "are of kraken, not of",
    ),
    refused("funding rates", "BTC_USDT_USDT-8h-funding_rate.feather", as_feather, "holds funding_rate data"),
    refused("a month that is none", "BTCUSDT-1m-2025-13.csv", text(HEADER, *GOOD), "no day or month that there is"),
    refused("substitutes through pandas", "a.parquet", with_substitutes_through_pandas, "its label is gone"),
    refused(
        "substitutes with a column more",
        "a.csv",
        text(f",{HEADER},source", *(f"{n},{line},trades" for n, line in enumerate(GOOD))),
        "its label is gone",
    ),
    # Its times
    Broken("local times", "a.csv", text(HEADER, *iso_lines("")), {}, NaiveDatetime, "no time zone.*--time-zone"),
    refused("a zone that is none", "a.csv", text(HEADER, *iso_lines("")), "No time zone", time_zone="Mars/Phobos"),
    partly(
        "the hour that clocks show twice",
        text(HEADER, *iso_lines("", "2025-10-26", (1, 2))[4:20]),
        8,
        {"time_missing": 8},
        time_zone="Europe/Berlin",
        timeframe=timeframe("1m"),
    ),
    refused("times that can't be read", "a.csv", text(HEADER, "03/01/2025 10:00,1,2,1,2,3"), "None of the times"),
    refused("mixed units", "a.csv", text(HEADER, *GOOD, candle_line(12, unit_ms=1000)), "written in different ways"),
    partly(
        "mixed units, one of them told",
        text(HEADER, *GOOD, candle_line(12, unit_ms=1000)),
        12,
        {"time_not_believable": 1},
        time_unit="ms",
    ),
    refused("5m in its name, 1m in its rows", "BTC_USDT-5m.csv", text(HEADER, *GOOD), "says its candles are of 5m"),
    refused(
        "1m in its name, 5m in its rows",
        "BTC_USDT-1m.csv",
        text(HEADER, *candle_lines(range(0, 60, 5))),
        "says its candles are of 1m, but they are 5m apart",
    ),
    refused(
        "a told timeframe that is longer",
        "a.csv",
        text(HEADER, *candle_lines(range(60))),
        "are 1m apart, not 5m: correct --timeframe",
        timeframe=timeframe("5m"),
    ),
    refused(
        "a told timeframe that is shorter",
        "a.csv",
        text(HEADER, *candle_lines(range(0, 60, 5))),
        "are 5m apart, not 1m: correct --timeframe",
        timeframe=timeframe("1m"),
    ),
    refused(
        "a told timeframe that is not that of its name",
        "BTC_USDT-5m.csv",
        text(HEADER, *candle_lines([0, 5, 15])),
        "its candles are of 5m, not of 1m: leave --timeframe out",
        timeframe=timeframe("1m"),
    ),
    refused(
        "a quiet market, most of whose candles lack",
        "a.csv",
        text(HEADER, *candle_lines([0, 5, 6, 11, 16])),
        "tells the timeframe",
    ),
    imported(
        "a quiet market whose timeframe is told",
        "a.csv",
        text(HEADER, *candle_lines(range(0, 60, 5)), candle_line(56)),
        13,
        timeframe=timeframe("1m"),
    ),
    partly("a time between minutes", changed(5, 0, str(START_MS + 300_001)), 11, {"time_not_aligned": 1}),
    partly("a time ahead", changed(11, 0, str(FAR_MS - FAR_MS % 60_000)), 11, {"time_outside_window": 1}),
    partly("no time", changed(5, 0, ""), 11, {"time_missing": 1}),
    imported("a time twice", "a.csv", text(HEADER, *GOOD, candle_line(3, close=101)), 12),
    imported("rows in no order", "a.csv", text(HEADER, *GOOD[6:], *GOOD[:6]), 12),
    imported("newest first", "a.csv", text(HEADER, *reversed(GOOD)), 12),
    # Its values
    partly(
        "a header again",
        text(HEADER, *GOOD[:6], HEADER, *GOOD[6:]),
        12,
        {"time_missing": 1, "price_not_finite": 1, "volume_not_finite": 1},
    ),
    partly("a price that is half a character", json_with_half_a_character(), 11, {"price_not_finite": 1}),
    partly("NaN", changed(4, 1, "NaN"), 11, {"price_not_finite": 1}),
    partly("a price that is a word", changed(4, 4, "abc"), 11, {"price_not_finite": 1}),
    partly("a negative price", changed(4, 3, "-99.75"), 11, {"price_not_positive": 1}),
    partly("a high below the close", changed(4, 2, "100.25"), 11, {"high_below_open_close_low": 1}),
    partly(
        "candles that are not closed",
        text(f"{HEADER},closed", *(f"{line},{n not in (4, 7)}" for n, line in enumerate(GOOD))),
        10,
        {"candle_not_closed": 2},
    ),
    partly("a negative volume", changed(4, 5, "-1"), 11, {"volume_negative": 1}),
    partly("more digits than float64 has", changed(4, 5, "123456789.123456789"), 11, {"beyond_float_precision": 1}),
    partly("a cell too few, one too many", text(HEADER, *GOOD, "1,2,3", GOOD[3] + ",1"), 12, {"not_a_row": 2}),
    partly(
        "trades with a wrong amount, no id, no such side",
        text(
            TRADES_HEADER,
            *(trade_line(n) for n in range(5)),
            trade_line(5, amount="0"),
            trade_line(6, side="maybe"),
            f"{START_MS + 7000},,sell,100,1",
        ),
        5,
        {"amount_not_positive": 1, "side_not_buy_or_sell": 1, "id_missing": 1},
    ),
    Broken(
        "decimal commas",
        "a.csv",
        text(HEADER, *candle_lines(range(30))).replace(b",", b";").replace(b".", b","),
        {"timeframe": timeframe("1m")},
        QualityError,
        "30 of 30 rows were rejected",
        rejected={"price_not_finite": 30, "volume_not_finite": 30},
    ),
]  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.about)
def test_a_broken_file_comes_to_its_right_end(connection: Connection, exchange: str, tmp_path: Path, broken: Broken):
    path = tmp_path / broken.name
    if isinstance(broken.content, bytes):
        path.write_bytes(broken.content)
    else:
        broken.content(path)
    told = {"exchange": exchange, "symbol": "BTC/USDT", **broken.told}

    if broken.error is not None:
        with pytest.raises(broken.error, match=broken.refusal):
            import_path(connection, path, **told)
    else:
        import_path(connection, path, **told)

    view = "trade_view" if b"amount" in path.read_bytes()[:60] else "candle"
    assert len(rows_of(connection, exchange, view)) == broken.stored
    assert reasons_of(connection, exchange) == Counter(broken.rejected)


def test_there_are_enough_broken_files():
    assert len(BROKEN) >= 40
    assert len({broken.about for broken in BROKEN}) == len(BROKEN)
