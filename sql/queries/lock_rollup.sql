-- Keep refreshes from writing to a rollup until the transaction ends.
lock table {table} in share row exclusive mode
