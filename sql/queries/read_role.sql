-- One row: the role that this session was set to act as, "none" for the one that it connected as.
select current_setting('role')
