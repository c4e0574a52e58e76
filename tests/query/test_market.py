import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tapehouse import MarketData
from tapehouse.config import DATA_DIR, DATABASE_URL
from tapehouse.errors import (
    InputError,
    NaiveDatetime,
    NotMigrated,
    ReversedRange,
    StoreRefused,
    StoreUnreachable,
    TapehouseError,
    UnknownSeries,
    UnknownSymbol,
    UnknownTimeframe,
)
from tapehouse.query.stored import read_coverage
from tapehouse.store.connection import connect, is_embedded
from tests.query.conftest import Tape, in_units, random_bars, random_books, random_trades

START = datetime(2024, 1, 1, tzinfo=UTC)
END = START + timedelta(hours=1)


def test_importing_the_package_loads_nothing_heavy():
    heavy = ("pandas", "numpy", "psycopg", "ccxt", "pandera", "prefect", "pyarrow")
    code = f"import sys, tapehouse; print([name for name in {heavy} if name in sys.modules])"
    assert loaded(code) == "[]"


def test_reading_needs_neither_ccxt_nor_pandera_nor_prefect():
    heavy = ("ccxt", "pandera", "prefect", "tapehouse.exchange", "tapehouse.validate", "tapehouse.ingest")
    code = f"import sys; from tapehouse import MarketData; print([name for name in {heavy} if name in sys.modules])"
    assert loaded(code) == "[]"


def loaded(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_package_has_nothing_but_what_it_names():
    import tapehouse

    with pytest.raises(AttributeError, match="no attribute 'MarketDate'"):
        tapehouse.MarketDate  # noqa: B018 # pyright: ignore[reportAttributeAccessIssue] -- looking it up is the test


@pytest.mark.parametrize(
    ("timeframe", "start", "end", "error", "message"),
    [
        ("1m", START.replace(tzinfo=None), END, NaiveDatetime, "2024-01-01T00:00:00 has no time zone"),
        ("1m", START, END.replace(tzinfo=None), NaiveDatetime, "2024-01-01T01:00:00 has no time zone"),
        ("1m", pd.Timestamp("2024-01-01"), END, NaiveDatetime, "has no time zone"),
        ("1m", END, START, ReversedRange, "swap them"),
        ("1m", START, START, ReversedRange, "starts and ends at 2024-01-01T00:00:00+00:00, so it is empty"),
        ("1m", START.replace(tzinfo=None), END, NaiveDatetime, "datetime.now(UTC)"),
        ("1m", pd.NaT, END, InputError, "NaT is no time"),
        ("1m", datetime.min.replace(tzinfo=UTC), END, InputError, "no time to reckon with"),
        ("1m", datetime.min.replace(tzinfo=timezone(timedelta(hours=9))), END, InputError, "no time to reckon with"),
        ("1m", datetime(2199, 1, 1, tzinfo=UTC), None, InputError, "has not come yet, it is 2"),
        (60, START, END, UnknownTimeframe, "60 is no timeframe: pass its name, 1m"),
        (timedelta(hours=1), START, END, UnknownTimeframe, "is no timeframe"),
        (None, START, END, UnknownTimeframe, "None is no timeframe"),
        (["1m"], START, END, UnknownTimeframe, "['1m'] is no timeframe"),
        ("7m", START, END, UnknownTimeframe, "does not tile a UTC day"),
        ("1x", START, END, UnknownTimeframe, "No timeframe '1x'"),
    ],
)
def test_questions_without_sense_are_refused(
    market: MarketData, timeframe: Any, start: Any, end: Any, error: type[TapehouseError], message: str
):
    with pytest.raises(error) as caught:
        market.candles("binance", "BTC/USDT", timeframe, start, end)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        *(
            1_795_395_600,
            1_795_395_600_000,
            np.int64(1_795_395_600_000_000),
            1_795_395_600_000_000_000,
            1_795_395_600.5,
        ),
        *("2024-01-01", "2024-01-01T12:00Z", "7d", "nat", date(2024, 1, 1), np.datetime64("2024-01-01T12:00")),
        *(None, float("nan"), 10**30, True, timedelta(days=7), [START]),
    ],
)
def test_what_is_advised_instead_of_no_time_works(market: MarketData, given: Any):
    with pytest.raises(InputError, match="is no datetime: pass ") as caught:
        market.candles("binance", "BTC/USDT", "1m", given, END)
    _, _, advised = str(caught.value).removesuffix(".").partition(": pass ")
    names = {"pd": pd, "datetime": datetime, "timedelta": timedelta, "UTC": UTC}
    moment = eval(advised.removeprefix("a time, as "), names)
    assert moment.tzinfo
    if isinstance(given, (int, float)) and 0 < given < 1e20 and given is not True:
        assert moment.year == 2026


