-- No row: budgets go whose time line is free. Those in use are skipped, so that nobody waits for anybody.
delete from rate_budget
where (exchange, address) in (
    select exchange, address from rate_budget where free_at < clock_timestamp() for update skip locked
)
