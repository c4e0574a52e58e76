-- The ledger of applied migrations: a row is one file, as it was when it ran.
create table if not exists schema_migration (
    number     integer primary key,
    name       text not null,
    checksum   text not null,
    applied_at timestamptz not null default now()
)
