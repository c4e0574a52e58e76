-- No row where the server has no role of that name, else one: whether it may become another role.
select pg_has_role(rolname, %(other)s, 'SET')
from pg_roles
where rolname = %(role)s
