-- One row: the versions of PostgreSQL and of TimescaleDB, and the server's time.
select current_setting('server_version'), extversion, clock_timestamp()
from pg_extension
where extname = 'timescaledb'
