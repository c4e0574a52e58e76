-- A row is a kind of ranges of a series: those whose rows came from elsewhere ("substituted"); of 1m candles, those
-- that the rollups are behind on ("unrefreshed"). No exchange or symbol means all of them.
with asked as (
    select s.series_id, s.instrument_id, s.dataset, s.timeframe_s
    from series s
    join instrument i using (instrument_id)
    where (%(exchange)s::text is null or i.exchange = %(exchange)s)
        and (%(symbol)s::text is null or i.symbol = %(symbol)s)
)

select series_id, 'substituted' as kind, range_agg(during) as ranges
from asked
join substitute using (series_id)
group by series_id
union all
select a.series_id, 'unrefreshed', range_agg(n.during)
from asked a
join stale_rollup n on n.instrument_id = a.instrument_id and n.dataset = a.dataset
where a.dataset = 'ohlcv' and a.timeframe_s = 60
group by a.series_id
