"""A stage on which exchanges give one recorded answer: the replay server, and the exchanges opened on it."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta

from tapehouse.exchange import Exchange, RetryPolicy, open_exchange
from tapehouse.exchange.habits import habits_of
from tapehouse.exchange.trade_requests import TradeRequests
from tapehouse.timeframe import from_ms, timeframe
from tests.recorded.background import NOW_MS, no_markets
from tests.recorded.replay import Replay
from tests.recorded.rest import Asked, Record


@dataclass
class Stage:
    """`background` are the answers for what is asked besides; exchanges stay open and keep their markets."""

    replay: Replay
    background: dict[str, str]
    stack: AsyncExitStack
    opened: dict[str, Exchange] = field(default_factory=dict[str, Exchange])

    async def set_up(self, ask: Asked, record: Record) -> Exchange:
        """The exchange, with the recorded answer in its place; a fresh one where markets or the time are asked for."""
        is_fresh = ask.kind in ("listings", "time")
        exchange = await (self._open(ask.exchange_id) if is_fresh else self._with_markets(ask.exchange_id))
        others = no_markets() if ask.kind == "listings" else self.background
        self.replay.answers = dict.fromkeys(ask.places, record.body) | {
            place: body for place, body in others.items() if place not in ask.places
        }
        self.replay.unanswered.clear()
        return exchange

    async def _with_markets(self, exchange_id: str) -> Exchange:
        if exchange_id not in self.opened:
            exchange = await self._open(exchange_id)
            self.replay.answers = self.background
            await exchange.listings()
            self.opened[exchange_id] = exchange
        return self.opened[exchange_id]

    async def _open(self, exchange_id: str) -> Exchange:
        retry = RetryPolicy(attempts=1, base_s=0.001, cap_s=0.002)
        opening = open_exchange(exchange_id, base_url=self.replay.url, timeout_s=5.0, retry=retry)
        exchange = await self.stack.enter_async_context(opening)
        exchange._connection.ccxt.enableRateLimit = False  # pyright: ignore[reportPrivateUsage] -- no option for tests alone
        return exchange


def symbol_of(exchange: Exchange, ask: Asked) -> str:
    """The symbol of the market that the answer is about."""
    (market, *_) = exchange._connection.ccxt.markets_by_id[ask.market_id]  # pyright: ignore[reportPrivateUsage]
    return market["symbol"]


async def fetched_candles(exchange: Exchange, ask: Asked) -> list[object]:
    """One page of candles, as the walk asks for it."""
    start = from_ms(NOW_MS) - timedelta(days=1)
    return await exchange._ask_for_candles(  # pyright: ignore[reportPrivateUsage] -- a walk would ask on
        symbol_of(exchange, ask), timeframe(ask.timeframe), start, None, 1000
    )


async def fetched_trades(exchange: Exchange, ask: Asked) -> list[object]:
    """One page of trades, as the walks ask for it."""
    listing = await exchange.listing(symbol_of(exchange, ask))
    connection = exchange._connection  # pyright: ignore[reportPrivateUsage]
    requests = TradeRequests(connection, habits_of(exchange.exchange_id), listing)
    if ask.exchange_id == "kraken":
        return (await requests._after(0, 1000)).rows  # pyright: ignore[reportPrivateUsage] -- a walk would ask on
    return await requests._ask(None, None, dict(ask.params))  # pyright: ignore[reportPrivateUsage]
