-- A row is a series of an instrument that can help to answer a question, of those datasets and timeframes; with
-- what of the window is covered, and where the rollups and the features over it are behind. Without any such
-- series one row with no dataset; no row means no such instrument. What is known ends by the server's clock.
select
    i.instrument_id,
    i.price_decimals,
    i.amount_decimals,
    i.amount_unit,
    i.trade_unit,
    i.from_sandbox,
    now() as as_of,
    s.dataset,
    s.timeframe_s,
    s.revision,
    s.id_bytes,
    coalesce(c.covered, '{}') * asked.during as covered,
    r.dropped_before,
    (
        select coalesce(range_agg(n.during), '{}') * asked.during
        from stale_rollup n
        where n.instrument_id = i.instrument_id and n.dataset = s.dataset and n.during && asked.during
    ) as stale_rollups,
    (
        select coalesce(range_agg(n.during), '{}') * asked.during
        from stale_feature n
        where n.instrument_id = i.instrument_id and n.dataset = s.dataset and n.during && asked.during
    ) as stale_features,
    (
        select json_agg(json_build_array(lower(n.during), upper(n.during), n.source) order by n.during)
        from (
            select during * range_merge(asked.during) as during, source
            from substitute
            where series_id = s.series_id and during && asked.during
            order by during
            limit %(substitutes_at_most)s
        ) n
    ) as substitutes
from instrument i
cross join lateral (
    select tstzmultirange(
        tstzrange(%(start)s, greatest(%(start)s, least(%(end)s::timestamptz, now())))
    ) as during
) asked
left join series s
    on s.instrument_id = i.instrument_id
    and s.dataset = any(%(datasets)s)
    and s.timeframe_s = any(%(timeframes_s)s)
left join coverage c using (series_id)
left join retention r on r.dataset = s.dataset and r.timeframe_s = s.timeframe_s
where i.exchange = %(exchange)s and i.symbol = %(symbol)s
