"""`python -m tapehouse.sandbox`: the sandbox exchange in the foreground."""

from pathlib import Path

import click

from tapehouse.errors import TapehouseError
from tapehouse.sandbox.serve import serve


@click.command()
@click.option("--port", default=8321, show_default=True, help="Port on 127.0.0.1; 0 takes a free one.")
@click.option("--seed", default=7, show_default=True, help="Seed of the generated markets.")
@click.option(
    "--replay",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Serve the recordings below this directory instead of generated markets.",
)
@click.option("--shift-to-now", is_flag=True, help="Move recordings by whole days, to end within the last day.")
@click.option("--latency-ms", default=0.0, show_default=True, help="Wait before each answer.")
def main(*, port: int, seed: int, replay: Path | None, shift_to_now: bool, latency_ms: float) -> None:
    """Serve a local exchange that ccxt's classes take for Binance, Kraken and Coinbase."""
    try:
        serve(port=port, seed=seed, replay=replay, shift_to_now=shift_to_now, latency_ms=latency_ms, say=click.echo)
    except TapehouseError as error:
        click.echo(error, err=True)
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
