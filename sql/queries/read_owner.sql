-- No row before the first migration, else one: the role that owns tapehouse's tables, the schema and the database that
-- they are in, whether this session's role has the owner's rights, and whether it may become the owner.
select
    pg_get_userbyid(relowner)::text,
    relnamespace::regnamespace::text,
    current_database()::text,
    pg_has_role(relowner, 'USAGE'),
    pg_has_role(relowner, 'SET')
from pg_class
where oid = to_regclass('schema_migration')
