"""The flow that stores what exchanges list: `python -m flows.sync_instruments [EXCHANGE ...]`."""

import asyncio

import click
from prefect import flow

from flows.command import run_here
from tapehouse.errors import TapehouseError
from tasks.connections import open_exchange
from tasks.load import check_database
from tasks.load import sync_instruments as sync
from tasks.report import ExchangeReport, publish_sync, raise_failures


@flow(name="sync-instruments", persist_result=False)
async def sync_instruments(exchanges: list[str] = ["binance", "binanceusdm", "kraken"]) -> None:  # noqa: B006 - a form's default, never changed
    """Store the instruments that exchanges list today; those no longer listed are kept, marked as not active.

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
    except Exception as error:  # noqa: BLE001 - one exchange's fault, whatever it is, must not stop the others
        return ExchangeReport(exchange_id, error=error)
