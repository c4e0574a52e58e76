-- Let a role change the rows of these relations, those of rollups included.
grant insert, update, delete on {relations} to {role}
