import importlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from psycopg.sql import SQL

from tapehouse.errors import InputError
from tapehouse.files.arrow import parquet
from tapehouse.files.exporting import SeriesExport
from tapehouse.files.formats import Format, label_in
from tapehouse.files.label import FileLabel, label_of_parquet
from tapehouse.files.tables import open_table
from tapehouse.query.reader import Reader
from tapehouse.ranges import Substitute
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection
from tapehouse.store.delete import delete_rows
from tapehouse.timeframe import timeframe
from tests.files.exported import Shelf, columns_of, every, made_candles, made_listing, made_trades, put_on_shelf

dataset: Any = importlib.import_module("pyarrow.dataset")
feather: Any = importlib.import_module("pyarrow.feather")
FORMS: list[Format] = ["parquet", "feather", "csv"]
MINUTE = timedelta(minutes=1)
NEW_YEAR = datetime(2025, 1, 1, tzinfo=UTC)


def at(**delta: float) -> datetime:
    return NEW_YEAR + timedelta(**delta)


def label_of(path: Path) -> FileLabel:
    with parquet.ParquetFile(path) as file:
        label = label_of_parquet(file)
    assert label is not None
    return label


def content_of(done: SeriesExport) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(one.path, partitioning=None) for one in done.files], ignore_index=True).astype(
        {"source": "str"}
    )


def assert_same_rows(before: pd.DataFrame, after: "pd.DataFrame | SeriesExport") -> None:
    frame = after if isinstance(after, pd.DataFrame) else content_of(after)
    pd.testing.assert_frame_equal(before, frame, check_exact=True)


def names_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_parquet_is_read_as_one_table_by_hive_names(shelf: Shelf, tmp_path: Path):
    opens = every(timedelta(hours=6), at(days=-20), at(days=40))
    batch = made_candles(opens)
    series = shelf.candles(opens, [(at(days=-20), at(days=40))], timeframe="6h")
    done = shelf.export(series, tmp_path)
    folder = f"dataset=ohlcv/exchange={shelf.listing.exchange}/symbol=BTC%2FUSDT/timeframe=6h"
    assert names_below(tmp_path) == [
        f"{folder}/2024-12.parquet",
        f"{folder}/2025-01.parquet",
        f"{folder}/2025-02.parquet",
    ]
    assert [(one.status, one.rows) for one in done.files] == [("written", 80), ("written", 124), ("written", 36)]
    expected = pd.DataFrame(columns_of(batch), index=pd.DatetimeIndex(opens, name="time").as_unit("us"))
    by_arrow = dataset.dataset(tmp_path, partitioning="hive").to_table().to_pandas()
    for table in (pd.read_parquet(tmp_path), by_arrow):
        frame = table.sort_values("time").set_index("time")
        pd.testing.assert_frame_equal(frame[list(expected)], expected, check_exact=True, check_freq=False)
        parts = {
            name: set(frame[name].astype(str)) for name in ("dataset", "exchange", "symbol", "timeframe", "source")
        }
        assert parts == {
            "dataset": {"ohlcv"},
            "exchange": {shelf.listing.exchange},
            "symbol": {"BTC/USDT"},
            "timeframe": {"6h"},
            "source": {"exchange"},
        }


def test_trades_lie_in_a_file_a_day(shelf: Shelf, tmp_path: Path):
    times = [at(hours=-1), at(hours=1), at(hours=1), at(hours=30)]
    series = shelf.trades(made_trades(times), [(at(hours=-2), at(hours=31))])
    shelf.export(series, tmp_path)
    folder = f"dataset=trade/exchange={shelf.listing.exchange}/symbol=BTC%2FUSDT"
    assert names_below(tmp_path) == [f"{folder}/{day}.parquet" for day in ("2024-12-31", "2025-01-01", "2025-01-02")]
    frame = pd.read_parquet(tmp_path / folder / "2025-01-01.parquet")
    assert list(frame) == ["time", "trade_id", "price", "amount", "side", "source"]
    assert frame["trade_id"].tolist() == [2, 3]


def test_a_day_without_a_trade_has_a_file_that_says_so(shelf: Shelf, tmp_path: Path):
    series = shelf.trades(made_trades([at(hours=1)]), [(at(), at(days=2))])
    empty = shelf.export(series, tmp_path).files[1]
    assert (empty.path.name, empty.rows) == ("2025-01-02.parquet", 0)
    assert label_of(empty.path).covered == ((at(days=1), at(days=2)),)


