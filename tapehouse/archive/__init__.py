"""The archive: what retention is about to drop, in Parquet files that were compared with the database first.

What is archived is told by the ledger (`tapehouse.store.archive`); reading files back is `tapehouse.query.archived`.
"""
