-- Record a migration in the transaction that applies it. No row where another process has applied it:
-- this waits for one that is at it.
insert into schema_migration (number, name, checksum)
values (%(number)s, %(name)s, %(checksum)s)
on conflict (number) do nothing
returning number
