import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from psycopg.sql import SQL, Composed, Identifier

from tapehouse import MarketData
from tapehouse.query import features as query_features
from tapehouse.query import rows as query_rows
from tapehouse.query.decode import CopyDecoder
from tapehouse.store.connection import Connection, is_embedded
from tapehouse.store.features import refresh_features
from tests.query.conftest import AMOUNT_DECIMALS, PRICE_DECIMALS, Snapshot, Tape, random_books, random_trades

START = datetime(2024, 1, 1, tzinfo=UTC)
NAN = math.nan
PRICES = ["bid_price", "ask_price", "mid", "spread", "microprice"]
RATIOS = [f"imbalance_{band}bp" for band in (5, 10, 25, 50)]
WINDOWS_S = (1, 5, 15, 60)
BOOK_IMBALANCES = [f"book_imbalance_{window_s}s" for window_s in WINDOWS_S]
TRADE_IMBALANCES = [f"trade_imbalance_{window_s}s" for window_s in WINDOWS_S]


def at(**delta: float) -> datetime:
    return START + timedelta(**delta)


def span(start: datetime, end: datetime) -> list[str]:
    return [start.isoformat(), end.isoformat()]


def columns(tape: Tape, table: str) -> list[str]:
    """The columns of numbers of a table, in its order."""
    answer = tape.connection.execute(SQL("select * from {} limit 0").format(Identifier(table)))
    assert answer.description is not None
    return [column.name for column in answer.description][2:]


def insert(tape: Tape, table: str, rows: dict[datetime, list[float | None]]) -> None:
    for time, values in rows.items():
        statement = SQL("insert into {} values ({})").format(
            Identifier(table), SQL(", ").join([SQL("%s")] * (2 + len(values)))
        )
        tape.connection.execute(statement, [tape.instrument_id, time, *values])


def mark_stale(tape: Tape, dataset: str, start: datetime, end: datetime) -> None:
    tape.connection.execute(
        "insert into stale_feature (instrument_id, dataset, during) values (%s, %s, tstzrange(%s, %s))",
        (tape.instrument_id, dataset, start, end),
    )


def stub_books(tape: Tape, start: datetime, end: datetime) -> None:
    """Covered order books whose features were computed."""
    tape.write_books([], (start, end))