@pytest.mark.parametrize("symbol", [None, ["BTC/USDT", "ETH/USDT"], 5])
def test_what_is_no_name_is_refused(market: MarketData, symbol: Any):
    selected: Any = symbol or 5
    for ask in (
        lambda: market.candles("binance", symbol, "1m", START, END),
        lambda: market.candles(symbol, "BTC/USDT", "1m", START, END),
        lambda: market.order_book("binance", symbol),
        lambda: market.get_inference_data(symbol, exchange="binance"),
        lambda: market.iter_inference_data(symbol, [START], exchange="binance"),
        lambda: market.coverage("binance", selected),
        lambda: market.gaps(selected),
        lambda: market.instruments(selected),
    ):
        with pytest.raises(InputError, match=r"is no (symbol|exchange): pass one by its name, as"):
            ask()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": 5}, "A int is no URL"),
        ({"hot_window": 300}, "300 is no hot window: pass a timedelta"),
        ({"hot_window": timedelta(days=-1)}, "no hot window"),
        ({"hot_window": timedelta.max}, "no hot window"),
        ({"cache_mb": -1}, "-1 is no size of a cache"),
        ({"cache_mb": "256"}, "'256' is no size of a cache"),
        ({"cache_mb": float("nan")}, "nan is no size of a cache"),
        ({"cache_mb": float("inf")}, "inf is no size of a cache"),
        ({"cache_mb": None}, "None is no size of a cache"),
    ],
)
def test_options_without_sense_are_refused_at_once(quiet_url: str, options: dict[str, Any], words: str):
    options = {"url": quiet_url, **options}
    with pytest.raises(InputError, match=words):
        MarketData.connect(**options)


def test_what_has_not_begun_is_refused_but_for_clocks_that_differ(market: MarketData, tape: Tape):
    tape.write(random_bars(START, 5))
    tape.write_trades(random_trades(START, 5, span=timedelta(minutes=1)), (START, END))
    tape.write_books(random_books([START]), (START, END))
    nouns = [market.trades, market.order_book, market.order_books, market.order_book_features, market.imbalances]
    ahead = datetime.now(UTC)
    for noun in nouns:
        with pytest.raises(InputError, match="has not come yet"):
            noun(tape.exchange, tape.symbol, ahead + timedelta(minutes=2))
        noun(tape.exchange, tape.symbol, ahead + timedelta(seconds=30))
    assert market.candles(tape.exchange, tape.symbol, "1m", ahead + timedelta(seconds=30)).empty


@pytest.mark.parametrize("noun", ["trades", "order_books", "order_book_features", "imbalances"])
def test_questions_about_all_nouns_are_checked_alike(market: MarketData, tape: Tape, noun: str):
    read = getattr(market, noun)
    with pytest.raises(NaiveDatetime, match="has no time zone"):
        read(tape.exchange, tape.symbol, START.replace(tzinfo=None), END)
    with pytest.raises(ReversedRange, match="swap them"):
        read(tape.exchange, tape.symbol, END, START)
    with pytest.raises(UnknownSymbol, match="did you mean BTC/USDT"):
        read(tape.exchange, "BTC/USD", START, END)


def test_a_question_about_a_moment_is_checked_alike(market: MarketData, tape: Tape):
    with pytest.raises(NaiveDatetime, match="has no time zone"):
        market.order_book(tape.exchange, tape.symbol, START.replace(tzinfo=None))
    with pytest.raises(UnknownSymbol, match="did you mean BTC/USDT"):
        market.order_book(tape.exchange, "BTC/USD")


def test_an_unknown_symbol_names_those_that_are_close(market: MarketData, make_tape: Callable[..., Tape]):
    tape = make_tape("BTC/USDT")
    make_tape("ETH/USDT", exchange=tape.exchange)
    with pytest.raises(UnknownSymbol, match=f"{tape.exchange} has no BTC/USD: did you mean BTC/USDT"):
        market.candles(tape.exchange, "BTC/USD", "1m", START, END)


