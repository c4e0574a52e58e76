-- A row is a table, a rollup or a view of tapehouse's owner in this schema, and whether an ingest writes to it: to a
-- rollup where it removes or widens what that is built from. What migrations, retention and jobs note is theirs alone, as is
-- what has to be archived.
select
    c.relname::text,
    (c.relkind in ('r', 'p') or a.view_name is not null)
        and c.relname not in ('schema_migration', 'retention', 'archiving', 'job_run')
from pg_class c
left join timescaledb_information.continuous_aggregates a
    on a.view_schema = current_schema() and a.view_name = c.relname
where c.relnamespace = current_schema()::regnamespace
    and c.relkind in ('r', 'p', 'v')
    and c.relowner = (select relowner from pg_class where oid = to_regclass('schema_migration'))
order by 1
