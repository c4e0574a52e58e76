#!/bin/sh
# Makes the roles that ingest and that only read, when the database's volume is made; `tapehouse db grant` gives them
# their rights.
# The database's image runs this file once, as its superuser.
set -eu

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\set password `cat "${SECRETS_DIR:-/run/secrets}/ingest_password"`
create role tapehouse_ingest login password :'password';
\set password `cat "${SECRETS_DIR:-/run/secrets}/reader_password"`
create role tapehouse_reader login password :'password';
SQL