def test_an_unknown_exchange_names_those_that_are_close_and_how_to_begin(
    market: MarketData, make_tape: Callable[..., Tape]
):
    exchange = make_tape(exchange=f"{uuid4().hex}").exchange
    begin = "run `tapehouse ingest ohlcv --exchange nowhere --symbol ETH/USDT --timeframe 1m --since 7d`."
    with pytest.raises(UnknownSymbol) as caught:
        market.candles("nowhere", "ETH/USDT", "1m", START, END)
    assert str(caught.value) == f"No instruments of nowhere are stored: {begin}"
    for ask in (
        lambda: market.get_inference_data("ETH/USDT", exchange=exchange.upper()),
        lambda: market.coverage(exchange.upper()),
        lambda: market.gaps(exchange.upper(), "ETH/USDT"),
        lambda: market.instruments(exchange.upper()),
    ):
        with pytest.raises(UnknownSymbol, match=f"did you mean {exchange}. If not, run `tapehouse ingest ohlcv"):
            ask()


def test_an_unknown_symbol_is_no_symbol_without_series(market: MarketData, tape: Tape):
    for ask in (market.coverage, market.gaps):
        assert ask(tape.exchange, "BTC/USDT").empty
        with pytest.raises(UnknownSymbol, match=f"{tape.exchange} has no BTC/USD: did you mean BTC/USDT"):
            ask(tape.exchange, "BTC/USD")
        with pytest.raises(UnknownSymbol, match=r"There is no BTC/USDD: did you mean .*BTC/USDT"):
            ask(symbol="BTC/USDD")


def test_what_can_have_no_gaps_is_named(market: MarketData, tape: Tape):
    tape.write_trades(random_trades(START, 5, span=timedelta(minutes=1)), (START, START + timedelta(minutes=1)))
    with pytest.raises(InputError, match='\'trades\' is no dataset that has gaps: pass "ohlcv" or "trade"'):
        market.gaps(tape.exchange, dataset="trades")  # pyright: ignore[reportArgumentType] -- that is the point
    with pytest.raises(InputError, match="Trades have no timeframe"):
        market.gaps(tape.exchange, dataset="trade", timeframe="1m")
    assert set(market.gaps(tape.exchange, dataset="trade", end=END, start=START)["dataset"]) == {"trade"}


def test_tables_go_into_other_libraries(market: MarketData, tape: Tape):
    tape.write(random_bars(START, 5))
    for found in (
        market.coverage(tape.exchange),
        market.instruments(tape.exchange),
        market.gaps(tape.exchange, start=START, end=END),
    ):
        assert len(found) == 1
        assert found.to_arrow().column_names == list(found.columns)
        assert found.to_polars().columns == list(found.columns)
        assert found.to_polars()["exchange"].to_list() == [tape.exchange]


def test_a_series_of_which_nothing_was_ever_fetched_gives_nothing(market: MarketData, tape: Tape):
    tape.series_id("30s")
    with pytest.raises(UnknownSeries, match="has no candles stored: run"):
        market.candles(tape.exchange, tape.symbol, "30s", START, END)
    assert market.coverage(tape.exchange).empty


def test_candles_that_trades_can_give_are_said_to_be_so(market: MarketData, tape: Tape):
    tape.write_trades(random_trades(START, 5, span=timedelta(minutes=1)), (START, END))
    with pytest.raises(UnknownSeries, match='pass source="trades" to build them from its trades, or run'):
        market.candles(tape.exchange, tape.symbol, "30s", START, END)
    assert len(market.candles(tape.exchange, tape.symbol, "30s", START, END, source="trades"))


@pytest.mark.parametrize(
    ("stored", "asked", "says"),
    [
        ((), "1m", "has no candles stored: run"),
        (("1h", "1d"), "5m", "has only 1h, 1d candles stored, which can't give 5m"),
        (("1m",), "30s", "has only 1m candles stored, which can't give 30s"),
    ],
)
def test_a_series_that_nothing_stored_can_give_is_named(
    market: MarketData, tape: Tape, stored: tuple[str, ...], asked: str, says: str
):
    for name in stored:
        tape.cover(START, START + timedelta(days=1), name)
    with pytest.raises(UnknownSeries) as caught:
        market.candles(tape.exchange, tape.symbol, asked, START, END)
    assert says in str(caught.value)
    command = f"tapehouse ingest ohlcv --exchange {tape.exchange} --symbol BTC/USDT --timeframe {asked} --since 7d"
    assert command in str(caught.value)


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("postgresql://127.0.0.1:1/tapehouse", StoreUnreachable, "No database answers at 127.0.0.1:1/tapehouse"),
        ("no url", StoreUnreachable, "no PostgreSQL URL"),
    ],
)
def test_a_wrong_address_fails_at_once(url: str, error: type[TapehouseError], message: str):
    with pytest.raises(error, match=message):
        MarketData.connect(url)


