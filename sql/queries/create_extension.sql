-- Bring TimescaleDB into this database.
create extension if not exists timescaledb
