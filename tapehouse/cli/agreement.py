"""Asking before something is done that can't be undone."""

import sys

import click

from tapehouse.cli.failures import INTERRUPTED
from tapehouse.cli.output import remark
from tapehouse.errors import InputError


def require_yes(question: str, *, undone: str) -> None:
    """Ask at the terminal, on stderr; raises InputError, which begins with `undone`, without a yes or without one.

    Ctrl-C instead of an answer ends the program, as anywhere.
    """
    if not sys.stdin.isatty():
        raise InputError(f"{undone}: there is nobody to ask here, so add --yes.")
    try:
        is_agreed = click.confirm(question, err=True)
    except click.Abort:
        # The cursor is still behind the question.
        remark(f"\n{undone}.")
        raise SystemExit(INTERRUPTED) from None
    if not is_agreed:
        raise InputError(f"{undone}.")
