-- A row is an instrument of which 1m candles and trades were both fetched for some of a range, with what of it
-- both cover and is still stored, without candles that are not the exchange's own: those say nothing of it. No
-- exchange or symbol means all of them.
select i.instrument_id, i.exchange, i.symbol, both_covered
from instrument i
join series m on m.instrument_id = i.instrument_id and m.dataset = 'ohlcv' and m.timeframe_s = 60
join series t on t.instrument_id = i.instrument_id and t.dataset = 'trade'
join coverage mc on mc.series_id = m.series_id
join coverage tc on tc.series_id = t.series_id
left join retention mr on mr.dataset = 'ohlcv' and mr.timeframe_s = 60
left join retention tr on tr.dataset = 'trade'
cross join lateral (
    select
        mc.covered * tc.covered * tstzmultirange(
            tstzrange(
                greatest(%(start)s::timestamptz, mr.dropped_before, tr.dropped_before),
                greatest(%(end)s::timestamptz, %(start)s, mr.dropped_before, tr.dropped_before)
            )
        )
        - coalesce((select range_agg(b.during) from substitute b where b.series_id = m.series_id), '{}')
        as both_covered
) as c
where (%(exchange)s::text is null or i.exchange = %(exchange)s)
    and (%(symbol)s::text is null or i.symbol = %(symbol)s)
    and not isempty(both_covered)
order by i.exchange, i.symbol
