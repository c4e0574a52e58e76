-- Let a role read the relations that the owner makes from now on.
alter default privileges for role {owner} in schema {schema} grant select on tables to {role}
