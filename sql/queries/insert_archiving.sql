-- Have those datasets archived before retention drops them.
insert into archiving (dataset)
select unnest(%(datasets)s::text[])
on conflict (dataset) do nothing