def test_a_wrong_password_fails_at_once(quiet_url: str):
    with pytest.raises(StoreRefused, match="refused the connection"):
        MarketData.connect(make_conninfo(quiet_url, password="wrong"))


def test_without_a_url_the_environment_names_the_database(monkeypatch: pytest.MonkeyPatch, quiet_url: str, tape: Tape):
    tape.write(random_bars(START, 3))
    monkeypatch.setenv(DATABASE_URL, quiet_url)
    with MarketData.connect() as market:
        assert len(market.candles(tape.exchange, tape.symbol, "1m", START, END)) == 3


def test_without_any_database_one_is_told_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv(DATABASE_URL, raising=False)
    monkeypatch.setenv(DATA_DIR, str(tmp_path / "data"))
    with pytest.raises(StoreUnreachable, match="Start one with `tapehouse db up`"):
        MarketData.connect()


def test_a_closed_market_says_so(quiet_url: str):
    market = MarketData.connect(quiet_url)
    market.close()
    with pytest.raises(StoreUnreachable, match="This MarketData is closed"):
        market.instruments()


def test_threads_share_one_market(market: MarketData, make_tape: Callable[..., Tape]):
    tapes = [make_tape() for _ in range(12)]
    bars = [random_bars(START, 200, seed=number) for number in range(12)]
    for tape, some in zip(tapes, bars, strict=True):
        tape.write(some)

    def read(number: int) -> pd.DataFrame:
        tape = tapes[number % 12]
        return market.candles(tape.exchange, tape.symbol, "1m", START, START + timedelta(hours=4))

    with ThreadPoolExecutor(12) as threads:
        for number, found in enumerate(threads.map(read, range(60))):
            pd.testing.assert_frame_equal(found, in_units(bars[number % 12]), check_freq=False)


def test_a_reader_survives_the_loss_of_its_connections(market: MarketData, tape: Tape):
    if is_embedded(tape.connection):
        pytest.skip("needs a native server: the embedded one has a single session, which can't be ended alone")
    tape.write(random_bars(START, 3))
    assert len(market.candles(tape.exchange, tape.symbol, "1m", START, END)) == 3
    tape.connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where application_name = 'tapehouse' and datname = current_database() and pid <> pg_backend_pid()"
    )
    assert len(market.candles(tape.exchange, tape.symbol, "1m", START, END)) == 3


def test_an_answer_is_one_snapshot_while_the_scale_widens(market: MarketData, tape: Tape, quiet_url: str):
    bars = random_bars(START, 500)
    tape.write(bars)
    expected = in_units(bars)
    done = threading.Event()

    def widen_and_back() -> None:
        with connect(quiet_url) as connection:
            while not done.is_set():
                for decimals, factor in ((4, 100.0), (2, 0.01)):
                    with connection.transaction():
                        connection.execute(
                            "update instrument set price_decimals = %s where instrument_id = %s",
                            (decimals, tape.instrument_id),
                        )
                        connection.execute(
                            "update ohlcv set open = round(open * %(factor)s), high = round(high * %(factor)s), "
                            "low = round(low * %(factor)s), close = round(close * %(factor)s) "
                            "where instrument_id = %(instrument_id)s",
                            {"factor": factor, "instrument_id": tape.instrument_id},
                        )

    writer = threading.Thread(target=widen_and_back)
    writer.start()
    try:
        for _ in range(40):
            found = market.candles(tape.exchange, tape.symbol, "1m", START, START + timedelta(days=1))
            pd.testing.assert_frame_equal(found, expected, check_freq=False)
    finally:
        done.set()
        writer.join()