def test_a_month_of_which_nothing_was_fetched_has_no_file(shelf: Shelf, tmp_path: Path):
    series = shelf.candles([at(), at(days=70)], [(at(), at(minutes=1)), (at(days=70), at(days=70, minutes=1))])
    done = shelf.export(series, tmp_path)
    assert [one.path.name for one in done.files] == ["2025-01.parquet", "2025-03.parquet"]
    assert done.gaps == [(at(minutes=1), at(days=70))]


def test_the_label_tells_what_is_covered_and_what_is_not(shelf: Shelf, tmp_path: Path):
    covered = ((at(), at(minutes=4)), (at(minutes=6), at(minutes=9)))
    series = shelf.candles([at(), at(minutes=2), at(minutes=6)], covered)
    path = shelf.export(series, tmp_path / "one.parquet", is_file=True).files[0].path
    label = label_of(path)
    assert (label.listing, label.dataset, label.timeframe) == (shelf.listing, "ohlcv", timeframe("1m"))
    assert (label.start, label.end, label.covered, label.substituted) == (at(), at(minutes=9), covered, ())
    assert label.gaps == [(at(minutes=4), at(minutes=6))]


def test_a_window_takes_whole_candles_alone(shelf: Shelf, tmp_path: Path):
    series = shelf.candles(every(MINUTE, at(), at(minutes=10)), [(at(), at(minutes=10))])
    window = (at(minutes=2, seconds=30), at(minutes=6, seconds=30))
    done = shelf.export(series, tmp_path / "one.csv", "csv", window, is_file=True)
    assert (done.rows, done.span) == (3, (at(minutes=3), at(minutes=6)))


def test_csv_is_plain_text(shelf: Shelf, tmp_path: Path):
    series = shelf.trades(
        made_trades([at(milliseconds=5), at(microseconds=250_123)], ids=['a,"b"', "7"], seed=1), [(at(), at(seconds=1))]
    )
    path = shelf.export(series, tmp_path / "trades.csv", "csv", is_file=True).files[0].path
    batch = made_trades([at(), at()], seed=1)
    sides = ["unknown", "buy", "sell"]
    assert path.read_text().splitlines() == [
        "time,trade_id,price,amount,side,source",
        f'2025-01-01T00:00:00.005000+00:00,"a,""b""",{batch.price[0]},{batch.amount[0]},{sides[batch.side[0]]},exchange',
        f"2025-01-01T00:00:00.250123+00:00,7,{batch.price[1]},{batch.amount[1]},{sides[batch.side[1]]},exchange",
    ]


def test_feather_has_the_names_and_columns_of_freqtrade(make_shelf: Callable[..., Shelf], tmp_path: Path):
    spot, swap = make_shelf(), make_shelf(symbol="BTC/USDT:USDT", kind="swap")
    opens = every(timedelta(days=1), at(), at(days=59))
    for one in (spot, swap):
        shelf_series = one.candles(opens, [(at(), at(days=59))], timeframe="1d")
        one.export(shelf_series, tmp_path, "feather")
        one.export(one.trades(made_trades([at()]), [(at(), at(seconds=1))]), tmp_path, "feather")
    months = spot.candles([at()], [(at(), at(days=31))], timeframe="1M")
    spot.export(months, tmp_path, "feather")
    assert names_below(tmp_path) == sorted(
        [
            f"{spot.listing.exchange}/BTC_USDT-1Mo.feather",
            f"{spot.listing.exchange}/BTC_USDT-1d.feather",
            f"{spot.listing.exchange}/BTC_USDT-trades.feather",
            f"{swap.listing.exchange}/futures/BTC_USDT_USDT-1d-futures.feather",
            f"{swap.listing.exchange}/futures/BTC_USDT_USDT-trades.feather",
        ]
    )
    frame = pd.read_feather(tmp_path / spot.listing.exchange / "BTC_USDT-1d.feather")
    assert list(frame) == ["date", "open", "high", "low", "close", "volume"]
    assert str(frame["date"].dtype) == "datetime64[ms, UTC]"
    assert frame["date"].tolist() == opens
    np.testing.assert_array_equal(frame["volume"], made_candles(opens).volume)


