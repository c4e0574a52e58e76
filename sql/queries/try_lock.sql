-- One row: whether this session now holds the advisory lock.
select pg_try_advisory_lock(%(key)s)
