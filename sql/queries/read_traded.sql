-- One row: whether all trades of an instrument in a range are stored, how many that are, and their lowest and highest
-- price in ticks.
select
    exists (
        select
        from series s
        join coverage c using (series_id)
        left join retention r on r.dataset = s.dataset and r.timeframe_s = s.timeframe_s
        where s.instrument_id = %(instrument_id)s
            and s.dataset = 'trade'
            and c.covered @> tstzrange(%(start)s, %(end)s)
            and (r.dropped_before is null or r.dropped_before <= %(start)s)
    ),
    count(*),
    min(price),
    max(price)
from trade
where instrument_id = %(instrument_id)s
    and time >= %(start)s
    and time < %(end)s
