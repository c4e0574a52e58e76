-- Let a role see what a schema holds.
grant usage on schema {schema} to {role}
