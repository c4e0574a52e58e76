"""The query side: from what is stored to DataFrames.

`plan`, `ranges`, `decode`, `resample` and `frame` touch no database; `read` asks the
database and `market` is what a user holds. Nothing here imports ccxt, pandera or Prefect.
"""
