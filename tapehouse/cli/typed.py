"""The command line that was typed, as it is typed once more to go on."""

import shlex
from collections.abc import Iterable
from datetime import datetime
from typing import cast

import click
from click.core import ParameterSource

from tapehouse.cli.db import masked


def same_command() -> str:
    """The running command with the options it was given; times as they were understood, without passwords."""
    context = click.get_current_context()
    words = context.command_path.split()
    for parameter in context.command.params:
        name = parameter.name or ""
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            words += _typed(parameter, context.params[name])
    return shlex.join(words)


def _typed(parameter: click.Parameter, value: object) -> Iterable[str]:
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return [parameter.opts[0]]
    values = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
    return (word for one in values for word in (parameter.opts[0], _text(one)))


def _text(value: object) -> str:
    if isinstance(value, datetime):
        # Midnight is a bare date, as for all that take a time.
        return (
            f"{value:%Y-%m-%d}" if not (value.hour or value.minute or value.second) else f"{value:%Y-%m-%dT%H:%M:%SZ}"
        )
    return masked(str(value))
