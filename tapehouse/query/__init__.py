"""The query side: from what is stored to DataFrames.

`market` is what a user holds, `question` what it is asked. An answer is worked out in the module of
its noun: `candles` (few of them: `few_candles`), `trades`, `books`, `features`, `stored`, `asof`. Of what these
share, `plan`, `decode`, `resample`, `frame` and `attrs` touch no database; `reader`, `ledger`, `rows`, `bars` and
`guesses` ask it.

A moment is worked out on a slice of the store in memory: `spec` says what belongs to it, `slices` reads it in one
round trip, `prepared` cuts it, `inference` and `records` are what the user gets, `moments` keeps the present at hand.
What is kept is in `cache`, for as long as `changes` has heard of none; `answers` keeps those of all other questions.

Nothing here imports ccxt, pandera or Prefect.
"""
