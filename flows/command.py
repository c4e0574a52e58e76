"""Running a flow from a shell, in this process: on the Prefect server that is configured, else on a short-lived one.

Schedules and workers don't come here; `prefect.yaml` is theirs.
"""

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

import click
from prefect.settings import (
    PREFECT_API_BLOCKS_REGISTER_ON_START,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    PREFECT_UI_ENABLED,
    temporary_settings,
)

from tapehouse.errors import TapehouseError


def run_here(run: Coroutine[Any, Any, object]) -> None:
    """Run a flow; an error of ours ends the process with its message on stderr and its exit code."""
    try:
        # A server that lives as long as one run needs no blocks, analytics and UI, and is up sooner without.
        with temporary_settings(
            {
                # As the worker's runs have them: an automation takes a run for dead whose heartbeats stop.
                PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30,
                PREFECT_API_BLOCKS_REGISTER_ON_START: False,
                PREFECT_SERVER_ANALYTICS_ENABLED: False,
                PREFECT_UI_ENABLED: False,
                # On a busy machine the first start takes longer than the 20 s it is given.
                PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120,
            }
        ):
            asyncio.run(run)
    except TapehouseError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)


def named_symbols(exchange: str, symbols: Sequence[str]) -> list[str]:
    """The symbols named beside an exchange; raises click's UsageError where there are none."""
    if not symbols:
        raise click.UsageError(f"Name symbols of {exchange} too, for example BTC/USDT.")
    return list(symbols)
