-- For this transaction, let an upsert meet as many compressed rows as it must.
set local timescaledb.max_tuples_decompressed_per_dml_transaction = 0
