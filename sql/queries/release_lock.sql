-- Give the advisory lock back.
select pg_advisory_unlock(%(key)s)
