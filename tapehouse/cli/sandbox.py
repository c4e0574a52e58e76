"""`tapehouse sandbox`: the sandbox exchange in the foreground."""

from datetime import datetime
from pathlib import Path
from typing import Final

import click

from tapehouse.cli.options import moment_option
from tapehouse.cli.venue import SANDBOX_SEED, sandbox_package

_EPILOG: Final = """\b
Examples:
  tapehouse sandbox
  tapehouse sandbox --port 0 --seed 42
  tapehouse sandbox --replay recordings --shift-to-now
  tapehouse sandbox --replay recordings/l2_trades --speed 20
  tapehouse sandbox --speed 60 --from 2026-05-05T12:00:00Z
"""


@click.command(epilog=_EPILOG)
@click.option("--port", default=8321, show_default=True, help="Port on 127.0.0.1; 0 takes a free one.")
@click.option("--seed", default=SANDBOX_SEED, show_default=True, help="Seed of the generated markets.")
@click.option(
    "--replay",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Serve the recordings in this folder instead of generated markets. A market that is recorded as candles and "
    "as trades is served from its candles: give the folder l2_trades to have its trades.",
)
@click.option("--shift-to-now", is_flag=True, help="Move recordings by whole days, to end within the last day.")
@click.option(
    "--speed",
    type=float,
    metavar="X",
    help="Let the exchange's clock run so many times as fast as ours, 1 to 1000: from the first recorded moment on, or "
    "from now. It stands still until the first subscription to a stream.",
)
@click.option(
    "--from",
    "begin",
    type=moment_option,
    metavar="TIME",
    help="Let the exchange's clock begin then: --speed 1, or more.",
)
@click.option("--latency-ms", default=0.0, show_default=True, help="Wait so long before each answer.")
def sandbox(
    *,
    port: int,
    seed: int,
    replay: Path | None,
    shift_to_now: bool,
    latency_ms: float,
    speed: float | None,
    begin: datetime | None,
) -> None:
    """Serve a local exchange to try things on.

    ccxt takes it for binance, binanceusdm, bybit, coinbase, coinbaseexchange, kraken and okx; the streams of
    binance, binanceusdm and kraken are there too. Its markets are invented, or replayed from recordings. Runs
    until Ctrl-C.
    """
    sandbox_package().serve(
        port=port,
        seed=seed,
        replay=replay,
        shift_to_now=shift_to_now,
        latency_ms=latency_ms,
        speed=speed,
        begin=begin,
        say=click.echo,
    )
