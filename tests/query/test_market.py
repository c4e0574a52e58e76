import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

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
        ("1m", START, START, ReversedRange, "swap them"),
        ("1m", "2024-01-01", END, InputError, "pass pd.Timestamp('2024-01-01', tz='UTC')"),
        ("7m", START, END, UnknownTimeframe, "does not tile a UTC day"),
        ("1x", START, END, UnknownTimeframe, "No timeframe '1x'"),
    ],
)
def test_questions_without_sense_are_refused(
    market: MarketData, timeframe: str, start: datetime, end: datetime, error: type[TapehouseError], message: str
):
    with pytest.raises(error) as caught:
        market.candles("binance", "BTC/USDT", timeframe, start, end)
    assert message in str(caught.value)


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


def test_an_unknown_exchange_says_how_to_get_its_instruments(market: MarketData):
    with pytest.raises(UnknownSymbol, match="`tapehouse instruments --sync nowhere`"):
        market.candles("nowhere", "BTC/USDT", "1m", START, END)


@pytest.mark.parametrize(
    ("stored", "asked", "says"),
    [
        ((), "1m", "has no candles stored, which can't give 1m"),
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
    make_tape("ETH/USDT", exchange=tape.exchange).series_id("1m")
    tape.connection.execute("call count_stored_rows()")
    found = market.coverage(tape.exchange)
    columns = ["symbol", "timeframe", "covered", "rows", "empty", "gaps", "rejected", "revision", "amount_unit"]
    assert found[columns].to_numpy().tolist() == [
        ["BTC/USDT", "1m", 120, 58, 62, 1, 0, 0, "base"],
        ["BTC/USDT", "1h", 2, 2, 0, 0, 0, 0, "base"],
        ["ETH/USDT", "1m", 0, 0, 0, 0, 0, 0, "base"],
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


def test_coverage_of_nothing_is_an_empty_table_of_the_same_columns(market: MarketData, tape: Tape):
    tape.series_id("1m")
    full, empty = market.coverage(tape.exchange), market.coverage("nowhere")
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
    assert market.instruments("nowhere").dtypes.to_dict() == found.dtypes.to_dict()
    assert len(market.instruments()) >= 2
