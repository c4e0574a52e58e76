"""The command line: options, tables and exit codes around the library's functions.

Modules here import nothing heavy at the top (pandas, ccxt, pandera, rich, psycopg, numpy come
inside commands), so that `tapehouse --help` answers at once.
"""

from tapehouse.cli.commands import main

__all__ = ["main"]
