"""Every recorded REST answer through real ccxt over real HTTP and validation: equal numbers, or a named refusal."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from tapehouse.errors import BadPage, ExchangeError, PermanentError
from tapehouse.exchange import Exchange
from tapehouse.timeframe import from_ms, timeframe
from tapehouse.trade import TradeBatch
from tapehouse.validate import split_books, split_candles, split_trades
from tests.recorded.conftest import RECORDED
from tests.recorded.rest import Asked, Record, asked_of, records_of
from tests.recorded.stage import Stage, fetched_candles, fetched_trades, symbol_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

# How many answers there are of each exchange: in its file, and at the beginning of its session.
COUNTS = {"binance": (129, 1), "kraken": (11, 1), "okx": (27, 25), "bybit": (12, 1), "coinbase": (11, 1)}
RECORDS = {
    (exchange, record.name): record
    for exchange in (COUNTS if RECORDED.is_dir() else {})
    for record in records_of(RECORDED, exchange)
}
ASKED = {key: ask for key, record in RECORDS.items() if not isinstance(ask := asked_of(record), str)}
# Answers whose rows are rejected, all of them, and by which name.
REJECTED: dict[tuple[str, str], str] = {
    ("kraken", "rest-4"): "id_missing",  # of 2019, when trades had no ids
    ("okx", "rest-20"): "time_not_aligned",  # an example of the documentation, with a time that no candle opens at
    ("okx", "rest-21"): "time_not_aligned",
}
# Answers that are refused as a whole.
REFUSED: dict[tuple[str, str], type[ExchangeError]] = {
    ("binance", "rest-75"): PermanentError,  # "Maximum time interval is 200 days."
    **{("okx", f"rest-{place}"): PermanentError for place in (0, 2, 5, 9, 11, 12, 13)},  # the v3 API
    **{("bybit", name): BadPage for name in ("rest-1", "rest-2", "session-0")},  # the v2 API
}


async def check_candles(exchange: Exchange, ask: Asked, record: Record) -> set[str]:
    rows, by = await fetched_candles(exchange, ask), timeframe(ask.timeframe)
    told = ask.read(record.json)
    start, end = (
        by.floor(from_ms(min(row[0] for row in told))),
        by.close(by.floor(from_ms(max(row[0] for row in told)))),
    )
    outcome = split_candles(rows, by, start=start, end=end)
    good = outcome.good
    columns = (good.time_us // 1000, good.open, good.high, good.low, good.close, good.volume)
    candles = list(zip(*(column.tolist() for column in columns), strict=True))
    assert candles == ([] if outcome.rejected else sorted(set(told)))
    assert len(outcome.rejected) in (0, len(told))
    return {name for reject in outcome.rejected for name in reject.reasons}


async def check_trades(exchange: Exchange, ask: Asked, record: Record) -> set[str]:
    rows = await fetched_trades(exchange, ask)
    told = ask.read(record.json)
    start, end = from_ms(min(row[0] for row in told)), from_ms(max(row[0] for row in told) + 1)
    outcome = split_trades(rows, start=start, end=end)
    by_time_and_id = sorted(set(told), key=lambda one: (one[0], int(one[1] or 0)))
    assert trades_of(outcome.good) == ([] if outcome.rejected else by_time_and_id)
    assert len(outcome.rejected) in (0, len(told))
    assert outcome.rejected or outcome.covered == [(start, end)]
    return {name for reject in outcome.rejected for name in reject.reasons}


def trades_of(good: TradeBatch) -> list[tuple[Any, ...]]:
    ids = [text or str(number) for number, text in zip(good.trade_id.tolist(), good.id_text.tolist(), strict=True)]
    columns = [good.side, good.price, good.amount]
    times_ms = (good.time_us // 1000).tolist()
    return list(zip(times_ms, ids, *(column.tolist() for column in columns), strict=True))


async def check_book(exchange: Exchange, ask: Asked, record: Record) -> set[str]:
    sample = await exchange.order_book(symbol_of(exchange, ask), 20)
    if sample.exchange_ms is not None:
        # When it was recorded, it was new.
        sample = replace(sample, exchange_at=from_ms(sample.exchange_ms))
    outcome = split_books([sample], depth=1000)
    if outcome.rejected:
        return set(outcome.rejected[0].reasons)
    time_ms, bids, asks = ask.read(record.json)
    good = outcome.good
    assert list(zip(good.bid_price.tolist(), good.bid_amount.tolist(), strict=True)) == bids
    assert list(zip(good.ask_price.tolist(), good.ask_amount.tolist(), strict=True)) == asks
    assert sample.exchange_ms == time_ms
    return set()


async def check_listings(exchange: Exchange, ask: Asked, record: Record) -> set[str]:
    listings = await exchange.listings()
    names = ("symbol", "instId", "product_id", "id", "altname")
    found = {next(str(one.raw[name]) for name in names if name in one.raw): one for one in listings}
    assert len(found) == len(listings)
    told = {market_id: (tick, lot) for market_id, tick, lot in ask.read(record.json)}
    assert told.keys() - found.keys() == unlisted(set(told))
    for market_id, listing in found.items():
        tick, lot = told[market_id]
        assert listing.tick_size == float(tick)
        assert listing.price_decimals == decimals(tick)
        assert listing.amount_decimals == (8 if lot is None else min(8, decimals(lot)))
    return set()


def unlisted(market_ids: set[str]) -> set[str]:
    """Markets whose symbol ccxt gives to another one: on Kraken once those with a dark pool, and the new REP."""
    with_dark_pools = {market_id.removesuffix(".d") for market_id in market_ids if market_id.endswith(".d")}
    return with_dark_pools | {market_id for market_id in market_ids if market_id.startswith("REPV2")}


def decimals(step: Decimal) -> int:
    exponent = step.normalize().as_tuple().exponent
    return max(0, -int(exponent))


async def check_time(exchange: Exchange, ask: Asked, record: Record) -> set[str]:
    told = from_ms(ask.read(record.json))
    assert told <= await exchange.now() < told + timedelta(seconds=30)
    return set()


CHECKS = {
    "candles": check_candles,
    "trades": check_trades,
    "book": check_book,
    "listings": check_listings,
    "time": check_time,
}


@pytest.mark.parametrize("key", [pytest.param(key, id="-".join(key)) for key in ASKED])
async def test_a_recorded_answer_gives_its_own_numbers_or_is_refused_by_name(stage: Stage, key: tuple[str, str]):
    record, ask = RECORDS[key], ASKED[key]
    exchange = await stage.set_up(ask, record)
    if (refusal := REFUSED.get(key)) is not None:
        with pytest.raises(refusal):
            await CHECKS[ask.kind](exchange, ask, record)
        return
    rejected = await CHECKS[ask.kind](exchange, ask, record)
    assert rejected == ({REJECTED[key]} if key in REJECTED else set())


@pytest.mark.usefixtures("recorded_data")
async def test_no_recorded_answer_is_left_out():
    """What is asked for of the 190 answers and the 29 that sessions began with, and why the others never are."""
    assert Counter(exchange for exchange, _ in RECORDS) == {name: sum(counts) for name, counts in COUNTS.items()}
    outcomes = (asked_of(record) for record in RECORDS.values())
    assert Counter(one if isinstance(one, str) else one.kind for one in outcomes) == {
        "candles": 31,
        "trades": 43,
        "book": 17,
        "listings": 39,
        "time": 2,
        "ticker": 37,
        "funding rate": 15,
        "options: no instruments of tapehouse": 10,
        "index price": 9,
        "open interest": 6,
        "candles of an index or a mark price, not of trades": 4,
        "candles of a contract type, whatever its contract: no instrument": 2,
        "okx's older trades, by page and of three months only: recent ones are asked for": 1,
        "one product: all are asked for at once": 1,
        "currencies": 1,
        "status of the exchange": 1,
    }
