-- Lock a series for one write: its instrument's scale (which may not change meanwhile), until when
-- readers know it, whether any row of the batch's span may be stored, and how far retention has gone.
-- Rows and coverage commit together, so where nothing was covered and no rejected row left a hole,
-- nothing was ever written.
-- The instrument is locked before the series, in the order in which widening takes them.
with scale as materialized (
    select price_decimals, amount_decimals
    from instrument
    where instrument_id = %(instrument_id)s
    for share
)

select
    i.price_decimals,
    i.amount_decimals,
    upper(c.covered),
    c.covered && %(span)s::tstzrange
        or exists (
            select from unavailable u where u.series_id = %(series_id)s and u.during && %(span)s::tstzrange
        ),
    r.dropped_before
from scale i
cross join series s
join coverage c using (series_id)
left join retention r on r.dataset = s.dataset and r.timeframe_s = s.timeframe_s
where s.series_id = %(series_id)s
for update of s, c
