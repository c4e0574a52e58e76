"""The query side: from what is stored to DataFrames.

`market` is what a user holds, `question` what it is asked. An answer is worked out in the module of
its noun: `candles`, `trades`, `books`, `features`, `stored`. Of what these share, `plan`, `decode`,
`resample`, `frame` and `attrs` touch no database; `reader`, `ledger` and `rows` ask it. Nothing here
imports ccxt, pandera or Prefect.
"""
