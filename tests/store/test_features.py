import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from psycopg.errors import LockNotAvailable
from psycopg.types.range import TimestamptzRange

from tapehouse.book import NO_NONCE, BookBatch
from tapehouse.instrument import Instrument
from tapehouse.ranges import TimeRange, merge_ranges
from tapehouse.store.books import write_books
from tapehouse.store.connection import Connection, connect, is_embedded
from tapehouse.store.features import FeatureRefresh, refresh_features
from tapehouse.store.instruments import ensure_book_series, ensure_trade_series, find_instrument
from tapehouse.store.trades import write_trades
from tapehouse.timeframe import from_us, timeframe, to_us
from tapehouse.trade import TradeBatch
from tests.store.conftest import InstrumentFactory

# A little before a midnight, so that hours, days and chunks are crossed.
START = datetime(2025, 5, 1, 23, 58, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)
BANDS_BP, TOP_LEVELS, WINDOWS_S = (5, 10, 25, 50), (5, 20), (1, 5, 15, 60)

# NULLs are NaNs here, and there are no NaNs in the tables.
Row = dict[str, float]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def write_random_books(
    connection: Connection, instrument: Instrument, seconds: list[float], *, seed: int, levels: int = 7
) -> None:
    rng = np.random.default_rng(seed)
    times = np.array([to_us(at(one)) for one in sorted(seconds)], dtype=np.int64)
    counts = [rng.integers(1, levels + 1, len(times)).astype(np.int64) for _ in range(2)]
    sides: list[list[npt.NDArray[np.int64]]] = []
    for count, best, direction in zip(counts, (9995, 10005), (-1, 1), strict=True):
        steps = [np.cumsum(rng.integers(1, 12, one)) + rng.integers(0, 4) for one in map(int, count)]
        sides.append([best + direction * step for step in steps])
    bids, asks = (np.concatenate(side) / 100 for side in sides)
    batch = BookBatch(
        times,
        times,
        np.full(len(times), NO_NONCE, dtype=np.int64),
        counts[0],
        counts[1],
        bids,
        rng.integers(1, 10_000, len(bids)) / 1000,
        asks,
        rng.integers(1, 10_000, len(asks)) / 1000,
    )
    window = [(from_us(int(times[0])), from_us(int(times[-1])) + SECOND)]
    write_books(connection, ensure_book_series(connection, instrument), batch, asked=window, covered=window)


def write_random_trades(
    connection: Connection, instrument: Instrument, seconds: list[float], *, seed: int, ids_from: int = 1
) -> None:
    rng = np.random.default_rng(seed)
    times = np.array([to_us(at(one)) for one in sorted(seconds)], dtype=np.int64)
    batch = TradeBatch(
        times,
        ids_from + np.arange(len(times)),
        np.zeros(len(times), dtype="<U1"),
        rng.integers(9900, 10100, len(times)) / 100,
        rng.integers(1, 5000, len(times)) / 1000,
        rng.integers(-1, 2, len(times)).astype(np.int16),
    )
    window = [(from_us(int(times[0])), from_us(int(times[-1])) + SECOND)]
    write_trades(connection, ensure_trade_series(connection, instrument), batch, asked=window, covered=window)


def sparse(start: float, end: float, *, seed: int, count: int) -> list[float]:
    """Whole milliseconds from start to end, some of them in the same second."""
    rng = np.random.default_rng(seed)
    return sorted({round(float(one), 3) for one in rng.uniform(start, end, count)})


