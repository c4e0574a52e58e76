"""How the programs of this folder talk to a shell: the steps they take, the errors they end with."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

import click

from tapehouse.errors import TapehouseError


@contextmanager
def step(what: str) -> Generator[None]:
    """Say that the block was done, and how long it took."""
    began_s = time.monotonic()
    yield
    click.echo(f"  {click.style('✓', fg='green')} {what:<62}{time.monotonic() - began_s:5.1f} s")


@contextmanager
def telling_errors() -> Generator[None]:
    """End the process with the message and the exit code of an error of ours, with 130 on Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("\nInterrupted.", err=True)
        sys.exit(130)
    except TapehouseError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
