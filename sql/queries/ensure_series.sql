-- The series of an instrument's dataset and timeframe, with its coverage row; made if missing.
with found as (
    select series_id
    from series
    where instrument_id = %(instrument_id)s and dataset = %(dataset)s and timeframe_s = %(timeframe_s)s
),

made as (
    insert into series (instrument_id, dataset, timeframe_s)
    select %(instrument_id)s, %(dataset)s, %(timeframe_s)s
    where not exists (select from found)
    on conflict (instrument_id, dataset, timeframe_s) do update
    set dataset = excluded.dataset
    returning series_id
),

covered as (
    insert into coverage (series_id)
    select series_id
    from made
    on conflict (series_id) do nothing
)

select series_id from found
union all
select series_id from made
