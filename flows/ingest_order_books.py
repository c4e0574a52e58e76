"""The flow that samples order books for a while: `python -m flows.ingest_order_books [EXCHANGE SYMBOL ...]`."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import click
from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from flows.command import named_symbols, run_here
from flows.derived import refresh_derived
from flows.markets import Markets, named
from tapehouse.errors import TapehouseError
from tapehouse.ingest.sampling import Sampling
from tapehouse.moments import duration
from tasks.connections import open_exchange
from tasks.load import check_database
from tasks.report import SamplingReport, publish_sampling, raise_failures
from tasks.sampling import sample_order_books
from tasks.schedule import next_run_due
from tasks.slots import only_run, slot_name

_MARKETS: Final = [Markets(exchange="binance", symbols=["BTC/USDT", "ETH/USDT"])]
# Of a schedule's time: for the features, for stopping, and for the worker, which takes a run up before it is due.
_SPARE: Final = timedelta(seconds=30)


def _run_name() -> str:
    asked = flow_run.parameters
    return f"order books every {asked['every']} for {asked['lasting']} {named(asked['markets'])}"


@flow(name="ingest-order-books", flow_run_name=_run_name, persist_result=False)
async def ingest_order_books(
    markets: list[Markets] = _MARKETS,
    depth: Annotated[int, Field(ge=1, le=1000)] = 20,
    every: str = "1s",
    lasting: str = "5m",
) -> list[SamplingReport]:
    """Take a snapshot of each order book at every tick; a market that answers late delays no other.

    A market that can't be sampled does not stop the others; the run then fails at its end, naming it.

    Args:
        markets: What to sample: exchanges and their symbols.
        depth: The most levels a side to keep, 1 to 1000.
        every: The interval: 500ms, 1s, 1m.
        lasting: For how long: 30s, 5m, 4m30s, 1h; at most until half a minute before the deployment's next run is due.
    """
    sampling = Sampling(depth, duration(every), duration(lasting))
    await check_database()
    symbols: dict[str, dict[str, None]] = {}
    for one in markets:
        symbols.setdefault(one.exchange, {}).update(dict.fromkeys(one.symbols))
    async with asyncio.TaskGroup() as group:
        exchanges = [
            group.create_task(_sample_exchange(exchange_id, list(distinct), sampling))
            for exchange_id, distinct in symbols.items()
        ]
    reports = [report for exchange in exchanges for report in exchange.result()]
    await publish_sampling(reports)
    await refresh_derived()
    raise_failures(reports)
    return reports


async def _sample_exchange(exchange_id: str, symbols: Sequence[str], sampling: Sampling) -> list[SamplingReport]:
    try:
        async with only_run([slot_name(exchange_id, "order_book")]), open_exchange(exchange_id) as exchange:
            outcomes = await sample_order_books(exchange, symbols, await _until_next_run(sampling))
    except TapehouseError as error:
        return [SamplingReport.failed(exchange_id, symbol, error) for symbol in symbols]
    return [SamplingReport(exchange_id, outcome) for outcome in outcomes]


async def _until_next_run(sampling: Sampling) -> Sampling:
    """The sampling, shorter where this run began late: one that overlaps the next would have that cancelled."""
    now = datetime.now(UTC)
    due = await next_run_due(now + _SPARE + sampling.every)
    return replace(sampling, lasting=min(sampling.lasting, due - _SPARE - now)) if due else sampling


@click.command()
@click.argument("exchange", required=False)
@click.argument("symbols", metavar="[SYMBOL]...", nargs=-1)
@click.option("--depth", default=20, show_default=True, help="The most levels a side to keep.")
@click.option("--every", default="1s", show_default=True, help="The interval: 500ms, 1s, 1m.")
@click.option("--for", "lasting", default="5m", show_default=True, help="For how long: 30s, 5m, 1h.")
def command(exchange: str | None, symbols: tuple[str, ...], depth: int, every: str, lasting: str) -> None:
    """Sample the order books of an exchange's symbols; without names, of those of the flow's form."""
    markets = [Markets(exchange=exchange, symbols=named_symbols(exchange, symbols))] if exchange else _MARKETS
    run_here(ingest_order_books(markets, depth, every, lasting))


if __name__ == "__main__":
    command()
