-- Bring TimescaleDB into this database, where every search_path finds it.
create extension if not exists timescaledb schema public
