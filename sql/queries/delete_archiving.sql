-- Let retention drop those datasets whether they are archived or not.
delete from archiving
where dataset = any(%(datasets)s::text[])
