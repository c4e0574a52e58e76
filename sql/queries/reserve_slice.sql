-- One row: in how many seconds the slice begins that is now reserved, and whether the one before was another's.
-- What is further ahead than any queue or ban reaches was left behind by a clock that was set back.
insert into rate_budget as budget (exchange, address, free_at, holder, is_sharing)
values (%(exchange)s, %(address)s, clock_timestamp() + %(length)s, %(holder)s, false)
on conflict (exchange, address) do update
set free_at = case
        when budget.free_at between clock_timestamp() and clock_timestamp() + interval '10 minutes' then budget.free_at
        else clock_timestamp()
    end + %(length)s,
    holder = excluded.holder,
    is_sharing = budget.holder <> excluded.holder
returning extract(epoch from free_at - %(length)s - clock_timestamp())::float8, is_sharing
