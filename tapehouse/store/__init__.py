"""The store: migrations, instruments, ledgers and the one transaction that writes a batch.

It knows nothing of exchanges, of pandera or of DataFrames; reading series back is
`tapehouse.query`.
"""