def book_row(bids: list[tuple[float, float]], asks: list[tuple[float, float]]) -> Row:
    (bid, bid_amount), (ask, ask_amount) = bids[0], asks[0]
    row: Row = {
        "bid_price": bid,
        "bid_amount": bid_amount,
        "ask_price": ask,
        "ask_amount": ask_amount,
        "mid": (bid + ask) / 2,
        "spread": ask - bid,
        "microprice": (bid * ask_amount + ask * bid_amount) / (bid_amount + ask_amount),
    }
    for levels in TOP_LEVELS:
        row[f"bid_amount_{levels}"] = sum(amount for _, amount in bids[:levels])
        row[f"ask_amount_{levels}"] = sum(amount for _, amount in asks[:levels])
    for band in BANDS_BP:
        demand = sum(amount for price, amount in bids if 20_000 * price >= (10_000 - band) * (bid + ask))
        supply = sum(amount for price, amount in asks if 20_000 * price <= (10_000 + band) * (bid + ask))
        row[f"bid_depth_{band}bp"], row[f"ask_depth_{band}bp"] = demand, supply
        row[f"imbalance_{band}bp"] = (demand - supply) / (demand + supply) if demand + supply else math.nan
    return row


def recomputed_books(connection: Connection, instrument: Instrument) -> dict[datetime, Row]:
    """All of `order_book_1s`, snapshot by snapshot: a later one takes the place of an earlier one of its second."""
    rows: dict[datetime, Row] = {}
    for time, *levels in connection.execute(
        "select time, bid_price, bid_amount, ask_price, ask_amount from order_book "
        "where instrument_id = %s order by time",
        (instrument.instrument_id,),
    ):
        bid_price, bid_amount, ask_price, ask_amount = levels
        bids, asks = list(zip(bid_price, bid_amount, strict=True)), list(zip(ask_price, ask_amount, strict=True))
        rows[time.replace(microsecond=0)] = book_row(bids, asks)
    return rows


def recomputed_imbalances(connection: Connection, instrument: Instrument) -> dict[datetime, Row]:
    """All of `imbalance`, each row from all snapshots and trades."""
    of_books: dict[datetime, float] = {}
    for second, row in recomputed_books(connection, instrument).items():
        demand, supply = row["bid_amount_5"], row["ask_amount_5"]
        of_books[second] = (demand - supply) / (demand + supply)
    trades = connection.execute(
        "select time, amount, side from trade where instrument_id = %s", (instrument.instrument_id,)
    ).fetchall()
    rows: dict[datetime, Row] = {}
    for second in {*of_books, *(time.replace(microsecond=0) for time, _, _ in trades)}:
        row = rows[second] = {}
        for width in WINDOWS_S:
            opens, closes = second + SECOND - width * SECOND, second + SECOND
            seen = [value for one, value in of_books.items() if opens <= one < closes]
            row[f"book_imbalance_{width}s"] = math.fsum(seen) / len(seen) if seen else math.nan
            bought = sum(amount for time, amount, side in trades if opens <= time < closes and side == 1)
            sold = sum(amount for time, amount, side in trades if opens <= time < closes and side == -1)
            row[f"trade_imbalance_{width}s"] = (bought - sold) / (bought + sold) if bought + sold else math.nan
    return rows


def stored(connection: Connection, instrument: Instrument, table: str) -> dict[datetime, Row]:
    cursor = connection.execute(
        f"select * from {table} where instrument_id = %s order by time",  # pyright: ignore[reportArgumentType] -- a literal of this file
        (instrument.instrument_id,),
    )
    names = [column.name for column in cursor.description or ()]
    rows: dict[datetime, Row] = {}
    for _, time, *values in cursor:
        assert not any(value is not None and math.isnan(value) for value in values)
        rows[time] = {name: math.nan if value is None else value for name, value in zip(names[2:], values, strict=True)}
    return rows


def plain(connection: Connection, instrument: Instrument, table: str) -> dict[datetime, str]:
    """The rows as text, to be compared as they are."""
    return {time: repr(row) for time, row in stored(connection, instrument, table).items()}


def assert_recomputed(connection: Connection, instrument: Instrument) -> None:
    for table, expected in (
        ("order_book_1s", recomputed_books(connection, instrument)),
        ("imbalance", recomputed_imbalances(connection, instrument)),
    ):
        found = stored(connection, instrument, table)
        assert sorted(found) == sorted(expected), table
        for time, row in expected.items():
            assert found[time] == pytest.approx(row, rel=1e-13, abs=1e-13, nan_ok=True), (table, time)