def test_readers_cannot_write(market: MarketData):
    with pytest.raises(TapehouseError, match="read-only transaction"):
        market._reader.read(lambda connection: connection.execute("delete from quarantine"))  # pyright: ignore[reportPrivateUsage] -- nothing public writes


def test_a_database_without_tables_says_so(quiet_url: str):
    with (
        MarketData.connect(make_conninfo(quiet_url, options="-c search_path=pg_catalog")) as market,
        pytest.raises(NotMigrated, match="`tapehouse db migrate`"),
    ):
        market.instruments()


def test_coverage_counts_what_is_stored_of_each_series(market: MarketData, make_tape: Callable[..., Tape]):
    tape = make_tape("BTC/USDT")
    bars = random_bars(START, 60)
    tape.write(bars.drop(bars.index[[5, 6]]))
    tape.cover(START + timedelta(hours=2), START + timedelta(hours=3))
    tape.write(random_bars(START, 2, step=timedelta(hours=1)), "1h")
    never_fetched = make_tape("ETH/USDT", exchange=tape.exchange)
    never_fetched.series_id("1m")
    never_fetched.want(START, START + timedelta(hours=1))
    never_fetched.series_id("1h")
    tape.connection.execute("call count_stored_rows()")
    found = market.coverage(tape.exchange)
    columns = ["symbol", "timeframe", "covered", "rows", "empty", "gaps", "rejected", "revision", "amount_unit"]
    assert found[columns].to_numpy().tolist() == [
        ["BTC/USDT", "1m", 120, 58, 62, 1, 0, 0, "base"],
        ["BTC/USDT", "1h", 2, 2, 0, 0, 0, 0, "base"],
        ["ETH/USDT", "1m", 0, 0, 0, 1, 0, 0, "base"],
    ]
    assert found.loc[0, "start"] == START
    assert found.loc[0, "end"] == START + timedelta(hours=3)
    assert found["dropped_before"].isna().all()
    assert market.coverage(tape.exchange, "ETH/USDT")["symbol"].tolist() == ["ETH/USDT"]


def test_coverage_counts_trades_and_order_books_by_the_second(market: MarketData, tape: Tape):
    tape.connection.execute(
        "update instrument set trade_unit = 'contract' where instrument_id = %s", (tape.instrument_id,)
    )
    tape.write(random_bars(START, 2))
    window = (START, START + timedelta(seconds=90))
    tape.write_books(random_books([START, START + timedelta(seconds=1)]), window)
    late = (END, END + timedelta(milliseconds=1500))
    tape.write_trades(random_trades(START, 500, span=timedelta(seconds=90)), window, late)
    tape.connection.execute("call count_stored_rows()")
    found = market.coverage(tape.exchange)
    columns = ["dataset", "timeframe", "covered", "rows", "empty", "gaps", "rejected", "revision", "amount_unit"]
    assert found[columns].to_numpy().tolist() == [
        ["ohlcv", "1m", 2, 2, 0, 0, 0, 0, "base"],
        ["trade", "", 92, 500, 0, 1, 0, 0, "contract"],
        ["order_book", "", 90, 2, 0, 0, 0, 0, "contract"],
    ]
    assert found["end"].tolist() == [START + timedelta(minutes=2), late[1], window[1]]


def test_coverage_counts_from_where_retention_has_been(market: MarketData, tape: Tape):
    tape.cover_all(
        [(START, START + timedelta(days=40)), (START + timedelta(days=50), START + timedelta(days=90))], "1M"
    )
    tape.cover_all(
        [(START, START + timedelta(hours=8)), (START + timedelta(hours=10), START + timedelta(hours=24))], "4h"
    )
    months = market.coverage(tape.exchange).set_index("timeframe")["covered"]
    with tape.connection.transaction() as transaction:
        tape.connection.execute(
            "insert into retention values ('ohlcv', 14400, %s), ('ohlcv', 2592000, %s)",
            (START + timedelta(hours=3), START + timedelta(days=100)),
        )
        kept = read_coverage(tape.connection, tape.exchange, None).set_index("timeframe")
        raise psycopg.Rollback(transaction)
    # January, February and March; and the bars of 0, 4, 12, 16 and 20 o'clock.
    assert months.to_dict() == {"1M": 3, "4h": 5}
    assert kept["covered"].to_dict() == {"1M": 0, "4h": 4}
    assert kept["gaps"].to_dict() == {"1M": 1, "4h": 1}
    assert kept["dropped_before"].to_dict() == {"1M": START + timedelta(days=100), "4h": START + timedelta(hours=3)}


