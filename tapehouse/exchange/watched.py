"""ccxt's class for an exchange, watched at its own points of extension; importing this imports ccxt.

It paces and counts requests, judges every answer while its status, headers and body are at hand, and
reads it as `parsing` says, or what is streamed as `taps` does. All else is ccxt's.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import ccxt.async_support as ccxt_async

from tapehouse.errors import PermanentError
from tapehouse.exchange.habits import Habits
from tapehouse.exchange.names import require_exchange
from tapehouse.exchange.pacing import Pacer
from tapehouse.exchange.parsing import PlainParsing
from tapehouse.exchange.taps import Taps
from tapehouse.exchange.translate import Answer, translate
from tapehouse.exchange.wire import HttpAnswer, Wire

_asks_for_time: ContextVar[bool] = ContextVar("_asks_for_time", default=False)


def watched_exchange(
    exchange_id: str,
    habits: Habits,
    *,
    timeout_s: float,
    on_request: Callable[[], None],
    on_headers: Callable[[Mapping[str, str]], None],
    pacer: Pacer | None,
    streams: bool = False,
    wire: Wire | None = None,
) -> object:
    """An instance of ccxt's async class for the exchange, or of the one that `streams`; `wire` is told of all.

    Raises UnknownExchange, naming the closest ones, and PermanentError where ccxt has no streams of it.
    """
    require_exchange(exchange_id)
    read_class = _streaming_class(exchange_id) if streams else _requesting_class(exchange_id, habits)
    watched_class = _watched_class(read_class, exchange_id, on_request, on_headers, pacer, wire, streams=streams)
    exchange = watched_class({"enableRateLimit": True, "timeout": round(timeout_s * 1000)})
    exchange.wire = wire
    _load_less(exchange, habits)
    return exchange


@contextmanager
def asking_for_time() -> Generator[None]:
    """What is asked in the block, by its own task, is what time it is."""
    token = _asks_for_time.set(True)
    try:
        yield
    finally:
        _asks_for_time.reset(token)


def _requesting_class(exchange_id: str, habits: Habits) -> type[Any]:
    ccxt_class = cast("type[Any]", getattr(ccxt_async, exchange_id))

    class PlainlyParsed(PlainParsing, ccxt_class):
        candles_in_order = habits.candles_in_order
        turns_sides = habits.tells_maker_side
        side_cell = habits.side_cell

    return PlainlyParsed


def _streaming_class(exchange_id: str) -> type[Any]:
    import ccxt.pro as ccxt_pro  # another second, for those who stream alone

    ccxt_class = cast("type[Any] | None", getattr(ccxt_pro, exchange_id, None))
    if ccxt_class is None:
        raise PermanentError(f"ccxt has no streams of {exchange_id}: ingest it on a schedule instead.")
    return type("Tapped", (Taps, ccxt_class), {})


def _watched_class(
    read_class: type[Any],
    exchange_id: str,
    on_request: Callable[[], None],
    on_headers: Callable[[Mapping[str, str]], None],
    pacer: Pacer | None,
    wire: Wire | None,
    *,
    streams: bool,
) -> type[Any]:
    class WatchedExchange(read_class):
        async def throttle(self, cost: float | None = None) -> None:
            """Called by ccxt before each request; `cost` counts in `rateLimit` milliseconds."""
            if pacer is None:
                await super().throttle(cost)
            else:
                await pacer.pass_((1 if cost is None else cost) * self.rateLimit)

        async def fetch(self, *args: Any, **options: Any) -> object:  # noqa: ANN401 -- passed on as it is
            on_request()
            return cast("object", await super().fetch(*args, **options))

        def handle_errors(self, code: int, *context: Any) -> None:  # noqa: ANN401 -- passed on as it is
            """Called by ccxt with (reason, url, method, headers, body, parsed JSON, ...) of each answer."""
            if wire is not None:
                wire.answered(_told_answer(code, context, of_streams=streams))
            error = _error_of(cast("Callable[..., object]", super().handle_errors), code, *context)
            _, _, _, headers, body, parsed, *_ = context
            on_headers(headers)
            if error is None:
                error = _own_error_of(self.httpExceptions, code, body)
            # ccxt goes on with an answer that is no JSON, and makes rows of None out of it.
            if error is not None or not 200 <= code < 300 or parsed is None:
                raise translate(error, exchange_id=exchange_id, answer=Answer(code, headers, body)) from error

    return WatchedExchange


def _told_answer(code: int, context: tuple[Any, ...], *, of_streams: bool) -> HttpAnswer:
    _, url, method, headers, body, _, _, sent = context
    return HttpAnswer(method, url, sent, code, headers, body, of_streams, _asks_for_time.get())


def _error_of(check: Callable[..., object], *args: object) -> Exception | None:
    try:
        check(*args)
    except Exception as error:  # noqa: BLE001 -- translated, whatever it is, by the caller
        return error
    return None


def _own_error_of(errors: Mapping[str, type[Exception]], code: int, body: str) -> Exception | None:
    """What a status means on this exchange, where that is not what it means to ccxt on all others.

    ccxt would look it up only after `handle_errors`.
    """
    own = errors.get(str(code))
    usual: Mapping[str, type[Exception]] = ccxt_async.Exchange.httpExceptions
    return None if own is None or own is usual.get(str(code)) else own(body)


def _load_less(exchange: Any, habits: Habits) -> None:  # noqa: ANN401 -- ccxt has no types
    """Make `load_markets` ask for no more than listings need: no currencies, no options."""
    exchange.has["fetchCurrencies"] = False
    chosen: Any = exchange.options.get("fetchMarkets")
    if isinstance(chosen, dict) and isinstance(types := cast("dict[str, object]", chosen).get("types"), list):
        wanted = habits.market_types or [kind for kind in cast("list[str]", types) if kind != "option"]
        exchange.options["fetchMarkets"] = {**chosen, "types": list(wanted)}
