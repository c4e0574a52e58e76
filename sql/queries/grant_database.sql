-- Let a role into the database.
grant connect on database {database} to {role}
