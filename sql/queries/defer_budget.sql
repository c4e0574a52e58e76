-- No row: nothing more of the budget is to be had for a while.
insert into rate_budget as budget (exchange, address, free_at, holder, is_sharing)
values (%(exchange)s, %(address)s, clock_timestamp() + %(quiet)s, %(holder)s, false)
on conflict (exchange, address) do update
set free_at = greatest(budget.free_at, clock_timestamp() + %(quiet)s)
