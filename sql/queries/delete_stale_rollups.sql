-- Remove the notes of stale ranges that a refresh has made good.
delete from stale_rollup
where stale_id = any(%(stale_ids)s)
