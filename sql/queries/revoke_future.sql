-- Take from a role whatever it would be allowed with the relations that the owner makes from now on.
alter default privileges for role {owner} in schema {schema} revoke all on tables from {role}