def test_trades_in_feather_have_the_columns_of_freqtrade(shelf: Shelf, tmp_path: Path):
    batch = made_trades([at(seconds=number) for number in range(6)], seed=4)
    series = shelf.trades(batch, [(at(), at(minutes=1))])
    path = shelf.export(series, tmp_path, "feather").files[0].path
    frame = pd.read_feather(path)
    assert list(frame) == ["timestamp", "id", "type", "side", "price", "amount", "cost"]
    assert frame["timestamp"].tolist() == [1_735_689_600_000 + 1000 * number for number in range(6)]
    assert frame["id"].tolist() == ["1", "2", "3", "4", "5", "6"]
    words = {1: "buy", -1: "sell", 0: None}
    assert [None if pd.isna(side) else side for side in frame["side"]] == [words[int(side)] for side in batch.side]
    np.testing.assert_array_equal(frame["cost"], batch.price * batch.amount)


def test_rows_that_are_not_the_exchanges_own_are_named(shelf: Shelf, connection: Connection, tmp_path: Path):
    series = shelf.candles([at()], [(at(), at(minutes=1))])
    substituted = [(at(minutes=1), at(minutes=3))]
    opens = every(MINUTE, *substituted[0])
    write_candles(
        connection, series, made_candles(opens), asked=substituted, covered=substituted, substituted_from="trades"
    )
    path = shelf.export(series, tmp_path).files[0].path
    assert pd.read_parquet(path)["source"].tolist() == ["exchange", "trades", "trades"]
    assert label_of(path).substituted == (Substitute(at(minutes=1), at(minutes=3), "trades"),)


def test_what_the_sandbox_made_up_is_named_in_every_row(
    make_shelf: Callable[..., Shelf], connection: Connection, tmp_path: Path
):
    shelf = make_shelf(from_sandbox=True)
    series = shelf.candles([at(), at(minutes=1)], [(at(), at(minutes=2))])
    built = [(at(minutes=2), at(minutes=3))]
    write_candles(
        connection, series, made_candles([built[0][0]]), asked=built, covered=built, substituted_from="trades"
    )
    path = shelf.export(series, tmp_path / "one.csv", "csv", is_file=True).files[0].path
    assert pd.read_csv(path)["source"].tolist() == ["sandbox"] * 3
    assert json.loads(path.with_name("one.csv.json").read_text())["from_sandbox"] is True


@pytest.mark.parametrize("form", FORMS)
def test_the_same_export_again_writes_nothing(shelf: Shelf, tmp_path: Path, form: Format):
    series = shelf.candles(every(timedelta(hours=1), at(), at(days=40)), [(at(), at(days=40))], timeframe="1h")
    first = shelf.export(series, tmp_path, form)
    inodes = [one.path.stat().st_ino for one in first.files]
    again = shelf.export(series, tmp_path, form)
    assert [one.status for one in again.files] == ["unchanged"] * len(first.files)
    assert [(one.path, one.rows) for one in again.files] == [(one.path, one.rows) for one in first.files]
    assert [one.path.stat().st_ino for one in again.files] == inodes


def test_new_candles_write_their_month_anew_and_no_other(shelf: Shelf, tmp_path: Path):
    series = shelf.candles([at(), at(days=31)], [(at(), at(days=31, minutes=1))])
    shelf.export(series, tmp_path)
    shelf.candles([at(days=31, minutes=1)], [(at(days=31, minutes=1), at(days=31, minutes=2))])
    again = shelf.export(series, tmp_path)
    assert [(one.status, one.rows) for one in again.files] == [("unchanged", 1), ("written", 2)]


def test_a_corrected_candle_is_in_the_next_export(shelf: Shelf, tmp_path: Path):
    series = shelf.candles([at()], [(at(), at(minutes=1))])
    shelf.export(series, tmp_path)
    shelf.candles([at()], [(at(), at(minutes=1))], seed=9)
    again = shelf.export(series, tmp_path)
    assert pd.read_parquet(again.files[0].path)["open"].tolist() == made_candles([at()], seed=9).open.tolist()