@pytest.mark.parametrize(
    ("wanted", "begins_at", "gaps"),
    [
        ((0, 10), None, 0),
        ((-5, 10), None, 1),
        ((0, 11), None, 1),
        ((-5, 15), None, 2),
        ((-5, 15), -1, 2),
        ((-5, 15), 0, 1),
    ],
)
def test_coverage_counts_what_was_wanted_and_not_got_to(
    market: MarketData, tape: Tape, wanted: tuple[int, int], begins_at: int | None, gaps: int
):
    def at(minute: int) -> datetime:
        return START + timedelta(minutes=minute)

    tape.write(random_bars(START, 10))
    tape.series_id("1h")
    tape.connection.execute(
        "update series set wanted_from = %s, wanted_until = %s, begins_at = %s where instrument_id = %s",
        (*map(at, wanted), None if begins_at is None else at(begins_at), tape.instrument_id),
    )
    # Of the hours nothing was fetched.
    assert market.coverage(tape.exchange)["gaps"].tolist() == [gaps, 1]


def test_coverage_tells_how_old_it_is_and_where_a_series_begins(market: MarketData, tape: Tape):
    tape.write(random_bars(START, 2))
    never_fetched = tape.series_id("1h")
    tape.connection.execute("update series set begins_at = %s where series_id = %s", (START, never_fetched))
    tape.connection.execute(
        "update coverage set updated_at = now() - interval '90 s' where series_id = %s", (tape.series_id("1m"),)
    )
    found = market.coverage(tape.exchange).set_index("timeframe")
    assert found["age_s"].between(90, 300).to_dict() == {"1m": True, "1h": False}
    assert found["age_s"].isna().to_dict() == {"1m": False, "1h": True}
    assert found["updated_at"].isna().to_dict() == {"1m": False, "1h": True}
    assert found["begins_at"].isna().to_dict() == {"1m": True, "1h": False}
    assert found.loc["1h", "begins_at"] == START


def test_coverage_of_nothing_is_an_empty_table_of_the_same_columns(
    market: MarketData, tape: Tape, make_tape: Callable[..., Tape]
):
    tape.write(random_bars(START, 2))
    full, empty = market.coverage(tape.exchange), market.coverage(make_tape().exchange)
    assert len(empty) == 0
    assert {str(name): str(dtype) for name, dtype in full.dtypes.items()} == {
        **dict.fromkeys(("exchange", "symbol", "dataset", "timeframe"), "str"),
        **dict.fromkeys(("start", "end"), "datetime64[us, UTC]"),
        **dict.fromkeys(("covered", "rows", "empty", "gaps", "rejected", "revision"), "int64"),
        "amount_unit": "str",
        "from_sandbox": "bool",
        **dict.fromkeys(("begins_at", "dropped_before", "updated_at"), "datetime64[us, UTC]"),
        "age_s": "float64",
    }
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()


def test_instruments_are_listed(market: MarketData, make_tape: Callable[..., Tape]):
    tape = make_tape("BTC/USDT")
    make_tape("ADA/USDT", exchange=tape.exchange)
    found = market.instruments(tape.exchange)
    assert found["symbol"].tolist() == ["ADA/USDT", "BTC/USDT"]
    row = found.loc[1].to_dict()
    assert (row["base"], row["quote"], row["kind"], row["active"]) == ("BTC", "USDT", "spot", True)
    assert (row["price_decimals"], row["amount_decimals"], row["amount_unit"]) == (2, 3, "base")
    assert row["trade_unit"] == "base"
    assert {str(name): str(dtype) for name, dtype in found.dtypes.items()} == {
        **dict.fromkeys(("exchange", "symbol", "base", "quote", "settle", "kind"), "str"),
        "contract_size": "float64",
        **dict.fromkeys(("amount_unit", "trade_unit"), "str"),
        "tick_size": "float64",
        "lot_size": "float64",
        **dict.fromkeys(("price_decimals", "amount_decimals"), "int64"),
        **dict.fromkeys(("active", "from_sandbox"), "bool"),
        **dict.fromkeys(("first_seen_at", "last_seen_at"), "datetime64[us, UTC]"),
    }
    assert len(market.instruments()) >= 2
