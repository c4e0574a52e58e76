-- A row is a rejected row as it came; one rejected before is counted. Says how many are new.
with rejected as (
    select distinct on (raw_md5) *
    from (
        select time, string_to_array(reasons, ' ') as reasons, raw, md5(raw::text)::uuid as raw_md5
        from unnest(%(times)s::timestamptz[], %(reasons)s::text[], %(raws)s::json[]) as r (time, reasons, raw)
    ) as hashed
),

kept as (
    insert into quarantine (series_id, time, reasons, raw, raw_md5)
    select %(series_id)s, time, reasons, raw, raw_md5
    from rejected
    order by raw_md5
    on conflict (series_id, raw_md5) do update
    set seen = quarantine.seen + 1,
        reasons = excluded.reasons,
        last_seen_at = now()
    returning seen = 1 as is_new
)

select count(*) filter (where is_new)
from kept