def test_a_narrower_export_keeps_the_rest_of_a_month(shelf: Shelf, tmp_path: Path):
    series = shelf.candles(every(timedelta(hours=1), at(), at(days=3)), [(at(), at(days=3))], timeframe="1h")
    shelf.export(series, tmp_path, asked=(at(), at(days=2)))
    done = shelf.export(series, tmp_path, asked=(at(days=1), at(days=3)))
    assert (done.files[0].status, done.rows, done.span) == ("written", 72, (at(), at(days=3)))


def test_what_retention_dropped_stays_in_the_file(shelf: Shelf, connection: Connection, tmp_path: Path):
    # Dropped by hand in a transaction that is rolled back: retention concerns all series of the database.
    series = shelf.candles(every(MINUTE, at(), at(hours=2)), [(at(), at(hours=2))])
    before = shelf.export(series, tmp_path)
    connection.execute("delete from retention")
    connection.execute(
        "insert into retention (dataset, timeframe_s, dropped_before) values ('ohlcv', 60, %s)", [at(hours=1)]
    )
    try:
        after = shelf.export(series, tmp_path)
    finally:
        connection.execute("delete from retention")
    assert (after.rows, after.dropped_before, after.files[0].lost) == (120, at(hours=1), ((at(), at(hours=1)),))
    assert after.files[0].path == before.files[0].path


def test_what_was_deleted_stays_in_the_files_and_is_told(shelf: Shelf, connection: Connection, tmp_path: Path):
    opens = every(timedelta(hours=6), at(), at(days=70))
    series = shelf.candles(opens, [(at(), at(days=70))], timeframe="6h")
    before = content_of(shelf.export(series, tmp_path))
    # The end of January, all of February, the beginning of March.
    delete_rows(connection, series, at(days=20), at(days=62))
    assert_same_rows(before, after := shelf.export(series, tmp_path))
    assert [(one.path.stem, one.status, one.lost) for one in after.files] == [
        ("2025-01", "written", ((at(days=20), at(days=31)),)),
        ("2025-02", "kept", ((at(days=31), at(days=59)),)),
        ("2025-03", "written", ((at(days=59), at(days=62)),)),
    ]
    assert after.covered == [(at(), at(days=70))]
    assert {one.status for one in shelf.export(series, tmp_path).files} == {"unchanged", "kept"}
    # What comes anew takes the place of what was lost, and what is new is added.
    shelf.candles(opens[84:88], [(at(days=21), at(days=22))], timeframe="6h", seed=9)
    shelf.candles([at(days=70)], [(at(days=70), at(days=70, hours=6))], timeframe="6h", seed=5)
    again = content_of(shelf.export(series, tmp_path))
    assert again["close"].tolist()[84:88] == made_candles(opens[84:88], seed=9).close.tolist()
    assert_same_rows(before.drop(before.index[84:88]), again.drop(again.index[84:88]).iloc[:-1])
    assert len(again) == len(before) + 1
    delete_rows(connection, series)
    january = shelf.export(series, tmp_path, asked=(at(), at(days=31)))
    assert [(one.path.stem, one.status, one.rows) for one in january.files] == [("2025-01", "kept", 124)]


@pytest.mark.parametrize("has_texts", [False, True])
def test_trades_that_were_deleted_stay_in_the_file(
    shelf: Shelf, connection: Connection, tmp_path: Path, has_texts: bool
):
    times = every(timedelta(seconds=7, microseconds=3), at(), at(hours=1))
    batch = made_trades(times, ids=[f"{number}-é" for number in range(len(times))] if has_texts else None)
    series = shelf.trades(batch, [(at(), at(hours=1))])
    before = content_of(shelf.export(series, tmp_path))
    delete_rows(connection, series, at(minutes=10), at(minutes=20))
    assert_same_rows(before, shelf.export(series, tmp_path))
    assert set(before["side"]) == {"buy", "sell", "unknown"}


