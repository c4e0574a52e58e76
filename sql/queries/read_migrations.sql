-- A row is a migration that was applied, oldest first.
select number, name, checksum
from schema_migration
order by number