def seconds(frame: pd.DataFrame) -> list[int]:
    return [(time - START) // timedelta(seconds=1) for time in frame.index]


def test_features_come_in_ordinary_units(market: MarketData, tape: Tape):
    stub_books(tape, START, at(seconds=10))
    names = columns(tape, "order_book_1s")
    stored: dict[str, float | None] = {name: 100.0 + number / 2 for number, name in enumerate(names)}
    stored |= {"imbalance_5bp": None, "imbalance_10bp": -1.0, "imbalance_25bp": 0.25, "imbalance_50bp": 1.0}
    insert(tape, "order_book_1s", {at(seconds=3): [stored[name] for name in names]})
    found = market.order_book_features(tape.exchange, tape.symbol, START, at(seconds=10))
    assert list(found.columns) == names
    assert (found.index.name, str(found.index.dtype)) == ("time", "datetime64[us, UTC]")
    assert set(map(str, found.dtypes)) == {"float64"}
    assert seconds(found) == [3]
    expected = {
        name: (value if name in RATIOS else value / 10.0 ** (PRICE_DECIMALS if name in PRICES else AMOUNT_DECIMALS))
        for name, value in stored.items()
        if value is not None
    }
    assert found.iloc[0].dropna().to_dict() == expected
    assert math.isnan(found["imbalance_5bp"].iloc[0])


def test_imbalances_come_as_they_are(market: MarketData, tape: Tape):
    stub_books(tape, START, at(seconds=100))
    tape.write_trades(random_trades(START, 0, span=timedelta(seconds=100)), (START, at(seconds=100)))
    values = [0.125, NAN, -1.0, 1.0, None, 0.5, -0.25, 0.0]
    insert(tape, "imbalance", {at(seconds=70): values})
    found = market.imbalances(tape.exchange, tape.symbol, START, at(seconds=100))
    assert list(found.columns) == columns(tape, "imbalance") == [*BOOK_IMBALANCES, *TRADE_IMBALANCES]
    assert set(map(str, found.dtypes)) == {"float64"}
    assert seconds(found) == [70]
    assert found.iloc[0].dropna().tolist() == [0.125, -1.0, 1.0, 0.5, -0.25, 0.0]


@pytest.mark.parametrize("table", ["order_book_1s", "imbalance"])
def test_a_second_shows_once_it_has_ended(market: MarketData, tape: Tape, table: str):
    now = datetime.now(UTC).replace(microsecond=0)
    stub_books(tape, START, now + timedelta(hours=1))
    read = market.order_book_features if table == "order_book_1s" else market.imbalances
    row: list[float | None] = [1.0] * len(columns(tape, table))
    rows = dict.fromkeys((START, at(seconds=1), at(seconds=2)), row)
    insert(tape, table, {**rows, now + timedelta(seconds=60): row})
    assert seconds(read(tape.exchange, tape.symbol, START, at(seconds=2))) == [0, 1]
    assert seconds(read(tape.exchange, tape.symbol, START, at(seconds=2, milliseconds=999))) == [0, 1]
    assert seconds(read(tape.exchange, tape.symbol, at(milliseconds=1), at(seconds=3))) == [1, 2]
    assert seconds(read(tape.exchange, tape.symbol, START)) == [0, 1, 2]


def test_features_that_are_behind_are_left_out(market: MarketData, tape: Tape):
    stub_books(tape, START, at(seconds=200))
    row: list[float | None] = [1.0] * len(columns(tape, "order_book_1s"))
    insert(tape, "order_book_1s", {at(seconds=number): row for number in range(200)})
    mark_stale(tape, "order_book", at(seconds=9.5), at(seconds=11, microseconds=1))
    mark_stale(tape, "trade", at(seconds=20), at(seconds=30))
    found = market.order_book_features(tape.exchange, tape.symbol, at(seconds=5), at(seconds=15))
    assert seconds(found) == [5, 6, 7, 8, 12, 13, 14]
    assert found.attrs["stale"] == [span(at(seconds=9), at(seconds=12))]
    later = market.order_book_features(tape.exchange, tape.symbol, at(seconds=20), at(seconds=30))
    assert (len(later), later.attrs["stale"]) == (10, [])


@pytest.mark.parametrize("dataset", ["order_book", "trade"])
def test_imbalances_are_behind_for_a_minute_after(market: MarketData, tape: Tape, dataset: str):
    stub_books(tape, START, at(seconds=200))
    tape.write_trades(random_trades(START, 0, span=timedelta(seconds=200)), (START, at(seconds=200)))
    row: list[float | None] = [1.0] * len(columns(tape, "imbalance"))
    insert(tape, "imbalance", {at(seconds=number): row for number in range(200)})
    # What happened in second 9 is in the windows that end with seconds 9 to 68.
    mark_stale(tape, dataset, at(seconds=9.25), at(seconds=9.5))
    found = market.imbalances(tape.exchange, tape.symbol, START, at(seconds=200))
    assert seconds(found) == [*range(9), *range(69, 200)]
    assert found.attrs["stale"] == [span(at(seconds=9), at(seconds=69))]
    # A question that begins after what was written knows of it.
    later = market.imbalances(tape.exchange, tape.symbol, at(seconds=67), at(seconds=71))
    assert seconds(later) == [69, 70]


def test_imbalances_of_trades_are_known_where_trades_were_fetched(market: MarketData, tape: Tape):
    stub_books(tape, START, at(seconds=300))
    covered = [(at(seconds=9.5), at(seconds=100)), (at(seconds=150), at(seconds=251.5))]
    tape.write_trades(random_trades(START, 0, span=timedelta(seconds=100)), *covered)
    row: list[float | None] = [1.0] * 8
    insert(tape, "imbalance", {at(seconds=number): row for number in range(300)})
    # The later question has no coverage of its own before its start.
    for first, stop in ((0, 300), (80, 120)):
        found = market.imbalances(tape.exchange, tape.symbol, at(seconds=first), at(seconds=stop))
        assert (found[BOOK_IMBALANCES] == 1.0).to_numpy().all()
        for name, window_s in zip(TRADE_IMBALANCES, WINDOWS_S, strict=True):
            known = [*range(10 + window_s - 1, 100), *range(150 + window_s - 1, 251)]
            is_known = found[name].notna().to_numpy()
            assert seconds(found[is_known]) == [second for second in known if first <= second < stop]


def test_attrs_say_what_was_fetched(market: MarketData, tape: Tape):
    tape.connection.execute(
        "update instrument set trade_unit = 'contract' where instrument_id = %s", (tape.instrument_id,)
    )
    stub_books(tape, START, at(seconds=5))
    features = market.order_book_features(tape.exchange, tape.symbol, START, at(seconds=10)).attrs
    assert (features["exchange"], features["symbol"]) == (tape.exchange, "BTC/USDT")
    assert (features["amount_unit"], features["from_sandbox"]) == ("contract", False)
    assert (features["start"], features["end"]) == (START.isoformat(), at(seconds=10).isoformat())
    known = {
        "revision": 0,
        "covered": [span(START, at(seconds=5))],
        "gaps": [span(at(seconds=5), at(seconds=10))],
        "dropped_before": None,
    }
    assert {name: features[name] for name in known} == known
    assert (features["stale"], features["shortened"]) == ([], [])
    imbalances = market.imbalances(tape.exchange, tape.symbol, START, at(seconds=10)).attrs
    assert imbalances["order_book"] == {**known, "shortened": []}
    assert imbalances["trade"] is None
    for attrs in (features, imbalances):
        assert json.loads(json.dumps(attrs)) == attrs


def test_features_stay_covered_when_retention_drops_what_they_were_computed_from(market: MarketData, tape: Tape):
    start, end = datetime(2019, 1, 1, tzinfo=UTC), datetime(2019, 1, 2, tzinfo=UTC)
    tape.write_books([], (start, end))
    tape.write_trades(random_trades(start, 0, span=timedelta(days=1)), (start, end))
    for table in ("order_book_1s", "imbalance"):
        insert(tape, table, {start + timedelta(hours=1): [1.0] * len(columns(tape, table))})
    tape.connection.execute(
        "insert into retention values ('order_book', 0, %(end)s), ('trade', 0, %(end)s)", {"end": end}
    )
    try:
        features = market.order_book_features(tape.exchange, tape.symbol, start, end)
        imbalances = market.imbalances(tape.exchange, tape.symbol, start, end)
        books = market.order_books(tape.exchange, tape.symbol, start, end)
    finally:
        tape.connection.execute("delete from retention where dataset in ('order_book', 'trade')")
    assert len(features) == len(imbalances) == 1
    assert not imbalances.isna().to_numpy().any()
    for attrs in (features.attrs, imbalances.attrs["order_book"], imbalances.attrs["trade"]):
        assert (attrs["covered"], attrs["gaps"], attrs["dropped_before"]) == ([span(start, end)], [], None)
    assert (books.attrs["covered"], books.attrs["dropped_before"]) == ([], end.isoformat())


def test_a_long_window_with_few_rows_is_read_in_few_statements(
    market: MarketData, tape: Tape, monkeypatch: pytest.MonkeyPatch
):
    if not is_embedded(tape.connection):
        pytest.skip("only the embedded database is read in portions")
    tape.write_books([], (START, at(seconds=1)))
    rows = (START - timedelta(days=3000), START)
    for table in ("order_book_1s", "imbalance"):
        insert(tape, table, dict.fromkeys(rows, [1.0] * len(columns(tape, table))))
    statements: list[Composed] = []

    def copy_out(connection: Connection, statement: Composed, decoder: CopyDecoder) -> None:
        statements.append(statement)
        query_rows.copy_out(connection, statement, decoder)

    monkeypatch.setattr(query_features, "copy_out", copy_out)
    for read in (market.order_book_features, market.imbalances):
        # A snapshot that came too late to count for its tick has features where nothing is covered.
        assert len(read(tape.exchange, tape.symbol, START - timedelta(days=3650), at(days=1))) == 2
    assert len(statements) == 2


def test_many_features_are_read_whole(market: MarketData, tape: Tape):
    # On the embedded database more than one statement's.
    count = 60_000
    stub_books(tape, START, at(days=1))
    tape.write_trades(random_trades(START, 0, span=timedelta(days=1)), (at(days=-1), at(days=1)))
    for table in ("order_book_1s", "imbalance"):
        numbers = SQL(", ").join([SQL("n::float8")] * len(columns(tape, table)))
        statement = SQL("insert into {} select %s, %s + n * interval '1 second', {} from generate_series(0, %s) n")
        statement = statement.format(Identifier(table), numbers)
        tape.connection.execute(statement, (tape.instrument_id, START, count - 1))
    window = tape.exchange, tape.symbol, START, at(days=1)
    assert (market.order_book_features(*window)["imbalance_50bp"].to_numpy() == np.arange(count)).all()
    assert (market.imbalances(*window)["trade_imbalance_60s"].to_numpy() == np.arange(count)).all()


def test_trades_alone_have_imbalances(market: MarketData, tape: Tape):
    tape.write_trades(random_trades(START, 0, span=timedelta(seconds=200)), (START, at(seconds=200)))
    insert(tape, "imbalance", {at(seconds=5): [None] * 4 + [0.5] * 4})
    found = market.imbalances(tape.exchange, tape.symbol, START, at(seconds=10))
    assert found.iloc[0].dropna().to_dict() == {"trade_imbalance_1s": 0.5, "trade_imbalance_5s": 0.5}
    assert found.attrs["order_book"] is None


def test_what_a_refresh_computes_is_read(market: MarketData, tape: Tape):
    tape.write_books(
        random_books((at(seconds=number) for number in range(120)), levels=(3, 25)), (START, at(minutes=2))
    )
    # Of its second by the exchange's clock, though received later.
    late = timedelta(minutes=10)
    best = Snapshot(at(seconds=1.5), [(100.0, 1.0), (99.99, 3.0)], [(101.0, 3.0)], late=late)
    tape.write_books([best], (START, at(minutes=2)))
    trades = random_trades(START, 400, span=timedelta(minutes=2))
    tape.write_trades(trades, (START, at(minutes=2)))
    window = tape.exchange, tape.symbol, START, at(minutes=2)
    assert len(market.order_book_features(*window)) == len(market.imbalances(*window)) == 0
    # Other tests' instruments would be computed too.
    tape.connection.execute("delete from stale_feature where instrument_id <> %s", (tape.instrument_id,))
    refresh_features(tape.connection)
    features, imbalances = market.order_book_features(*window), market.imbalances(*window)
    assert seconds(features) == seconds(imbalances) == list(range(120))
    assert features.attrs["stale"] == imbalances.attrs["stale"] == []
    row = features.iloc[1].to_dict()
    assert [row[name] for name in ("bid_price", "ask_price", "mid", "spread", "microprice")] == [
        100,
        101,
        100.5,
        1,
        100.25,
    ]
    assert [row[name] for name in ("bid_amount", "bid_amount_5", "ask_amount_20")] == [1.0, 4.0, 3.0]
    assert imbalances["book_imbalance_1s"].iloc[1] == pytest.approx(1 / 7)
    last = trades[trades.index >= pd.Timestamp(at(seconds=60))]
    bought, sold = (last.loc[last["side"] == side, "amount"].sum() for side in ("buy", "sell"))
    assert imbalances["trade_imbalance_60s"].iloc[-1] == pytest.approx((bought - sold) / (bought + sold))
