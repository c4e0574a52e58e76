"""Asking before something is done that can't be undone."""

import sys

import click

from tapehouse.errors import InputError


def require_yes(question: str, *, undone: str) -> None:
    """Ask at the terminal, on stderr; raises InputError, which begins with `undone`, without a yes or without one."""
    if not sys.stdin.isatty():
        raise InputError(f"{undone}: there is nobody to ask here, so add --yes.")
    if not click.confirm(question, err=True):
        raise InputError(f"{undone}.")
