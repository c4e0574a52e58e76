-- Tell listeners on channel tapehouse which series was written, where, and its revision.
select pg_notify('tapehouse', %(payload)s)
