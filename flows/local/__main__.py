"""The command line of the local stack: `python -m flows.local up`, `down` and `status`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from flows.local.stack import Stack
from flows.shell import step, telling_errors
from tapehouse.cli.output import Column, print_table, remark

_HOME: Final = Path(__file__).parents[2] / ".tapehouse" / "local"
_PORT: Final = click.IntRange(1, 65535)
_ABOUT: Final = """\

Prefect's pages:  {ui}
The data:         export TAPEHOUSE_DATA_DIR={database}; .venv/bin/tapehouse coverage
Flows by hand:    export PREFECT_API_URL={ui}/api TAPEHOUSE_EXCHANGE_URL={exchange}
Logs and state:   {home}
It goes on until  make down"""


@click.group()
@click.option(
    "--home", type=click.Path(path_type=Path), default=_HOME, show_default=True, help="Where it keeps its files."
)
@click.pass_context
def main(context: click.Context, home: Path) -> None:
    """Run all of tapehouse on this machine, on the markets of the sandbox exchange."""
    context.obj = Stack(home)


@main.command()
@click.option("--port", type=_PORT, default=4200, show_default=True, help="Port of Prefect's pages on 127.0.0.1.")
@click.option(
    "--exchange-port", type=_PORT, default=8321, show_default=True, help="Port of the sandbox exchange on 127.0.0.1."
)
@click.pass_obj
def up(stack: Stack, port: int, exchange_port: int) -> None:
    """Start what doesn't run: database, exchange, Prefect's server with its pages, deployments, worker."""
    for kept in stack.runs_elsewhere(port=port, exchange_port=exchange_port):
        remark(kept)
    with telling_errors():
        stack.up(port=port, exchange_port=exchange_port, step=step)
    where = {"database": _relative(stack.database_dir), "home": _relative(stack.home)}
    click.echo(_ABOUT.format(ui=stack.ui_url, exchange=stack.exchange_url, **where))


@main.command()
@click.pass_obj
def down(stack: Stack) -> None:
    """Stop all that was started; what was stored stays."""
    with telling_errors():
        stack.down(step=step)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def status(stack: Stack, as_json: bool) -> None:
    """Show what runs; the exit code is 1 where something doesn't."""
    parts = stack.status()
    if as_json:
        click.echo(json.dumps([asdict(one) for one in parts], default=str, indent=2))
    else:
        print_table(
            [Column("service"), Column("state"), Column("pid", align="right"), Column("address"), Column("log")],
            [
                [one.name, "runs" if one.running else "stopped", one.pid, one.address, _relative(one.log_path)]
                for one in parts
            ],
        )
    sys.exit(0 if all(one.running for one in parts) else 1)


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    main()