def notes(connection: Connection, instrument: Instrument) -> list[tuple[str, datetime, datetime]]:
    return connection.execute(
        "select dataset, lower(during), upper(during) from stale_feature where instrument_id = %s order by 1, 2",
        (instrument.instrument_id,),
    ).fetchall()


def mark_stale(connection: Connection, instrument: Instrument, start: datetime, end: datetime) -> None:
    for dataset in ("order_book", "trade"):
        connection.execute(
            "insert into stale_feature (instrument_id, dataset, during) values (%s, %s, %s)",
            (instrument.instrument_id, dataset, TimestamptzRange(start, end)),
        )


def recompute_all(connection: Connection, instrument: Instrument) -> FeatureRefresh:
    """Compute everything again, after what other tests have left."""
    refresh_features(connection)
    mark_stale(connection, instrument, at(-600), at(7200))
    return refresh_features(connection)


def later_books(connection: Connection, instrument: Instrument) -> None:
    write_random_books(connection, instrument, sparse(95, 170, seed=11, count=60), seed=12)


def earlier_books(connection: Connection, instrument: Instrument) -> None:
    write_random_books(connection, instrument, sparse(-200, -120, seed=13, count=20), seed=14)


def corrected_books(connection: Connection, instrument: Instrument) -> None:
    write_random_books(connection, instrument, sparse(0, 95, seed=1, count=70)[20:30], seed=15)


def later_trades(connection: Connection, instrument: Instrument) -> None:
    write_random_trades(connection, instrument, sparse(80, 260, seed=16, count=90), seed=17, ids_from=1000)


def late_trades(connection: Connection, instrument: Instrument) -> None:
    write_random_trades(connection, instrument, sparse(-30, 100, seed=18, count=9), seed=19, ids_from=2000)


def corrected_trades(connection: Connection, instrument: Instrument) -> None:
    write_random_trades(connection, instrument, sparse(0, 95, seed=3, count=60), seed=20)


def finer_trades(connection: Connection, instrument: Instrument) -> None:
    """A trade whose price and amount need more decimals: all that is stored is multiplied."""
    batch = TradeBatch(
        np.array([to_us(at(33))], dtype=np.int64),
        np.array([5000]),
        np.zeros(1, dtype="<U1"),
        np.array([100.0125]),
        np.array([0.00001]),
        np.array([1], dtype=np.int16),
    )
    window = [(at(33), at(34))]
    write_trades(connection, ensure_trade_series(connection, instrument), batch, asked=window, covered=window)


CHANGES: list[Callable[[Connection, Instrument], None]] = [
    later_books,
    earlier_books,
    corrected_books,
    later_trades,
    late_trades,
    corrected_trades,
    finer_trades,
]


@pytest.fixture
def instrument(connection: Connection, make_instrument: InstrumentFactory) -> Instrument:
    """An instrument with books and trades around a midnight, whose features are computed."""
    made = make_instrument()
    write_random_books(connection, made, sparse(0, 95, seed=1, count=70), seed=2)
    write_random_trades(connection, made, sparse(0, 95, seed=3, count=60), seed=4)
    refresh_features(connection)
    return made


@pytest.mark.parametrize("change", CHANGES)
def test_features_equal_a_recomputation_after_a_change(
    connection: Connection, instrument: Instrument, change: Callable[[Connection, Instrument], None]
):
    assert_recomputed(connection, instrument)
    change(connection, instrument)
    assert notes(connection, instrument)
    refresh_features(connection)
    assert_recomputed(connection, instrument)
    assert notes(connection, instrument) == []


def test_computing_step_by_step_and_all_at_once_agree_to_the_bit(connection: Connection, instrument: Instrument):
    for change in CHANGES[:-1]:
        change(connection, instrument)
        refresh_features(connection)
    again = recompute_all(connection, instrument)
    assert (again.written, again.removed) == (0, 0)
    assert at(0).date() < max(stored(connection, instrument, "imbalance")).date()


