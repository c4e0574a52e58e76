"""How commands fail: one line on stderr and an exit code that means something, never a traceback unasked.

The exit codes of our errors are in `tapehouse.errors`.
"""

import os
import sys
from collections.abc import Iterable
from typing import Any, Final

import click

from tapehouse.errors import TapehouseError

INTERRUPTED: Final = 130
# What a shell reports of a program that SIGPIPE ended.
_PIPE_CLOSED: Final = 141


class FailingWell(click.Group):
    """A group that turns every error into a message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 -- as click declares it
        """Run the command; raises only what click itself reports, and SystemExit."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        except BrokenPipeError:
            _forget_stdout()
            raise SystemExit(_PIPE_CLOSED) from None
        except TapehouseError as error:
            report(error)
            _reraise_if_debugging(ctx)
            raise SystemExit(error.exit_code) from error
        except Exception as error:
            _reraise_if_debugging(ctx)
            click.echo(f"Error: {type(error).__name__}: {_one_line(error)}", err=True)
            click.echo("This is a bug: run `tapehouse --debug ...` for the traceback.", err=True)
            raise SystemExit(1) from error


def report(error: Exception, *, about: str | None = None) -> None:
    """Say on stderr what went wrong, in one line."""
    prefix = f"{about}: " if about else ""
    click.echo(f"Error: {prefix}{_one_line(error)}", err=True)


def report_each(failures: Iterable[tuple[str, Exception | None]]) -> None:
    """Say what failed of several things and exit with the worst code; an error that is not ours is raised as it is."""
    failed = [(about, error) for about, error in failures if error is not None]
    ours = [(about, error) for about, error in failed if isinstance(error, TapehouseError)]
    for about, error in ours:
        # Some errors tell themselves what they are about.
        report(error, about=None if about in str(error) else about)
    for _, error in failed:
        if not isinstance(error, TapehouseError):
            raise error
    if ours:
        raise SystemExit(max(error.exit_code for _, error in ours))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _reraise_if_debugging(ctx: click.Context) -> None:
    if ctx.params.get("debug"):
        raise


def _forget_stdout() -> None:
    """Point stdout at nothing, so that Python's own flush at the end does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
