"""What ccxt asks of an exchange besides the answer in question: its markets and its clock.

Markets are recorded ones, but for an inverse one of bybit, which is made from its linear neighbour.
"""

import json
from pathlib import Path
from typing import Any

from tests.recorded.rest import Record, records_of

# Of the 1695 recorded spot markets those that other answers are about; all would take most of a test's time.
_SPOT_MARKETS = frozenset(("BTCUSDT", "BTCUSDC", "ETHBTC"))
_OKX = "www.okx.com/api/v5/public/instruments?instType="
_BYBIT = "api.bybit.com/v5/market/instruments-info?category="
# 2026-05-05 12:34:00 UTC, later than all that was recorded.
NOW_MS = 1_777_984_440_000
_CLOCKS: dict[str, Any] = {
    "api.binance.com/api/v3/time": {"serverTime": NOW_MS},
    "api.binance.us/api/v3/time": {"serverTime": NOW_MS},
    "fapi.binance.com/fapi/v1/time": {"serverTime": NOW_MS},
    "dapi.binance.com/dapi/v1/time": {"serverTime": NOW_MS},
    "api.kraken.com/0/public/Time": {"error": [], "result": {"unixtime": NOW_MS // 1000}},
    "www.okx.com/api/v5/public/time": {"code": "0", "data": [{"ts": str(NOW_MS)}]},
    "api.bybit.com/v5/market/time": {"retCode": 0, "result": {}, "time": NOW_MS},
    "api.coinbase.com/v2/time": {"data": {"epoch": NOW_MS // 1000}},
    "api.exchange.coinbase.com/time": {"epoch": NOW_MS // 1000},
}
_NO_MARKETS: dict[str, Any] = {
    "api.binance.com/api/v3/exchangeInfo": {"symbols": []},
    "fapi.binance.com/fapi/v1/exchangeInfo": {"symbols": []},
    **{f"{_OKX}{kind}": {"code": "0", "data": []} for kind in ("SPOT", "SWAP", "FUTURES")},
    **{f"{_BYBIT}{kind}": {"retCode": 0, "result": {"list": []}} for kind in ("spot", "linear", "inverse")},
}


def markets_and_clocks(folder: Path) -> dict[str, str]:
    """Answers by place: the time, and markets of every kind that the recorded answers are about."""
    binance, okx, bybit, coinbase = (
        {record.name: record for record in records_of(folder, exchange)}
        for exchange in ("binance", "okx", "bybit", "coinbase")
    )
    (kraken,) = (record for record in records_of(folder, "kraken") if record.name == "session-0")
    spot = binance["session-0"].json
    spot["symbols"] = [one for one in spot["symbols"] if one["symbol"] in _SPOT_MARKETS]
    return _texts(_CLOCKS) | {
        "api.binance.com/api/v3/exchangeInfo": json.dumps(spot),
        "api.binance.us/api/v3/exchangeInfo": binance["rest-11"].body,
        "fapi.binance.com/fapi/v1/exchangeInfo": binance["rest-100"].body,
        "dapi.binance.com/dapi/v1/exchangeInfo": binance["rest-68"].body,
        "api.kraken.com/0/public/AssetPairs": kraken.body,
        **{f"{_OKX}{kind}": _of_kind(okx.values(), kind).body for kind in ("SPOT", "SWAP", "FUTURES")},
        f"{_BYBIT}spot": bybit["rest-7"].body,
        f"{_BYBIT}linear": bybit["rest-8"].body,
        f"{_BYBIT}inverse": json.dumps(_inverse(bybit["rest-8"].json)),
        "api.coinbase.com/api/v3/brokerage/market/products": coinbase["rest-7"].body,
        "api.exchange.coinbase.com/products": coinbase["session-0"].body,
    }


def no_markets() -> dict[str, str]:
    """Answers by place, where markets come by kind: none, so that those listed are of the answer in question."""
    return _texts(_CLOCKS | _NO_MARKETS)


def _texts(bodies: dict[str, Any]) -> dict[str, str]:
    return {place: json.dumps(body) for place, body in bodies.items()}


def _of_kind(records: Any, kind: str) -> Record:
    """The session's listing of that kind."""
    return next(one for one in records if one.name.startswith("session") and one.asked("instType") == kind)


def _inverse(answer: Any) -> Any:
    """The linear BTCUSDT turned into the inverse BTCUSD."""
    (market,) = answer["result"]["list"]
    inverse = {"symbol": "BTCUSD", "contractType": "InversePerpetual", "quoteCoin": "USD", "settleCoin": "BTC"}
    return {**answer, "result": {"category": "inverse", "list": [{**market, **inverse}]}}
