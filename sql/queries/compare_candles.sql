-- Compare an instrument's 1m candles of a day with those that its trades make, over whole minutes of a multirange, and
-- keep the outcome in the place of an earlier one. Trades are taken from their rows: rollups may be behind. Volumes
-- are compared to half a lot, in base units where candles count those and trades linear contracts.
with minute as (
    select generate_series(
        date_trunc('minute', lower(span) + interval '1 minute' - interval '1 microsecond'),
        upper(span) - interval '1 minute',
        interval '1 minute'
    ) as time
    from unnest(%(covered)s::tstzmultirange) as span
),

built as (
    select
        date_trunc('minute', time) as time,
        (array_agg(price order by time, trade_id, id_text))[1] as open,
        max(price) as high,
        min(price) as low,
        (array_agg(price order by time, trade_id, id_text))[count(*)] as close,
        sum(amount) as volume
    from trade
    where instrument_id = %(instrument_id)s
        and time >= %(day)s
        and time < %(day)s::timestamptz + interval '1 day'
    group by 1
),

unit as (
    select case
        when amount_unit = trade_unit then 1
        when amount_unit = 'base' and settle = quote then contract_size
    end as in_candle_units
    from instrument
    where instrument_id = %(instrument_id)s
),

compared as (
    select
        o.volume > 0 and b.time is null as lacks_trades,
        b.time is not null and coalesce(o.volume, 0) = 0 as lacks_candle,
        o.open <> b.open as open_differs,
        o.high <> b.high as high_differs,
        o.low <> b.low as low_differs,
        o.close <> b.close as close_differs,
        abs(o.volume - b.volume * in_candle_units) >= 0.5 as volume_differs,
        greatest(
            abs(o.open - b.open) / o.open, abs(o.high - b.high) / o.high,
            abs(o.low - b.low) / o.low, abs(o.close - b.close) / o.close
        ) as price_gap
    from minute m
    cross join unit
    left join ohlcv o on o.instrument_id = %(instrument_id)s and o.timeframe_s = 60 and o.time = m.time
    left join built b on b.time = m.time
),

judged as (
    select
        *,
        not (lacks_trades or lacks_candle) and price_gap is not null as is_compared
    from compared
)

insert into candle_agreement (
    instrument_id, day, minutes, differing, open_differs, high_differs, low_differs, close_differs,
    volumes_compared, volume_differs, without_candle, without_trades, largest_price_gap
)
select
    %(instrument_id)s,
    %(day)s,
    count(*),
    count(*) filter (
        where lacks_trades or lacks_candle
            or (is_compared and (price_gap > 0 or coalesce(volume_differs, false)))
    ),
    count(*) filter (where is_compared and open_differs),
    count(*) filter (where is_compared and high_differs),
    count(*) filter (where is_compared and low_differs),
    count(*) filter (where is_compared and close_differs),
    count(*) filter (where is_compared and volume_differs is not null),
    count(*) filter (where is_compared and volume_differs),
    count(*) filter (where lacks_candle),
    count(*) filter (where lacks_trades),
    coalesce(max(price_gap) filter (where is_compared), 0)
from judged
having count(*) > 0
on conflict (instrument_id, day) do update
set minutes = excluded.minutes,
    differing = excluded.differing,
    open_differs = excluded.open_differs,
    high_differs = excluded.high_differs,
    low_differs = excluded.low_differs,
    close_differs = excluded.close_differs,
    volumes_compared = excluded.volumes_compared,
    volume_differs = excluded.volume_differs,
    without_candle = excluded.without_candle,
    without_trades = excluded.without_trades,
    largest_price_gap = excluded.largest_price_gap,
    checked_at = now()
