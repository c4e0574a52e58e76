-- A row is a run of bars of [start, end), both open times, of which no candle is stored.
select opened + bar, next_opened
from (
    select opened, lead(opened, 1, %(end)s::timestamptz) over (order by opened) as next_opened, bar
    from (
        select time
        from ohlcv
        where instrument_id = %(instrument_id)s
            and timeframe_s = %(timeframe_s)s
            and time >= %(start)s
            and time < %(end)s
        union all
        -- The bar before the first one, which stands for a stored one.
        select %(start)s::timestamptz - make_interval(months => %(months)s, secs => %(seconds)s)
    ) as stored (opened)
    cross join make_interval(months => %(months)s, secs => %(seconds)s) as bar
) as steps
where opened + bar < next_opened
order by opened
