-- Let a role read these relations, the rows of rollups included.
grant select on {relations} to {role}