def test_a_source_stays_with_the_rows_that_stay_in_the_file(shelf: Shelf, connection: Connection, tmp_path: Path):
    series = shelf.candles(every(MINUTE, at(), at(hours=1)), [(at(), at(hours=1))])
    connection.execute(
        "insert into substitute values (%s, tstzrange(%s, %s), 'trades')",
        (series.series_id, at(minutes=10), at(minutes=30)),
    )
    before = content_of(shelf.export(series, tmp_path))
    delete_rows(connection, series, at(minutes=20), at(minutes=40))
    assert_same_rows(before, after := shelf.export(series, tmp_path))
    assert (before["source"] == "trades").sum() == 20
    assert [(one.start, one.end) for one in after.files[0].label.substituted] == [
        (at(minutes=10), at(minutes=20)),
        (at(minutes=20), at(minutes=30)),
    ]


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_csv_whose_label_was_not_named_yet_is_known_again(shelf: Shelf, tmp_path: Path, is_replaced: bool):
    # As an export leaves them that is killed after the first of its two files has its name.
    series = shelf.candles([at()], [(at(), at(minutes=1))])
    path = shelf.export(series, tmp_path, "csv").files[0].path
    beside = path.with_name(f"{path.name}.json")
    old = beside.read_bytes()
    shelf.candles([at(minutes=1)], [(at(minutes=1), at(minutes=2))])
    shelf.export(series, tmp_path, "csv")
    beside.rename(path.with_name(f".{beside.name}.1.part"))
    path.with_name(f".{beside.name}.2.part").write_bytes(old[:99])
    if is_replaced:
        beside.write_bytes(old)
    assert [(one.status, one.rows) for one in shelf.export(series, tmp_path, "csv").files] == [("unchanged", 2)]
    assert json.loads(beside.read_text())["end"] == at(minutes=2).isoformat()


def test_a_broken_file_is_not_replaced(shelf: Shelf, tmp_path: Path):
    series = shelf.candles([at()], [(at(), at(minutes=1))])
    path = shelf.export(series, tmp_path).files[0].path
    # The metadata lies before the last eight bytes.
    path.write_bytes(path.read_bytes()[:-40] + b"\xff" * 32 + path.read_bytes()[-8:])
    with pytest.raises(InputError, match="was not exported by tapehouse"):
        shelf.export(series, tmp_path)


def test_trades_between_milliseconds_do_not_go_into_feather(shelf: Shelf, tmp_path: Path):
    series = shelf.trades(made_trades([at(microseconds=5), at(microseconds=900)]), [(at(), at(seconds=1))])
    with pytest.raises(InputError, match="between milliseconds"):
        shelf.export(series, tmp_path, "feather")
    assert not names_below(tmp_path)
    assert shelf.export(series, tmp_path, "csv").rows == 2


def test_ids_with_line_breaks_are_counted_once(shelf: Shelf, tmp_path: Path):
    series = shelf.trades(made_trades([at(), at(seconds=1)], ids=["a\nb", "c"]), [(at(), at(seconds=2))])
    assert [shelf.export(series, tmp_path, "csv").rows for _ in range(2)] == [2, 2]


def test_an_export_does_not_replace_what_it_did_not_write(shelf: Shelf, tmp_path: Path):
    series = shelf.candles([at()], [(at(), at(minutes=1))])
    path = shelf.export(series, tmp_path, "feather").files[0].path
    pd.DataFrame({"date": [1]}).to_feather(path)
    with pytest.raises(InputError, match="was not exported by tapehouse"):
        shelf.export(series, tmp_path, "feather")
    assert pd.read_feather(path)["date"].tolist() == [1]


@pytest.mark.parametrize("form", FORMS)
def test_one_file_replaces_nothing_but_its_own_series(shelf: Shelf, tmp_path: Path, form: Format):
    minutes = shelf.candles([at()], [(at(), at(minutes=1))])
    hours = shelf.candles([at()], [(at(), at(hours=1))], timeframe="1h")
    mine, notes = tmp_path / f"mine.{form}", tmp_path / f"notes.{form}"
    notes.write_text("mine")
    for _ in range(2):
        shelf.export(minutes, mine, form, is_file=True)
    with pytest.raises(InputError, match=r"BTC/USDT 1m and not exchange-\w+ BTC/USDT 1h: name another file"):
        shelf.export(hours, mine, form, is_file=True)
    with pytest.raises(InputError, match="was not exported by tapehouse"):
        shelf.export(minutes, notes, form, is_file=True)
    assert notes.read_text() == "mine"


