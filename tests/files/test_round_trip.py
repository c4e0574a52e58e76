"""What is exported and imported again into a store that never had it is there as it was: rows, scale and coverage."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tapehouse.errors import InputError, MixedOrigins, TapehouseError
from tapehouse.files.formats import Format
from tapehouse.files.found import find_data_files
from tapehouse.files.understanding import Options, understand
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import sync_listings
from tests.files.exported import Shelf, every, made_candles, made_listing, made_trades
from tests.files.importing import import_path

FORMS: list[Format] = ["parquet", "feather", "csv"]
MINUTE = timedelta(minutes=1)
NEW_YEAR = datetime(2025, 1, 1, tzinfo=UTC)


def at(**delta: float) -> datetime:
    return NEW_YEAR + timedelta(**delta)


def import_all(connection: Connection, folder: Path) -> None:
    for path in find_data_files(folder):
        import_path(connection, path)


def assert_comes_back(shelf: Shelf, folder: Path) -> None:
    before = shelf.known()
    shelf.forget()
    import_all(shelf.connection, folder)
    assert shelf.known() == before


@pytest.mark.parametrize("form", FORMS)
def test_candles_with_quiet_minutes_and_gaps(shelf: Shelf, tmp_path: Path, form: Format):
    opens = [one for one in every(MINUTE, at(days=-1), at(days=1)) if one.minute % 7]
    covered = [(at(days=-1, hours=-2), at(hours=-3)), (at(hours=-1), at(days=1, minutes=30))]
    kept = [one for one in opens if any(start <= one < end for start, end in covered)]
    shelf.export(shelf.candles(kept, covered), tmp_path, form)
    assert_comes_back(shelf, tmp_path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("timeframe", "opens"), [("1w", [at(days=-9), at(days=-2), at(days=5)]), ("1M", [at(), at(days=31)])]
)
def test_candles_of_weeks_and_months(
    shelf: Shelf, tmp_path: Path, form: Format, timeframe: str, opens: Sequence[datetime]
):
    ends = {"1w": at(days=12), "1M": at(days=59)}
    shelf.export(shelf.candles(opens, [(opens[0], ends[timeframe])], timeframe=timeframe), tmp_path, form)
    assert_comes_back(shelf, tmp_path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["spot", "swap"])
def test_trades_at_equal_times_and_days_without_any(
    make_shelf: Callable[..., Shelf], tmp_path: Path, form: Format, kind: str
):
    shelf = make_shelf(kind=kind, symbol="BTC/USDT" if kind == "spot" else "BTC/USDT:USDT")
    times = sorted([at(milliseconds=17 * (number // 3)) for number in range(300)] + [at(days=3)] * 5)
    covered = [(at(hours=-5), at(days=1, hours=7)), (at(days=2), at(days=4, hours=1, milliseconds=1))]
    shelf.export(shelf.trades(made_trades(times), covered), tmp_path, form)
    assert_comes_back(shelf, tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_trades_whose_ids_are_texts(shelf: Shelf, tmp_path: Path, form: Format):
    ids = ["0012", 'say "so", 1', "ünï", 44, "9223372036854775808", "x" * 40]
    batch = made_trades([at(seconds=number) for number in range(len(ids))], ids=ids)
    shelf.export(shelf.trades(batch, [(at(), at(minutes=1))]), tmp_path, form)
    assert_comes_back(shelf, tmp_path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("from_sandbox", [False, True])
def test_substitutes_stay_substitutes(
    make_shelf: Callable[..., Shelf], tmp_path: Path, form: Format, from_sandbox: bool
):
    shelf = make_shelf(from_sandbox=from_sandbox)
    series = shelf.candles([at(), at(minutes=5)], [(at(), at(minutes=1)), (at(minutes=5), at(minutes=6))])
    for first, source in ((1, "trades"), (3, "coinbaseexchange BTC/USDT")):
        ranges = [(at(minutes=first), at(minutes=first + 2))]
        batch = made_candles(every(MINUTE, *ranges[0]))
        write_candles(shelf.connection, series, batch, asked=ranges, covered=ranges, substituted_from=source)
    shelf.export(series, tmp_path, form)
    assert_comes_back(shelf, tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_everything_of_an_instrument_in_one_folder(shelf: Shelf, tmp_path: Path, form: Format):
    minutes = shelf.candles(every(MINUTE, at(), at(hours=2)), [(at(), at(hours=2))])
    hours = shelf.candles([at(), at(hours=1)], [(at(), at(hours=2))], timeframe="1h")
    trades = shelf.trades(made_trades([at(seconds=1)]), [(at(), at(hours=1))])
    for series in (minutes, hours, trades):
        shelf.export(series, tmp_path, form)
    assert_comes_back(shelf, tmp_path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--symbol", Options(symbol="ETH/USDT")),
        ("--exchange", Options(exchange="nowhere")),
        ("--amount-unit", Options(amount_unit="contract")),
    ],
)
def test_what_contradicts_a_label_is_refused_with_where_that_is(
    shelf: Shelf, tmp_path: Path, form: Format, option: str, told: Options
):
    shelf.export(shelf.candles([at()], [(at(), at(minutes=1))]), tmp_path, form)
    (path,) = find_data_files(tmp_path)
    where, remedy = "inside the file", "write the file anew without it"
    if form == "csv":
        where, remedy = f"{path.name}.json", f"remove {path.name}.json"
    with pytest.raises(InputError) as refused:
        understand(path, told, known_symbols=lambda _: [])
    assert str(refused.value).endswith(f"by its label, {where}: leave {option} out, or if that is wrong, {remedy}.")


@pytest.mark.parametrize("form", FORMS)
def test_what_the_sandbox_made_up_does_not_come_in_as_real(
    make_shelf: Callable[..., Shelf], connection: Connection, tmp_path: Path, form: Format
):
    invented = make_shelf(from_sandbox=True)
    invented.export(invented.candles([at()], [(at(), at(minutes=1))]), tmp_path, form)
    invented.forget()
    # The store knows the exchange itself by now.
    sync_listings(connection, invented.listing.exchange, [made_listing(invented.listing.exchange)])
    with pytest.raises(MixedOrigins):
        import_all(connection, tmp_path)


def test_a_bare_csv_of_the_sandbox_still_says_what_it_is(
    make_shelf: Callable[..., Shelf], connection: Connection, tmp_path: Path
):
    invented = make_shelf(from_sandbox=True)
    path = invented.export(invented.candles([at()], [(at(), at(minutes=1))]), tmp_path, "csv").files[0].path
    path.with_name(path.name + ".json").unlink()
    invented.forget()
    sync_listings(connection, invented.listing.exchange, [made_listing(invented.listing.exchange)])
    told = {"exchange": invented.listing.exchange, "symbol": "BTC/USDT", "timeframe": None}
    with pytest.raises(TapehouseError, match="sandbox"):
        import_path(connection, path, **told)
