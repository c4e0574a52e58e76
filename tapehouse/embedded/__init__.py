"""A local TimescaleDB that needs no installation: PGlite in a Node process behind an ordinary PostgreSQL URL.

    from tapehouse import embedded
    status = embedded.start(Path(".tapehouse"))
    psycopg.connect(status.url)

What it is for: trying things out, tests, one user's own data. What it does differently from a server is told in
`docs/embedded.md`.
"""

from tapehouse.embedded.server import EmbeddedStatus, reset, running, start, status, stop

__all__ = ["EmbeddedStatus", "reset", "running", "start", "status", "stop"]
