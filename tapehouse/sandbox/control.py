"""The control endpoint `/_control`: what another process can see of the sandbox, and do to it.

    GET    /_control/status      how many markets and requests, and the faults in force
    GET    /_control/markets     every market
    POST   /_control/markets     lists, delists or announces otherwise the market of the JSON body
    POST   /_control/bursts      lets many trades happen at once: exchange, symbol and trades in the JSON body
    GET    /_control/requests    the latest requests
    POST   /_control/faults      puts the fault of the JSON body in force
    DELETE /_control/faults      lifts all faults

Each answers with JSON; a request that makes no sense with status 400 and a sentence.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Final, cast

from tapehouse.errors import InputError
from tapehouse.sandbox.answer import Answer, json_answer
from tapehouse.sandbox.faults import Faults, fault_from_json
from tapehouse.sandbox.market import Market
from tapehouse.sandbox.record import Record

CONTROL_HOST: Final = "_control"
_BURST_TYPES: Final[dict[str, type]] = {"exchange": str, "symbol": str, "trades": int}
_CHANGE_TYPES: Final[dict[str, type]] = {
    "exchange": str,
    "symbol": str,
    "listed": bool,
    "active": bool,
    "price_decimals": int,
    "amount_decimals": int,
}


def control(
    method: str,
    path: str,
    body: bytes,
    *,
    markets: Sequence[Market],
    record: Record,
    faults: Faults,
    change_market: Callable[..., None],
    burst: Callable[..., None],
) -> Answer:
    """The answer to a control request."""
    match method, path:
        case "GET", "status":
            return json_answer(_status(markets, record, faults))
        case "GET", "markets":
            return json_answer([_market(market) for market in markets])
        case "POST", "markets":
            return _done(body, "A change of a market", _CHANGE_TYPES, change_market, markets)
        case "POST", "bursts":
            return _done(body, "A burst", _BURST_TYPES, burst, markets)
        case "GET", "requests":
            return json_answer([asdict(asked) | {"at": asked.at.isoformat()} for asked in record.all()])
        case "POST", "faults":
            return _add_fault(body, markets, record, faults)
        case "DELETE", "faults":
            faults.clear()
            return json_answer(_status(markets, record, faults))
        case _:
            message = "Ask GET status, markets or requests, POST markets, bursts or faults, or DELETE faults."
            return json_answer({"error": message}, status=HTTPStatus.BAD_REQUEST)


def _done(
    body: bytes, what: str, types: Mapping[str, type], do: Callable[..., None], markets: Sequence[Market]
) -> Answer:
    """The markets after what the JSON object says has been done to one of them."""
    try:
        do(**_understood(json.loads(body), what, types))
    except (InputError, ValueError) as error:
        return json_answer({"error": str(error)}, status=HTTPStatus.BAD_REQUEST)
    return json_answer([_market(market) for market in markets])


def _understood(value: object, what: str, types: Mapping[str, type]) -> dict[str, object]:
    """The options of a JSON object, which market among them; raises InputError where it is none."""
    if not isinstance(value, dict):
        raise InputError(f"{what} is a JSON object with its exchange and symbol.")
    options = cast("dict[str, object]", value)
    if not {"exchange", "symbol"} <= options.keys() <= types.keys():
        raise InputError(f"{what} has its exchange and symbol, and of {', '.join(types)} more.")
    for name, option in options.items():
        # A bool is an int to Python.
        if type(option) is not types[name]:
            raise InputError(f"{what} can't have {option!r} as its {name}.")
    return options


def _add_fault(body: bytes, markets: Sequence[Market], record: Record, faults: Faults) -> Answer:
    try:
        faults.add(fault_from_json(json.loads(body)))
    except (InputError, ValueError) as error:
        return json_answer({"error": str(error)}, status=HTTPStatus.BAD_REQUEST)
    return json_answer(_status(markets, record, faults))


def _status(markets: Sequence[Market], record: Record, faults: Faults) -> dict[str, object]:
    return {"markets": len(markets), "requests": len(record.all()), "faults": faults.as_json()}


def _market(market: Market) -> dict[str, object]:
    return {
        "exchange": market.exchange,
        "symbol": market.symbol,
        "listed": market.listed,
        "active": market.active,
        "price_decimals": market.price_decimals,
        "amount_decimals": market.amount_decimals,
        "first_ms": market.history.first_ms,
        "end_ms": market.history.end_ms,
    }
