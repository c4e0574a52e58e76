-- One row: the server's time, the versions of PostgreSQL and of TimescaleDB, how many background workers it may run
-- jobs with, the size of the database, and where its files are, if this user may know.
select
    now(),
    current_setting('server_version'),
    (select extversion from pg_extension where extname = 'timescaledb'),
    coalesce(current_setting('timescaledb.max_background_workers', true)::integer, 0),
    pg_database_size(current_database()),
    (select setting from pg_settings where name = 'data_directory')
