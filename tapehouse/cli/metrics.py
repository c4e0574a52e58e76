"""`tapehouse metrics`: what `tapehouse status` shows, for Prometheus."""

from contextlib import suppress
from datetime import timedelta
from typing import Final

import click

from tapehouse.cli.options import database_option, duration_option
from tapehouse.cli.output import remark
from tapehouse.errors import InputError, StoreUnreachable, needs_extra

_SHORTEST: Final = timedelta(seconds=1)
_EPILOG: Final = """\b
Examples:
  tapehouse metrics
  tapehouse metrics --port 9200 --every 1m
  curl http://127.0.0.1:9108/metrics

\b
The database is read at most so often, however often it is scraped; a role that only reads is enough. All
names begin with tapehouse_; tapehouse_findings counts what `tapehouse status` says needs a person, and
tapehouse_up is 0 while the database can't be read, also from the start. deployments/grafana has
dashboards. Anybody who reaches the address can read it: with --host, put a firewall or a proxy before it.
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--port", default=9108, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--every", type=duration_option, default="15s", show_default=True, help="Read the database this often.")
@database_option
def metrics(*, port: int, host: str, every: timedelta, url: str | None) -> None:
    """Serve how the store is doing to Prometheus.

    Until Ctrl-C, or SIGTERM.
    """
    if every < _SHORTEST:
        raise InputError("Reading the database more than once a second would only load it: try --every 15s.")
    with needs_extra("Metrics need", "prometheus_client", extra="metrics"):
        from tapehouse.metrics import serve
    from tapehouse.store.address import database_url
    from tapehouse.store.connection import connect

    database = database_url(url)
    # A database that is away may come back; one that refuses will not let anybody in later either.
    with suppress(StoreUnreachable):
        connect(database).close()
    serve(database, host=host, port=port, fresh_s=every.total_seconds(), tell=remark)
