-- A row is a series of an instrument that can help to answer a question, one of those named by datasets, timeframes_s
-- and starts, which are arrays of one length, of which anything was ever covered; with what of the time from its start to the end is covered, and
-- where the rollups (of 1m candles and of trades) and the features over it are behind. No end means all that follows.
-- Without any such series one row with no dataset; no row means no such instrument.
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
    s.covered * s.during as covered,
    r.dropped_before,
    b.dropped_before as book_features_dropped_before,
    m.dropped_before as imbalances_dropped_before,
    case
        when s.timeframe_s in (0, 60) then (
            select coalesce(range_agg(n.during), '{}') * s.during
            from stale_rollup n
            where n.instrument_id = i.instrument_id and n.dataset = s.dataset and n.during && s.during
        )
        else '{}'
    end as stale_rollups,
    case
        when s.timeframe_s = 0 then (
            select coalesce(range_agg(n.during), '{}') * s.during
            from stale_feature n
            where n.instrument_id = i.instrument_id and n.dataset = s.dataset and n.during && s.during
        )
        else '{}'
    end as stale_features,
    case
        when s.dataset = 'ohlcv' then (
            select json_agg(json_build_array(lower(n.during), upper(n.during), n.source) order by n.during)
            from (
                select during * range_merge(s.during) as during, source
                from substitute
                where series_id = s.series_id and during && s.during
                order by during
                limit %(substitutes_at_most)s
            ) n
        )
    end as substitutes
from instrument i
left join lateral (
    select
        series.*,
        c.covered,
        tstzmultirange(tstzrange(a.start, case when %(end)s < a.start then a.start else %(end)s::timestamptz end)) as during
    from
        unnest(%(datasets)s::text[], %(timeframes_s)s::integer[], %(starts)s::timestamptz[])
            as a (dataset, timeframe_s, start)
    join series
        on series.instrument_id = i.instrument_id
        and series.dataset = a.dataset
        and series.timeframe_s = a.timeframe_s
    join coverage c using (series_id)
    -- What is deleted makes no series an unknown one, for answers about the time before must not change: its revision
    -- has grown.
    where not isempty(c.covered) or series.revision > 0
) s on true
left join retention r on r.dataset = s.dataset and r.timeframe_s = s.timeframe_s
left join retention b on b.dataset = 'order_book_1s' and s.dataset = 'order_book'
left join retention m on m.dataset = 'imbalance' and s.timeframe_s = 0
where i.exchange = %(exchange)s and i.symbol = %(symbol)s
