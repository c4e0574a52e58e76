-- The TimescaleDB extension of this database: its version and its licence setting. No row without it.
select extversion, current_setting('timescaledb.license', true)
from pg_extension
where extname = 'timescaledb'