def test_features_are_computed_in_compressed_chunks(connection: Connection, instrument: Instrument):
    for table in ("order_book_1s", "imbalance"):
        connection.execute(
            "select compress_chunk(c, if_not_compressed => true) from show_chunks(%s::regclass, "
            "newer_than => %s, older_than => %s) as c",
            (table, START - timedelta(days=14), START + timedelta(days=14)),
        )
    for change in (later_books, corrected_books, late_trades):
        change(connection, instrument)
    connection.execute("set timescaledb.max_tuples_decompressed_per_dml_transaction = 1")
    try:
        refresh_features(connection)
    finally:
        connection.execute("reset timescaledb.max_tuples_decompressed_per_dml_transaction")
    assert_recomputed(connection, instrument)


def test_books_alone_have_features(connection: Connection, make_instrument: InstrumentFactory):
    alone = make_instrument()
    write_random_books(connection, alone, [0.5, 1.0, 1.999, 70.0, 4000.25], seed=5)
    refresh_features(connection)
    assert_recomputed(connection, alone)
    rows = stored(connection, alone, "imbalance")
    assert list(rows) == [at(0), at(1), at(70), at(4000)]
    assert all(math.isnan(row["trade_imbalance_60s"]) for row in rows.values())


def test_trades_alone_have_imbalances(connection: Connection, make_instrument: InstrumentFactory):
    alone = make_instrument()
    write_random_trades(connection, alone, [0.5, 1.0, 1.999, 30.0, 4000.25], seed=6)
    refresh_features(connection)
    assert_recomputed(connection, alone)
    assert stored(connection, alone, "order_book_1s") == {}
    assert all(math.isnan(row["book_imbalance_60s"]) for row in stored(connection, alone, "imbalance").values())


def test_rows_without_a_source_go(connection: Connection, instrument: Instrument):
    connection.execute(
        "delete from order_book where instrument_id = %s and time < %s", (instrument.instrument_id, at(40))
    )
    connection.execute("delete from trade where instrument_id = %s and time < %s", (instrument.instrument_id, at(50)))
    mark_stale(connection, instrument, at(0), at(50))
    result = refresh_features(connection)
    assert result.removed > 0
    assert_recomputed(connection, instrument)


