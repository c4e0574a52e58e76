#!/bin/sh
# Makes the role that only reads, when the database's volume is made; `tapehouse db grant` gives it its rights.
# The database's image runs this file once, as its superuser.
set -eu

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\set password `cat "${SECRETS_DIR:-/run/secrets}/reader_password"`
create role tapehouse_reader login password :'password';
SQL
