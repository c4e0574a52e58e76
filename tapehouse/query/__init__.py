"""The query side: from what is stored to DataFrames.

`plan`, `decode`, `resample` and `frame` touch no database; `ledger` and `rows` ask it, and
`market` is what a user holds. Nothing here imports ccxt, pandera or Prefect.
"""
