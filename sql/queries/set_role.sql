-- Have this session act as a role, "none" for the one that it connected as.
select set_config('role', %(role)s, false)
