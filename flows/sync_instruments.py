"""The flow that stores what exchanges list: `python -m flows.sync_instruments [EXCHANGE ...]`."""

import asyncio
from typing import Final

import click
from prefect import flow
from prefect.runtime import flow_run

from flows.command import run_here
from tasks.connections import open_exchange
from tasks.load import check_database
from tasks.load import sync_instruments as sync
from tasks.report import ExchangeReport, publish_sync, raise_failures

_EXCHANGES: Final = ["binance", "binanceusdm", "kraken"]


def _run_name() -> str:
    return f"sync {', '.join(flow_run.parameters['exchanges'])}"


@flow(name="sync-instruments", flow_run_name=_run_name, persist_result=False)
async def sync_instruments(exchanges: list[str] = _EXCHANGES) -> None:
    """Store the instruments that exchanges list today; those no longer listed are kept, marked as not active.

    New listings, delistings, and what changed of precision and units are in the run's table, and stay in the
    store (`tapehouse instruments --changes`). A changed precision changes no stored number.

    Args:
        exchanges: The exchanges, by ccxt's names for them, for example binance.
    """
    await check_database()
    reports = await asyncio.gather(*(_sync(exchange) for exchange in dict.fromkeys(exchanges)))
    await publish_sync(reports)
    raise_failures(reports)


async def _sync(exchange_id: str) -> ExchangeReport:
    try:
        async with open_exchange(exchange_id) as exchange:
            return ExchangeReport(exchange_id, await sync(exchange))
    except Exception as error:  # noqa: BLE001 -- one exchange's fault, whatever it is, must not stop the others
        return ExchangeReport(exchange_id, error=error)


@click.command()
@click.argument("exchanges", metavar="[EXCHANGE]...", nargs=-1)
def command(exchanges: tuple[str, ...]) -> None:
    """Store what exchanges list; without names, those of the flow's form."""
    run_here(sync_instruments(list(exchanges) or _EXCHANGES))


if __name__ == "__main__":
    command()
