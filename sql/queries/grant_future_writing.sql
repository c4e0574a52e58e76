-- Let a role change the rows of the relations that the owner makes from now on.
alter default privileges for role {owner} in schema {schema} grant insert, update, delete on tables to {role}