def test_a_file_that_knows_more_is_of_this_store_and_unit_or_refused(
    shelf: Shelf, connection: Connection, tmp_path: Path
):
    series = shelf.candles(every(MINUTE, at(), at(hours=2)), [(at(), at(hours=2))])
    path = shelf.export(series, tmp_path).files[0].path
    written = path.read_bytes()
    delete_rows(connection, series, at(), at(hours=1))
    for change in (
        "amount_unit = 'contract'",
        "amount_unit = 'base', first_seen_at = first_seen_at - interval '1 day'",
    ):
        connection.execute(
            SQL("update instrument set {} where exchange = %s").format(SQL(change)),  # pyright: ignore[reportArgumentType] -- written above
            [shelf.listing.exchange],
        )
        with pytest.raises(InputError, match="another one or counts amounts in other units"):
            shelf.export(series, tmp_path)
    assert path.read_bytes() == written


def test_ids_that_became_texts_join_former_numbers(shelf: Shelf, connection: Connection, tmp_path: Path):
    series = shelf.trades(made_trades(every(MINUTE, at(), at(hours=1))), [(at(), at(hours=1))])
    shelf.export(series, tmp_path)
    shelf.trades(made_trades([at(minutes=59, seconds=30)], ids=["x1"]), [(at(minutes=59, seconds=30), at(hours=1))])
    delete_rows(connection, series, at(minutes=10), at(minutes=20))
    ids = content_of(shelf.export(series, tmp_path))["trade_id"].tolist()
    assert ids == [*(str(number) for number in range(1, 61)), "x1"]


@pytest.mark.parametrize("form", ["parquet", "feather"])
def test_a_part_of_a_file_has_no_label(shelf: Shelf, tmp_path: Path, form: Format):
    series = shelf.candles(every(MINUTE, at(), at(hours=1)), [(at(), at(hours=1))])
    path = shelf.export(series, tmp_path, form).files[0].path
    assert label_in(form, path) is not None
    whole = parquet.read_table(path, partitioning=None) if form == "parquet" else feather.read_table(path)
    if form == "parquet":
        parquet.write_table(whole.slice(0, 40), path)
    else:
        feather.write_feather(whole.slice(0, 40), str(path))
    assert label_in(form, path) is None
    assert open_table(path).label is None


def test_two_symbols_of_one_file_name_are_told_apart(
    make_shelf: Callable[..., Shelf], connection: Connection, reader: Reader, tmp_path: Path
):
    one = make_shelf(symbol="A.B/USDT")
    other = put_on_shelf(connection, reader, made_listing(one.listing.exchange, symbol="A_B/USDT"))
    one.export(one.candles([at()], [(at(), at(minutes=1))]), tmp_path, "feather")
    with pytest.raises(InputError, match=r"holds exchange-\w+ A\.B/USDT"):
        other.export(other.candles([at()], [(at(), at(minutes=1))]), tmp_path, "feather")


@pytest.mark.parametrize("form", FORMS)
def test_where_nothing_can_be_written_there_is_nothing_left(shelf: Shelf, tmp_path: Path, form: Format):
    series = shelf.candles(every(MINUTE, at(), at(minutes=9)), [(at(), at(minutes=9))])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Can't write"):
        shelf.export(series, tmp_path / "file" / f"one.{form}", form, is_file=True)
    # The name is taken by a folder, which shows only when the file is complete.
    (tmp_path / f"folder.{form}").mkdir()
    with pytest.raises(InputError, match="Can't write"):
        shelf.export(series, tmp_path / f"folder.{form}", form, is_file=True)
    assert names_below(tmp_path) == ["file"]


def test_a_series_of_which_nothing_was_fetched_gives_no_file(shelf: Shelf, tmp_path: Path):
    series = shelf.candles([at()], [(at(), at(minutes=1))])
    done = shelf.export(series, tmp_path, asked=(at(days=1), at(days=2)))
    assert (done.files, done.rows, done.span, done.gaps) == ((), 0, None, [])
    assert not names_below(tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_many_rows_are_exported_in_pieces_without_a_seam(shelf: Shelf, tmp_path: Path, form: Format):
    count = 230_000
    times = every(timedelta(milliseconds=100), at(), at(seconds=count / 10))
    series = shelf.trades(made_trades(times), [(at(), at(days=1))])
    path = shelf.export(series, tmp_path / f"many.{form}", form, is_file=True).files[0].path
    if form == "csv":
        ids = pd.read_csv(path)["trade_id"]
    else:
        ids = pd.read_parquet(path)["trade_id"] if form == "parquet" else pd.read_feather(path)["id"].astype("int64")
    np.testing.assert_array_equal(ids, np.arange(1, count + 1))
