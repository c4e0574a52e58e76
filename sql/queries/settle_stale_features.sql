-- Note that the features are computed up to a time: remove the notes that end there or before, and the part before
-- it of others. One row: how many were removed.
with begun as (
    update stale_feature
    set during = tstzrange(%(until)s, upper(during))
    where stale_id = any(%(stale_ids)s)
        and lower(during) < %(until)s
        and upper(during) > %(until)s
),

settled as (
    delete from stale_feature
    where stale_id = any(%(stale_ids)s)
        and upper(during) <= %(until)s
    returning stale_id
)

select count(*) from settled