def test_no_other_seconds_are_gone_over_than_notes_touch(connection: Connection, make_instrument: InstrumentFactory):
    noted = make_instrument()
    refresh_features(connection)
    rng = np.random.default_rng(21)
    hour = datetime(2025, 5, 1, tzinfo=UTC)
    spans: list[TimeRange] = []
    for start_s, lasting_s in zip(rng.uniform(0, 36_000, 200), rng.exponential(200, 200) ** 1.3, strict=True):
        # Few hours are left out, and few are gone over from end to end.
        if 3600 < start_s % 14_400 < 7200:
            start = hour + timedelta(seconds=round(float(start_s), 3))
            spans.append((start, start + timedelta(seconds=round(float(lasting_s), 3) + 0.001)))
    for number, (start, end) in enumerate(spans):
        connection.execute(
            "insert into stale_feature (instrument_id, dataset, during) values (%s, %s, %s)",
            (noted.instrument_id, ("order_book", "trade")[number % 2], TimestamptzRange(start, end)),
        )
    # No second is without a trade nearby: hours without any would be passed together.
    connection.execute(
        """
        insert into trade (instrument_id, time, trade_id, price, amount, side)
        select %s, time, row_number() over (order by time), 1, 1, 1
        from generate_series(%s::timestamptz, %s, interval '30 seconds') as t (time)
        """,
        (noted.instrument_id, hour, hour + timedelta(hours=20)),
    )
    expected: dict[int, tuple[int, int]] = {}
    for start, end in spans:
        for second in range(math.floor((start - hour) / SECOND), math.ceil((end - hour) / SECOND)):
            first, last = expected.get(second // 3600, (second, second))
            expected[second // 3600] = (min(first, second), max(last, second))
    seen: list[TimeRange] = []

    def see(name: str, span: TimeRange) -> None:
        # What other tests wrote in the seconds before is gone over, too.
        if name == f"{noted.exchange} {noted.symbol}":
            seen.append(span)

    refresh_features(connection, progress=see)
    assert seen == [
        (hour + first * SECOND, hour + (last + 1) * SECOND) for _, (first, last) in sorted(expected.items())
    ]
    assert notes(connection, noted) == []


def test_years_without_rows_are_passed_and_nothing_in_them_is_missed(
    connection: Connection, make_instrument: InstrumentFactory
):
    made = make_instrument()
    refresh_features(connection)
    year = timedelta(days=365) / SECOND
    write_random_trades(connection, made, [-2 * year, -year + 3599.75, 0.5, 7200.5], seed=3)
    write_random_books(connection, made, [-year + 3601.0], seed=4)
    seen: list[TimeRange] = []
    result = refresh_features(connection, progress=lambda _, span: seen.append(span))
    assert len(seen) < 20
    assert merge_ranges([*result.ranges, *seen]) == list(result.ranges)
    assert notes(connection, made) == []
    assert_recomputed(connection, made)
    # What was computed goes, however far it lies from all that is left.
    connection.execute("delete from trade where instrument_id = %s and time > %s", (made.instrument_id, at(-year)))
    connection.execute("delete from order_book where instrument_id = %s", (made.instrument_id,))
    mark_stale(connection, made, at(-2 * year), at(year))
    refresh_features(connection)
    assert_recomputed(connection, made)
    assert notes(connection, made) == []


def test_what_is_written_while_features_are_computed_stays_noted(
    connection: Connection, store_url: str, make_instrument: InstrumentFactory
):
    made = make_instrument()
    refresh_features(connection)
    write_random_books(connection, made, [10.0, 5000.0], seed=22)
    with connect(store_url) as other:

        def write_more(name: str, span: TimeRange) -> None:
            if not notes(other, made)[1:]:
                write_random_books(other, made, [11.0], seed=23)

        refresh_features(connection, progress=write_more)
    ((_, start, end),) = notes(connection, made)
    assert start == at(11) < end
    refresh_features(connection)
    assert_recomputed(connection, made)
    assert notes(connection, made) == []


def test_seconds_that_have_not_ended_stay_noted(connection: Connection, make_instrument: InstrumentFactory):
    fresh = make_instrument()
    before: datetime = connection.execute("select now()").fetchall()[0][0]
    offset = (before - START) / SECOND
    write_random_books(connection, fresh, [offset - 30, offset + 3600], seed=7)
    refresh_features(connection)
    after: datetime = connection.execute("select now()").fetchall()[0][0]
    ((dataset, start, end),) = notes(connection, fresh)
    assert dataset == "order_book"
    assert timeframe("1s").floor(before) <= start <= timeframe("1s").floor(after)
    assert end > after
    second = timeframe("1s").floor(at(round(offset - 30, 6)))
    for table in ("order_book_1s", "imbalance"):
        assert list(stored(connection, fresh, table)) == [second]
    # No other test is to meet it.
    connection.execute("delete from stale_feature where instrument_id = %s", (fresh.instrument_id,))


def test_a_refresh_goes_on_where_it_was_interrupted(connection: Connection, make_instrument: InstrumentFactory):
    made = make_instrument()
    refresh_features(connection)
    write_random_books(connection, made, sparse(0, 5000, seed=8, count=300), seed=9)
    seen: list[TimeRange] = []

    def interrupt(name: str, span: TimeRange) -> None:
        if name == f"{made.exchange} {made.symbol}":
            seen.append(span)
            if len(seen) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refresh_features(connection, progress=interrupt)
    hour = datetime(2025, 5, 2, tzinfo=UTC)
    assert [end for _, end in seen] == [hour, hour + timedelta(hours=1)]
    ((_, start, _),) = notes(connection, made)
    assert start == hour
    assert max(stored(connection, made, "order_book_1s")) < hour
    refresh_features(connection, progress=interrupt)
    assert [start for start, _ in seen[2:]] == [hour, hour + timedelta(hours=1)]
    assert_recomputed(connection, made)


def test_one_process_refreshes_at_a_time(connection: Connection, store_url: str, instrument: Instrument):
    later_books(connection, instrument)
    held: list[Any] = []
    with connect(store_url) as other:

        def try_lock(name: str, span: TimeRange) -> None:
            held.append(other.execute("select pg_try_advisory_lock(1717920116)").fetchone())

        refresh_features(connection, progress=try_lock)
    assert held == [(False,)] * len(held)
    assert held


def test_widening_waits_for_features_being_computed(connection: Connection, store_url: str, instrument: Instrument):
    if is_embedded(connection):
        pytest.skip("the embedded database runs one transaction at a time anyway")
    later_books(connection, instrument)
    lock = "select from instrument where instrument_id = %s for update nowait"
    with connect(store_url) as other:
        # A refresh's locks last as long as the transaction around it.
        with connection.transaction():
            refresh_features(connection)
            with pytest.raises(LockNotAvailable):
                other.execute(lock, (instrument.instrument_id,))
        other.execute(lock, (instrument.instrument_id,))


@pytest.fixture
def forget_retention(connection: Connection) -> Any:
    yield
    connection.execute("delete from retention")


@pytest.mark.usefixtures("forget_retention")
@pytest.mark.parametrize(("dataset", "reach_s"), [("order_book", 0), ("trade", 59)])
def test_rows_whose_sources_were_dropped_stay_as_they_are(
    connection: Connection, instrument: Instrument, dataset: str, reach_s: int
):
    table = "order_book_1s" if dataset == "order_book" else "imbalance"
    before = plain(connection, instrument, table)
    connection.execute("insert into retention values (%s, 0, %s)", (dataset, at(20)))
    for source in ("order_book", "trade"):
        connection.execute(
            f"delete from {source} where instrument_id = %s and time < %s",  # pyright: ignore[reportArgumentType] -- a literal of this file
            (instrument.instrument_id, at(90)),
        )
    mark_stale(connection, instrument, at(0), at(95))
    refresh_features(connection)
    kept = plain(connection, instrument, table)
    assert {time: row for time, row in kept.items() if time < at(20 + reach_s)} == {
        time: row for time, row in before.items() if time < at(20 + reach_s)
    }
    assert not [time for time in kept if at(20 + reach_s) <= time < at(90)]
    assert notes(connection, instrument) == []


@pytest.mark.usefixtures("forget_retention")
@pytest.mark.parametrize("table", ["order_book_1s", "imbalance"])
def test_features_that_were_dropped_are_not_computed_again(connection: Connection, instrument: Instrument, table: str):
    before = plain(connection, instrument, table)
    connection.execute("insert into retention values (%s, 0, %s)", (table, at(20)))
    connection.execute(
        f"delete from {table} where instrument_id = %s and time < %s",  # pyright: ignore[reportArgumentType] -- a literal of this file
        (instrument.instrument_id, at(20)),
    )
    mark_stale(connection, instrument, at(0), at(95))
    refresh_features(connection)
    assert plain(connection, instrument, table) == {time: row for time, row in before.items() if time >= at(20)}
    assert notes(connection, instrument) == []


def test_features_keep_their_meaning_when_the_scale_is_widened(connection: Connection, instrument: Instrument):
    view = (
        "select time, mid, microprice, bid_depth_10bp, bid_amount_5 from order_book_1s_view "
        "where exchange = %s order by time"
    )
    before = connection.execute(view, (instrument.exchange,)).fetchall()
    finer_trades(connection, instrument)
    assert find_instrument(connection, instrument.exchange, instrument.symbol).amount_decimals > 3
    after = connection.execute(view, (instrument.exchange,)).fetchall()
    assert [row[0] for row in after] == [row[0] for row in before]
    for old, new in zip(before, after, strict=True):
        assert new[1:] == pytest.approx(old[1:], rel=1e-14)
    assert len(before) > 10
