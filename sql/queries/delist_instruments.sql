-- A row is a market of the exchange that it no longer lists: kept, and marked as not active, which is told as a change.
with gone as (
    update instrument
    set active = false
    where exchange = %(exchange)s and active and symbol <> all(%(symbols)s)
    returning instrument_id, symbol
),

changed as (
    insert into listing_change (instrument_id, what, before, after)
    select instrument_id, 'active', 'true', 'false'
    from gone
    on conflict (instrument_id, changed_at, what) do update
    set after = excluded.after
    returning *
)

select g.symbol, c.what, c.before, c.after, c.changed_at
from changed c
join gone g using (instrument_id)
order by g.symbol
