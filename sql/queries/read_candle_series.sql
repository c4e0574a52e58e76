-- A row is a candle series that can answer for an instrument: that of the timeframe asked for, and
-- that of 1m, from which longer candles are built; with what of the window is covered, and where
-- the rollups over it are behind. Without such a series one row with no timeframe_s; no row means
-- no such instrument. Bars close by the server's clock.
select
    i.instrument_id,
    i.price_decimals,
    i.amount_decimals,
    i.amount_unit,
    i.from_sandbox,
    now() as as_of,
    s.timeframe_s,
    s.revision,
    coalesce(c.covered, '{}') * asked.during as covered,
    r.dropped_before,
    (
        select coalesce(range_agg(stale_rollup.during), '{}') * asked.during
        from stale_rollup
        where stale_rollup.instrument_id = i.instrument_id and s.timeframe_s = 60
    ) as stale
from instrument i
cross join lateral (
    select tstzmultirange(
        tstzrange(%(start)s, greatest(%(start)s, least(%(end)s::timestamptz, now())))
    ) as during
) asked
left join series s
    on s.instrument_id = i.instrument_id
    and s.dataset = 'ohlcv'
    and s.timeframe_s in (60, %(timeframe_s)s)
left join coverage c using (series_id)
left join retention r on r.dataset = s.dataset and r.timeframe_s = s.timeframe_s
where i.exchange = %(exchange)s and i.symbol = %(symbol)s
