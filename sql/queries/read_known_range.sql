-- One row: from when to when anything of a series is stored or known: rows, what was wanted, what was fetched, what
-- could not be had, where it begins, NULLs if there is nothing; and what of it is covered.
select
    least(lower(c.covered), s.begins_at, s.wanted_from, ledger.first_at, stored.first_at),
    greatest(
        upper(c.covered), s.begins_at, s.wanted_until, ledger.last_at, stored.last_at + interval '1 microsecond'
    ),
    c.covered
from series s
join coverage c using (series_id)
cross join lateral (
    select min(lower(during)) as first_at, max(upper(during)) as last_at
    from (
        select during from unavailable u where u.series_id = s.series_id
        union all
        select during from substitute b where b.series_id = s.series_id
    ) known
) ledger
cross join lateral (
    select min(time) as first_at, max(time) as last_at
    from ohlcv o
    where s.dataset = 'ohlcv' and o.instrument_id = s.instrument_id and o.timeframe_s = s.timeframe_s
    union all
    select min(time), max(time) from trade t where s.dataset = 'trade' and t.instrument_id = s.instrument_id
    union all
    select min(time), max(time) from order_book b where s.dataset = 'order_book' and b.instrument_id = s.instrument_id
    order by 1 nulls last
    limit 1
) stored
where s.series_id = %(series_id)s
