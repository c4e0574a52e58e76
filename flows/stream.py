"""The flow that stores what exchanges stream, until it is cancelled: `python -m flows.stream [EXCHANGE SYMBOL ...]`."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import click
from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from flows.command import named_symbols, run_here
from flows.ingest_ohlcv import TimeframeName
from flows.markets import Markets, named
from tapehouse.moments import duration
from tapehouse.stream import DATASETS, StreamRequest
from tapehouse.stream.beside import until_first
from tapehouse.timeframe import timeframe as timeframe_named
from tasks.load import check_database
from tasks.slots import only_run, slot_name
from tasks.stream import stream_exchange

Dataset = Literal["trade", "order_book", "ohlcv"]

_MARKETS: Final = [Markets(exchange="binance", symbols=["BTC/USDT", "ETH/USDT"])]


def _run_name() -> str:
    return f"stream {named(flow_run.parameters['markets'])}"


@flow(name="stream", flow_run_name=_run_name, persist_result=False)
async def stream(
    markets: list[Markets] = _MARKETS,
    datasets: Annotated[list[Dataset], Field(min_length=1)] = list(DATASETS),  # noqa: B006 -- Prefect copies it
    timeframe: TimeframeName = "1m",
    depth: Annotated[int, Field(ge=1, le=1000)] = 20,
    every: str = "1s",
) -> None:
    """Store what exchanges stream of some markets, with what was missed fetched by requests, until cancelled.

    Cancelling writes all that came. A run that already streams an exchange is waited for, for five minutes. One
    exchange that fails for good ends the run, so that it is seen: give each a run of its own to keep them apart.

    Args:
        markets: What to stream: exchanges and their symbols.
        datasets: Single trades (trade), order books (order_book), candles (ohlcv).
        timeframe: The candles' length.
        depth: The most levels of an order book to keep a side, 1 to 1000.
        every: How often an order book is kept at most: 500ms, 1s, 1m.
    """
    symbols: dict[str, dict[str, None]] = {}
    for one in markets:
        symbols.setdefault(one.exchange, {}).update(dict.fromkeys(one.symbols))
    requests = [
        StreamRequest(
            exchange_id,
            list(distinct),
            datasets,
            timeframe=timeframe_named(timeframe),
            depth=depth,
            every=duration(every),
        )
        for exchange_id, distinct in symbols.items()
    ]
    await check_database()
    await until_first(*map(_stream_alone, requests))


async def _stream_alone(request: StreamRequest) -> None:
    async with only_run([slot_name(request.exchange_id, "stream")], beside_others=False):
        await stream_exchange(request)


@click.command()
@click.argument("exchange", required=False)
@click.argument("symbols", metavar="[SYMBOL]...", nargs=-1)
@click.option("--depth", default=20, show_default=True, help="The most levels a side to keep.")
@click.option("--every", default="1s", show_default=True, help="How often a book is kept at most: 500ms, 1s, 1m.")
def command(exchange: str | None, symbols: Sequence[str], depth: int, every: str) -> None:
    """Stream an exchange's symbols until Ctrl-C; without names, those of the flow's form."""
    markets = [Markets(exchange=exchange, symbols=named_symbols(exchange, symbols))] if exchange else _MARKETS
    run_here(stream(markets, depth=depth, every=every))


if __name__ == "__main__":
    command()
