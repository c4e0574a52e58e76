"""The numbers in recorded REST answers, read by hand from each exchange's own JSON.

Nothing here uses ccxt or tapehouse: this is what tapehouse's rows are compared with.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

Candle = tuple[float, ...]  # open time in ms, open, high, low, close, volume
Trade = tuple[int, str | None, int, float, float]  # time in ms, id, the taker's side, price, amount
Levels = list[tuple[float, float]]
Book = tuple[int | None, Levels, Levels]  # the exchange's time in ms, bids, asks
Market = tuple[str, Decimal, Decimal | None]  # the exchange's id, price step, amount step


def binance_candles(body: Any) -> list[Candle]:
    return [(row[0], *map(float, row[1:6])) for row in body]


def coin_m_candles(body: Any) -> list[Candle]:
    """The seventh cell is the close time, the eighth the volume in base units."""
    return [(row[0], *map(float, (*row[1:5], row[7]))) for row in body]


def kraken_candles(body: Any) -> list[Candle]:
    (rows,) = (rows for name, rows in body["result"].items() if name != "last")
    return [(row[0] * 1000, *map(float, (*row[1:5], row[6]))) for row in rows]


def okx_candles(volume_cell: int) -> Callable[[Any], list[Candle]]:
    return lambda body: [(int(row[0]), *map(float, (*row[1:5], row[volume_cell]))) for row in body["data"]]


def bybit_inverse_candles(body: Any) -> list[Candle]:
    """Volume counts contracts of 1 USD; turnover, the last cell, is in base units."""
    return [(int(row[0]), *map(float, (*row[1:5], row[6]))) for row in body["result"]["list"]]


def coinbase_candles(body: Any) -> list[Candle]:
    names = ("open", "high", "low", "close", "volume")
    return [(int(row["start"]) * 1000, *(float(row[name]) for name in names)) for row in body["candles"]]


def coinbase_exchange_candles(body: Any) -> list[Candle]:
    """Cells are time, low, high, open, close, volume."""
    return [(row[0] * 1000, *map(float, (row[3], row[2], row[1], row[4], row[5]))) for row in body]


def binance_aggregated(body: Any) -> list[Trade]:
    """m says that the buyer was the maker, so that the taker sold; some recordings lost its name."""
    sides = {True: -1, False: 1, None: 0}
    return [(row["T"], str(row["a"]), sides[row.get("m")], float(row["p"]), float(row["q"])) for row in body]


def binance_trades(body: Any) -> list[Trade]:
    return [
        (row["time"], str(row["id"]), -1 if row["isBuyerMaker"] else 1, float(row["price"]), float(row["qty"]))
        for row in body
    ]


def kraken_trades(body: Any) -> list[Trade]:
    (rows,) = (rows for name, rows in body["result"].items() if name != "last")
    return [
        (
            int(row[2] * 1000),
            str(row[6]) if len(row) > 6 else None,
            {"b": 1, "s": -1}[row[3]],
            float(row[0]),
            float(row[1]),
        )
        for row in rows
    ]


def okx_trades(body: Any) -> list[Trade]:
    return [
        (int(row["ts"]), row["tradeId"], {"buy": 1, "sell": -1}[row["side"]], float(row["px"]), float(row["sz"]))
        for row in body["data"]
    ]


def bybit_trades(body: Any) -> list[Trade]:
    return [
        (int(row["time"]), row["execId"], {"Buy": 1, "Sell": -1}[row["side"]], float(row["price"]), float(row["size"]))
        for row in body["result"]["list"]
    ]


def coinbase_trades(body: Any) -> list[Trade]:
    """The side is the maker's."""
    return [
        (
            _iso_ms(row["time"]), row["trade_id"], {"BUY": -1, "SELL": 1}[row["side"]],
            float(row["price"]), float(row["size"]),
        )
        for row in body["trades"]
    ]  # fmt: skip


def _levels(rows: Any) -> Levels:
    return [(float(row[0]), float(row[1])) for row in rows]


def binance_book(body: Any) -> Book:
    """Only books of futures have a time, when the engine made them."""
    return body.get("T"), _levels(body["bids"]), _levels(body["asks"])


def kraken_book(body: Any) -> Book:
    (book,) = body["result"].values()
    return None, _levels(book["bids"]), _levels(book["asks"])


def okx_book(body: Any) -> Book:
    (book,) = body["data"]
    return int(book["ts"]), _levels(book["bids"]), _levels(book["asks"])


def bybit_book(body: Any) -> Book:
    book = body["result"]
    return book["ts"], _levels(book["b"]), _levels(book["a"])


def coinbase_book(body: Any) -> Book:
    book = body["pricebook"]
    bids, asks = ([(float(one["price"]), float(one["size"])) for one in book[side]] for side in ("bids", "asks"))
    return _iso_ms(book["time"]), bids, asks


def gdax_book(body: Any) -> Book:
    return None, _levels(body["bids"]), _levels(body["asks"])


def binance_markets(body: Any) -> list[Market]:
    """A market that was made for a test only has no rule about lots."""
    found: list[Market] = []
    for one in body["symbols"]:
        rules = {rule["filterType"]: rule for rule in one["filters"]}
        lot = Decimal(rules["LOT_SIZE"]["stepSize"]) if "LOT_SIZE" in rules else None
        found.append((one["symbol"], Decimal(rules["PRICE_FILTER"]["tickSize"]), lot))
    return found


def kraken_markets(body: Any) -> list[Market]:
    return [
        (one["altname"], Decimal(1).scaleb(-one["pair_decimals"]), Decimal(1).scaleb(-one["lot_decimals"]))
        for one in body["result"].values()
    ]


def okx_markets(body: Any) -> list[Market]:
    return [(one["instId"], Decimal(one["tickSz"]), Decimal(one["lotSz"])) for one in body["data"]]


def bybit_markets(body: Any) -> list[Market]:
    found: list[Market] = []
    for one in body["result"]["list"]:
        lot = one["lotSizeFilter"]
        step = lot.get("qtyStep") or lot["basePrecision"]
        found.append((one["symbol"], Decimal(one["priceFilter"]["tickSize"]), Decimal(step)))
    return found


def coinbase_markets(body: Any) -> list[Market]:
    return [
        (one["product_id"], Decimal(one["price_increment"]), Decimal(one["base_increment"])) for one in body["products"]
    ]


def gdax_markets(body: Any) -> list[Market]:
    """In 2017 there was no step of the amount."""
    return [
        (
            one["id"], Decimal(one["quote_increment"]),
            Decimal(one["base_increment"]) if "base_increment" in one else None,
        )
        for one in body
    ]  # fmt: skip


def _iso_ms(time: str) -> int:
    told = datetime.fromisoformat(time)
    return int((told - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
